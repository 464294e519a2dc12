"""What a mode costs, as compression predicts it, against what the exporter really writes."""

from keras_s4 import reduce
from keras_s4.compression.parts import MODE_FLASH_BYTES, MODE_MULTIPLY_ACCUMULATES, MODE_RAM_BYTES
from keras_s4.tflite import convert
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.program.operations import DiagonalStep


def bytes_of_feedback(program):
    """Layers of which a mode is fed back have three more words for each mode, and a factor."""
    fed = (each for each in program.operations if isinstance(each, DiagonalStep) and each.feedback is not None)
    return sum(12 * step.decay.data.size + 4 for step in fed)


def test_predicted_cost_of_a_mode_is_the_measured_one(trained_model, windows):
    small, large = (convert(reduce(trained_model, rank), windows[0][:32]) for rank in (2, 6))
    modes = 2 * 8 * (6 - 2)  # blocks, channels, ranks
    constants = [read_summary(each.tflite).constant_bytes - bytes_of_feedback(each.program) for each in (small, large)]
    # A power of two that brings two scales together may be 1 in one of the models: a few constants more or less.
    assert abs(constants[1] - constants[0] - MODE_FLASH_BYTES * modes) <= 32
    macs = [converted.manifest["multiply_accumulates_per_step"] for converted in (small, large)]
    assert macs[1] - macs[0] == MODE_MULTIPLY_ACCUMULATES * modes
    states = [converted.manifest["state_bytes"] for converted in (small, large)]
    assert 2 * (states[1] - states[0]) == MODE_RAM_BYTES * modes  # before and after the step
