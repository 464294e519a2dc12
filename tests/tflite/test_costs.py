"""What a mode costs, as compression predicts it, against what the exporter really writes."""

from keras_s4 import reduce
from keras_s4.compression.parts import MODE_FLASH_BYTES, MODE_MULTIPLY_ACCUMULATES, MODE_RAM_BYTES
from keras_s4.tflite import convert


def test_predicted_cost_of_a_mode_is_the_measured_one(trained_model, windows):
    small, large = (convert(reduce(trained_model, rank), windows[0][:32]) for rank in (2, 6))
    modes = 2 * 8 * (6 - 2)  # blocks, channels, ranks
    grown = len(large.tflite) - len(small.tflite)
    assert abs(grown - MODE_FLASH_BYTES * modes) <= 0.05 * grown  # alignment of the file's buffers
    macs = [converted.manifest["multiply_accumulates_per_step"] for converted in (small, large)]
    assert macs[1] - macs[0] == MODE_MULTIPLY_ACCUMULATES * modes
    states = [converted.manifest["state_bytes"] for converted in (small, large)]
    assert 2 * (states[1] - states[0]) == MODE_RAM_BYTES * modes  # before and after the step
