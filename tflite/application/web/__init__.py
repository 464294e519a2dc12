"""A model as one HTML page: the firmware's own C in WebAssembly, recordings to replay, and charts of what it says."""

from keras_s4.tflite.application.web.page import render_page
from keras_s4.tflite.application.web.recordings import Replay
from keras_s4.tflite.application.web.words import Words

__all__ = ["Replay", "Words", "render_page"]
