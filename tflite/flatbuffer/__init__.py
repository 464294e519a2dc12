"""The `.tflite`: an integer program in built-in operators; one module for each family of operations."""

from keras_s4.tflite.flatbuffer import averages, dense, elementwise, interpolate, normalize, shapes, states, windows
from keras_s4.tflite.flatbuffer.export import DssForm, States, check_dss_form, check_states, to_tflite
from keras_s4.tflite.flatbuffer.reader import Summary, TensorSummary, check_tflite, read_summary

__all__ = [
    "DssForm",
    "States",
    "Summary",
    "TensorSummary",
    "averages",
    "check_dss_form",
    "check_states",
    "check_tflite",
    "dense",
    "elementwise",
    "interpolate",
    "normalize",
    "read_summary",
    "shapes",
    "states",
    "to_tflite",
    "windows",
]
