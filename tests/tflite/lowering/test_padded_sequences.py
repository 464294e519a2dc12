"""Padded sequences on the way to a device, which sees none: calibrated on real steps, run to their own lengths."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import DSS, LastStep, S4Block
from keras_s4.models import classifier, sequence_to_sequence
from keras_s4.streaming import StreamingModel
from keras_s4.tflite import convert
from keras_s4.tflite.analysis import analyse
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.engines import why_missing
from keras_s4.tflite.program.fixed_point import requantize, rescale_multiplier
from keras_s4.tflite.program.operations import Accumulate, Embed

LENGTH, FEATURES, VOCABULARY = 12, 3, 7
SIZE = {"channels": 4, "states": 2, "blocks": 1}
# What padded steps hold: no sample is near it.
PADDING = 900.0
ENGINES = [engine for engine in ("tflm", "c", "emulator") if not why_missing(engine)]


def functional(*stack, length=LENGTH):
    inputs = outputs = keras.Input((length, FEATURES))
    for layer in stack:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def masked(*stack, length=LENGTH):
    return functional(layers.Masking(PADDING), *stack, length=length)


def two_inputs():
    inputs = [keras.Input((LENGTH, FEATURES), name=name) for name in ("left", "right")]
    joined = layers.Concatenate()([layers.Masking(PADDING)(tensor) for tensor in inputs])
    return keras.Model(inputs, layers.GRU(4)(joined))


MODELS = {
    "GRU": lambda: masked(layers.GRU(4)),
    "LSTM of a Sequential": lambda: keras.Sequential(
        [keras.Input((LENGTH, FEATURES)), layers.Masking(PADDING), layers.LSTM(4), layers.Dense(2)]
    ),
    "average": lambda: masked(layers.Dense(4), layers.GlobalAveragePooling1D(), layers.Dense(2)),
    "average of 8 bits": lambda: masked(layers.Dense(4, activation="relu"), layers.GlobalAveragePooling1D()),
    "block, last step": lambda: masked(layers.Dense(4), S4Block(2), LastStep(), layers.Dense(2)),
    "classifier": lambda: classifier((LENGTH, FEATURES), 3, mask_value=PADDING, **SIZE),
    "classifier of tokens": lambda: classifier((LENGTH,), 3, vocabulary=VOCABULARY, **SIZE),
    "sequence": lambda: sequence_to_sequence((LENGTH, FEATURES), 2, mask_value=PADDING, **SIZE),
    "two inputs": two_inputs,
}


def padded(model, place, count=12, seed=0):
    """Sequences of their own lengths, and which steps are real: samples are near 1, so that padding would show."""
    random = np.random.default_rng(seed)
    lengths = np.append(random.integers(1, LENGTH + 1, count - 2), [LENGTH, 9])
    real = np.arange(LENGTH) < lengths[:, None]
    front = {"front": np.ones(count, bool), "end": np.zeros(count, bool), "both": np.arange(count) % 2 == 0}[place]
    real[front] = real[front, ::-1]
    arrays = []
    for tensor in model.inputs:
        tokens = len(tensor.shape) == 2
        shape = (count, LENGTH)
        x = random.integers(1, VOCABULARY, shape) if tokens else 1 + random.normal(size=(*shape, FEATURES))
        x[~real] = 0 if tokens else PADDING
        arrays.append(x if tokens else x.astype("float32"))
    return arrays if len(arrays) > 1 else arrays[0], real


def alone(x, real, index):
    """The real steps of one sequence."""
    cut = [array[index][real[index]][None] for array in (x if isinstance(x, list) else [x])]
    return cut if isinstance(x, list) else cut[0]


def signal_to_noise(wanted, received):
    return 10.0 * np.log10(np.mean(wanted**2) / np.mean((wanted - received) ** 2))


@pytest.mark.parametrize("name", MODELS)
def test_the_device_gives_what_keras_gives_for_padded_sequences(name):
    model = MODELS[name]()
    x, real = padded(model, "both")
    converted = convert(model, x)
    np.testing.assert_array_equal(converted.real_steps(x), real)
    wanted, received = model.predict(x, verbose=0), converted.predict(x, engine="emulator")
    assert received.shape == wanted.shape
    for engine in ENGINES:
        np.testing.assert_array_equal(converted.predict(x, engine=engine), received)
    if wanted.ndim == 3:
        wanted, received = wanted[real], received[real]
    assert signal_to_noise(wanted, received) > 33.0
    # A device is given the real steps and nothing else.
    for index in range(5):
        stream = Emulator(converted.program).run(converted.quantize(alone(x, real, index)))
        last = converted.outputs_of_keras(stream)[0]
        expected = converted.predict(x, engine="emulator")[index]
        np.testing.assert_array_equal(last, expected[real[index]] if last.ndim == 2 else expected)


@pytest.mark.parametrize(
    ("stack", "activations", "place"),
    [
        (lambda: [layers.Dense(4), S4Block(2), LastStep(), layers.Dense(3)], "int8", "end"),
        (lambda: [layers.GRU(4, return_sequences=True), layers.LayerNormalization(), LastStep()], "int16", "front"),
        (lambda: [layers.LSTM(4), layers.Dense(2, activation="tanh")], "int8", "end"),
        (
            lambda: [layers.BatchNormalization(), DSS(3), layers.Dense(3, activation="gelu"), LastStep()],
            "int16",
            "front",
        ),
    ],
)
def test_calibration_sees_real_steps_only(stack, place, activations):
    """The file is that of the same sequences without padding, whatever padded steps hold."""
    model = masked(*stack(), length=None)
    x = 1 + np.random.default_rng(0).normal(size=(16, LENGTH, FEATURES)).astype("float32")
    widths = [(0, 0), (5, 0) if place == "front" else (0, 5), (0, 0)]
    expected = convert(model, x, length=LENGTH, activations=activations)
    received = convert(model, np.pad(x, widths, constant_values=PADDING), length=LENGTH, activations=activations)
    assert received.tflite == expected.tflite


@pytest.mark.parametrize("name", ["block, last step", "classifier of tokens", "sequence", "two inputs"])
def test_verify_runs_each_sequence_to_its_own_length(name):
    model = MODELS[name]()
    x, real = padded(model, "both")
    converted = convert(model, x)
    verification = converted.verify(model, x)
    assert verification.bit_exact
    assert verification.steps == real.sum()
    assert verification.streamed_deviation < 1e-4
    assert min(ratio for ratio in verification.layers.values() if ratio is not None) > 30.0


def test_padded_labels_do_not_count():
    model = sequence_to_sequence((LENGTH, FEATURES), 3, mask_value=PADDING, output_activation="softmax", **SIZE)
    x, real = padded(model, "end")
    labels = model.predict(x, verbose=0).argmax(axis=-1)
    converted = convert(model, x)
    labels[~real] = -1
    verification = converted.verify(model, x, labels)
    assert verification.accuracy["keras"] == 1.0
    assert verification.accuracy["emulator"] > 0.97
    labels[0, 0] = -1
    with pytest.raises(ValueError, match="got classes from -1"):
        converted.verify(model, x, labels)


def test_padding_is_not_clipped_samples():
    model = MODELS["GRU"]()
    x, real = padded(model, "end")
    converted = convert(model, x)
    assert not converted.clipped(x)[converted.program.inputs[0].name].any()
    x[0, 0] = 100.0
    np.testing.assert_allclose(converted.clipped(x)[converted.program.inputs[0].name], np.ones(3) / real.sum())


@pytest.mark.parametrize("type", ["int8", "int16"])
def test_average_so_far_in_exact_integers(type):
    """Against the formula; behind the length the count stays."""
    activation = {"int8": "relu", "int16": None}[type]
    model = masked(layers.Dense(4, activation=activation), layers.GlobalAveragePooling1D(), length=None)
    x = 1 + np.random.default_rng(0).normal(size=(8, 40, FEATURES))
    length = 23
    converted = convert(model, x, length=length)
    program = converted.program
    sum_of = next(op for op in program.operations if op.output.name.endswith("/difference") if hasattr(op, "gain_a"))
    input, finer = sum_of.a, sum_of.gain_a
    assert input.type == type
    names = [input.name, program.outputs[0].name]
    trace = Emulator(program, check_overflow=True).trace(converted.quantize(x), record=names)
    output = program.outputs[0]
    scale = input.scale / finer / 2**15
    to_view, to_output = (rescale_multiplier(scale, wanted) for wanted in (scale * 2**15, output.scale))
    for channel in range(4):
        mean = np.zeros(len(x), np.int64)
        for step in range(40):
            rate = int(np.rint(2**15 / min(step + 1, length)))
            sample = trace.tensors[input.name][:, step, channel].astype(np.int64) - input.zero_point
            mean += (sample * finer - requantize(mean, to_view, "int16")) * rate
            expected = requantize(mean, to_output, "int16")
            np.testing.assert_array_equal(trace.tensors[output.name][:, step, channel], expected)


def test_average_so_far_weighs_all_steps_alike():
    """At most 2% off at 1,000 steps, and a constant is its own average."""
    length = 1000
    model = masked(layers.GlobalAveragePooling1D(), length=None)
    x = np.random.default_rng(0).normal(size=(2, length, FEATURES))
    x[1] = 0.75
    converted = convert(model, x, length=length)
    outputs = converted.dequantize(Emulator(converted.program).run(converted.quantize(x)))
    averages = np.cumsum(x, axis=1) / np.arange(1, length + 1)[:, None]
    resolution = converted.program.inputs[0].scale
    assert np.abs(outputs[1] - 0.75).max() <= resolution
    assert np.abs(outputs[0] - averages[0]).max() < 2e-3


def test_programs_without_a_mask_sum_as_before():
    model = functional(layers.Dense(4), layers.GlobalAveragePooling1D())
    x, _ = padded(model, "end")
    converted = convert(model, x)
    kinds = {type(operation) for operation in converted.program.operations}
    assert Accumulate in kinds
    assert Embed not in kinds
    assert converted.real_steps(x) is None


def test_the_saved_folder_says_what_a_device_does_with_padding(tmp_path):
    converted = convert(MODELS["average"](), padded(MODELS["average"](), "end")[0])
    folder = converted.save(tmp_path / "saved")
    assert json.loads((folder / "manifest.json").read_text())["padding"]["counted_steps"] == LENGTH
    readme = (folder / "README.md").read_text()
    assert "Here there is no padding" in readme
    assert "After 12 steps the count stays" in readme
    plain = functional(layers.Dense(4), LastStep())
    folder = convert(plain, padded(plain, "end")[0]).save(tmp_path / "plain")
    assert "padding" not in (folder / "README.md").read_text()


def test_several_outputs():
    inputs = keras.Input((LENGTH, FEATURES))
    steps = layers.GRU(4, return_sequences=True)(layers.Masking(PADDING)(inputs))
    ends = {"steps": layers.Dense(2)(steps), "all": layers.Dense(3)(layers.GlobalAveragePooling1D()(steps))}
    model = keras.Model(inputs, ends)
    x, real = padded(model, "both")
    converted = convert(model, x)
    wanted, received = model.predict(x, verbose=0), converted.predict(x)
    assert signal_to_noise(wanted["all"], received["all"]) > 33.0
    assert signal_to_noise(wanted["steps"][real], received["steps"][real]) > 33.0
    targets = {"steps": np.where(real[..., None], wanted["steps"], np.nan), "all": wanted["all"]}
    verification = converted.verify(model, x, targets)
    assert verification.bit_exact
    assert verification.steps == real.sum()


@pytest.mark.parametrize("states", ["inputs", "variables"])
def test_blocks_of_steps(states):
    model = MODELS["average"]()
    x, real = padded(model, "end")
    whole = real.sum(axis=1) % 3 == 0
    single, blocks = convert(model, x), convert(model, x, steps=3, states=states)
    for engine in ENGINES:
        expected = single.predict(x[whole], engine="emulator")
        np.testing.assert_array_equal(blocks.predict(x[whole], engine=engine), expected)
    with pytest.raises(ValueError, match=r"3 steps at once, but sequence \d+ has \d+ real steps.*convert the model"):
        blocks.predict(x)


def test_analysis_is_of_real_steps():
    model = masked(layers.Dense(6), S4Block(3), LastStep(), layers.Dense(3))
    x, _ = padded(model, "front", 32)
    analysis = analyse(convert(model, x), x, model)
    assert analysis.measured > 30.0
    assert abs(analysis.measured - analysis.predicted) < 6.0
    assert not analysis.refusals


REFUSED = {
    "convolution": (
        lambda: masked(layers.Conv1D(4, 3, padding="causal", name="conv"), layers.GRU(4)),
        r"convert: with padding at the end .*Layer 'conv' \(Conv1D\) does not pass the mask on",
    ),
    "strides": (
        lambda: masked(layers.AveragePooling1D(2, name="pool"), layers.GRU(4)),
        r"Layer 'pool' \(AveragePooling1D\) does not pass the mask on",
    ),
    "maximum": (
        lambda: masked(layers.Dense(4), layers.GlobalMaxPooling1D(name="largest")),
        r"layer 'largest' \(GlobalMaxPooling1D\) .*takes the maximum over padding too",
    ),
    "RMS normalisation": (
        lambda: masked(layers.RMSNormalization(name="rms"), layers.GlobalAveragePooling1D()),
        r"Layer 'rms' \(RMSNormalization\) does not pass the mask on",
    ),
}


@pytest.mark.parametrize("place", ["none", "both"])
@pytest.mark.parametrize("name", REFUSED)
def test_models_that_compute_with_padding_are_refused(name, place):
    """Also if there is none in the representative data: on a device sequences would end early."""
    make, message = REFUSED[name]
    model = make()
    x, real = padded(model, "both")
    if place == "none":
        x[~real] = 1.0
    with pytest.raises(ValueError, match=message):
        convert(model, x)


def test_a_mask_behind_an_embedding_that_no_token_gives():
    """The mask's value is no token: it is not tried as one."""
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(9, 4),
            layers.Masking(-99.0),
            DSS(3),
            layers.GlobalAveragePooling1D(),
        ]
    )
    tokens = np.random.default_rng(0).integers(0, 9, (8, LENGTH))
    converted = convert(model, tokens)
    assert signal_to_noise(model.predict(tokens, verbose=0), converted.predict(tokens)) > 25.0
    assert StreamingModel(model)


def test_gaps():
    """Recurrent layers rest in them; in a DSS layer time passes."""
    x, _ = padded(MODELS["GRU"](), "end")
    gaps = x[(x[:, :, 0] != PADDING).sum(axis=1) > 7]
    gaps[:, 3:6] = PADDING
    model = MODELS["GRU"]()
    wanted, received = model.predict(gaps, verbose=0), convert(model, x).predict(gaps)
    assert signal_to_noise(wanted, received) > 33.0
    model = MODELS["block, last step"]()
    with pytest.raises(ValueError, match=r"in the middle of a sequence.*Cut sequences where steps are missing"):
        convert(model, x).predict(gaps)
    with pytest.raises(ValueError, match="in the middle of a sequence"):
        convert(model, gaps)


def test_padding_in_front_that_a_convolution_reads():
    model = masked(layers.Dense(4, bias_initializer="ones"), layers.Conv1D(4, 3, padding="causal"))
    x, _ = padded(model, "end")
    converted = convert(model, x)
    with pytest.raises(ValueError, match=r"padding in front of a sequence.*Pad sequences at their end"):
        converted.predict(padded(model, "front")[0])


def test_inputs_that_are_padded_differently():
    model = two_inputs()
    (left, right), _ = padded(model, "end")
    right = right[::-1].copy()
    with pytest.raises(ValueError, match="calls layers with masks that differ"):
        convert(model, [left, right])


def test_an_input_with_padding_beside_one_without():
    """Concatenate takes every step for real then, and Masking gives zeros where the device would get padding."""
    left, right = keras.Input((12, 2)), keras.Input((12, 1))
    joined = keras.layers.Concatenate()([keras.layers.Masking(PADDING)(left), right])
    model = keras.Model([left, right], keras.layers.GRU(4)(joined))
    random = np.random.default_rng(0)
    x = [random.normal(size=(6, 12, 2)), random.normal(size=(6, 12, 1))]
    with pytest.raises(ValueError, match="masks that differ"):
        convert(model, x)
    x[0][:, 8:] = PADDING
    with pytest.raises(ValueError, match="masks that differ, first at step 8"):
        convert(model, x)


@pytest.mark.parametrize("options", [{"strides": 2}, {"kernel_size": 3}])
@pytest.mark.parametrize("length", [LENGTH, None])
def test_a_mask_of_other_steps_than_the_inputs_have(options, length):
    convolution = layers.Conv1D(4, **{"kernel_size": 2, **options})
    model = functional(convolution, layers.Masking(PADDING), layers.GlobalAveragePooling1D(), length=length)
    x = np.random.default_rng(0).normal(size=(6, LENGTH, FEATURES))
    steps = convolution(x).shape[1]
    with pytest.raises(ValueError, match=f"it has {steps} steps, the inputs have 12.*put the layer.*first"):
        convert(model, x, length=LENGTH)


def test_sequences_without_a_real_step():
    model = MODELS["GRU"]()
    x, _ = padded(model, "end")
    converted = convert(model, x)
    x[3] = PADDING
    for use in (converted.predict, lambda x: converted.verify(model, x), lambda x: convert(model, x)):
        with pytest.raises(ValueError, match="masks all steps of 1 of 12 sequences, the first of them number 3"):
            use(x)
