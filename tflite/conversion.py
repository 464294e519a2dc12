"""From a trained Keras model to an integer program and its `.tflite`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import keras
import numpy as np

from keras_s4.checks import check_model
from keras_s4.layers import LowRankDense
from keras_s4.layers.quantized import QuantizedLayer
from keras_s4.samples import check_tokens
from keras_s4.surgery.graph import Graph, TensorKey, graph_of
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import States, check_states, to_tflite
from keras_s4.tflite.lowering import ProgramBuilder, lower_call, plan_of_export
from keras_s4.tflite.lowering.builder import Activations, Weights
from keras_s4.tflite.lowering.calibration import AMPLE_HEADROOM, HEADROOM, check_representative_inputs
from keras_s4.tflite.lowering.formats import check_activations, check_packed, four_bit_layers
from keras_s4.tflite.lowering.input_encoding import Source, encode, source_of, warnings_of
from keras_s4.tflite.lowering.padded_inputs import PaddedInputs
from keras_s4.tflite.lowering.representative import check_count, gather
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.interface import Arrays
from keras_s4.tflite.program.operations import Accumulate, Operation
from keras_s4.tflite.program.output_steps import OutputSteps
from keras_s4.tflite.program.own_lengths import keep_real_steps
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

# Samples of one invoke.
MOST_STEPS = 65_536


def convert(
    model: keras.Model,
    representative_data: Arrays,
    length: int | None = None,
    states: States = "inputs",
    activations: Activations = "int8",
    steps: int | None = None,
    weights: Weights | None = None,
) -> Converted:
    """Turns a trained model into an integer program, calibrated on data.

    Args:
        model: a built functional or sequential model of layers that can be exported.
        representative_data: `[B, L, features]`, or token numbers `[B, L]`: some hundred windows of the training data;
            every scale is chosen from the values that they cause, each stream carrying its state from its first step to
            its last. Models that nobody resets (`RecentAverage`, `SlidingAverage`) need stretches of a stream, minutes
            long, and `keras_s4.at_length(model, steps)` for them: in windows, slow states stay far below what they
            reach later, where they are then clipped. Of a model with several inputs a list in the model's order, or a
            dict by the inputs' names. A `tf.data.Dataset`, a generator of batches or a function that gives one may
            stand for the arrays: of inputs, or of `(inputs, targets)`; their first 512 windows are taken.
        length: steps that an average over time divides by; by default the model's sequence length.
        states: "inputs" or "variables": how the `.tflite` keeps them from step to step (see `to_tflite`).
        activations: the type of all that is not int16 in any case (sums, normalisations, gates of recurrent layers):
            "int8" or "int16", for all layers; or by the names of layers, as in `{"block_1": "int16"}`, "int8" for the
            others. With int16 the program is finer and larger; weights stay int8.
        steps: samples that an invoke takes at once, a multiple of the period after which the pattern of steps that
            layers drop repeats (the product of the strides along a path); by default that period, 1 for models that
            drop none. With more there are fewer operators a sample (15 to 25% less time on a computer), but the arena
            grows with the block; the numbers are the same.
            An output that is a sequence then has several values an invoke, one behind a pooling over time has the last.
        weights: the type of the weights of products that read int8 (of `Dense`, `LowRankDense`, value and gate of
            `S4Block`, convolutions): "int4", two to a byte, of all layers but the first and the last; or by the names
            of layers, as in `{"block_1": "int4"}`, "int8" for the others. By default those that `quantize_aware` was
            asked for, and int8 without it: train on 4 bits where they cost accuracy.

    Returns:
        The program, its `.tflite` and its manifest.

    Raises:
        TypeError: something else than a model, arrays of real numbers, or whole numbers: arguments in the wrong order,
            paths, texts, truth values, complex numbers.
        NotImplementedError: a layer that cannot be exported, by name, with the list of those that can.
        ValueError: unusable representative data, NaN in weights, an unstable pole, a model that is not built, another
            word for `states`, another type or an unknown layer in `activations` or `weights`, 4-bit weights of a layer
            that has no product of int8 with a matrix, other weights than those of a quantisation-aware training,
            `steps` that are no multiple of the period, or that do not divide the windows of an average over time.
    """
    check_model(model, representative_data, "convert")
    length, steps = check_count(length, "length"), check_count(steps, "steps")
    check_states(states)
    graph = graph_of(model)
    check_activations(model, activations)
    four_bits = four_bit_layers(model, weights)
    gathered, taken = gather(model, representative_data, "convert")
    data = check_representative_inputs(model, gathered)
    length = length if length is not None else model.inputs[0].shape[1]
    padded = PaddedInputs.of(model)
    real = None
    if padded is not None:
        given = list(data.values())
        real = padded.mask(given)
        data = dict(zip(data, keep_real_steps(given, real), strict=True))
        real = np.sort(~real, axis=1) == 0
    samples = next(iter(data.values())).shape[1]
    plan = plan_of_export(model, length, padded is not None, samples)
    builder = ProgramBuilder(length, _trained_ranges(model), activations, samples, real, four_bits)
    if len(data) == 1:
        sources = [_read_input("input", graph, graph.inputs[0], *data.values(), activations, real)]
    else:
        named = zip(data.items(), graph.inputs, strict=True)
        sources = [_read_input(name, graph, key, array, activations, real) for (name, array), key in named]
    read = [each for each in sources if isinstance(each, Source)]
    sources = _encode_inputs(sources, builder)
    found = warnings_of(read, [signal for signal in sources if signal.tensor.type == "int16"], taken)
    results = plan.run(lambda call, inputs: lower_call(call, inputs, builder), sources)
    results = [builder.settle(result, "nothing") for result in results]
    check_packed(model, weights, four_bits, builder.packed)
    if padded is not None:
        padded.check(given)
    steps = plan.period if steps is None else steps
    _check_steps(steps, plan.period, builder, length)
    program = Program(
        name=model.name,
        inputs=tuple(source.tensor for source in sources),
        outputs=tuple(result.tensor for result in results),
        states=tuple(builder.states),
        operations=tuple(builder.operations),
        output_activations=tuple(result.activation for result in results),
        encodings=builder.encodings,
        layers=builder.layers,
    )
    program = in_blocks(program, steps)
    ends = tuple(OutputSteps(flow.has_time, flow.first_row) for flow in plan.outputs)
    for sentence in found:
        warnings.warn(sentence, stacklevel=2)
    return Converted(
        program=program,
        tflite=to_tflite(program, states),
        length=length,
        output_steps=ends,
        output_names=_output_names(model),
        padded=padded,
        warnings=found,
    )


def _check_steps(steps: int, period: int, builder: ProgramBuilder, length: int | None) -> None:
    """Refuse blocks that do not fit the model.

    Raises:
        ValueError: see `convert`.
    """
    if steps > MOST_STEPS:
        raise ValueError(
            f"Received steps={steps}; expected at most {MOST_STEPS:,}: each operation stands in the file as often as "
            "it runs in a block."
        )
    if steps < 1 or steps % period:
        raise ValueError(
            f"Received steps={steps}; expected a multiple of {period}, after which the pattern of steps that "
            "the model's layers drop repeats."
        )
    if length is not None:
        check_whole_windows(builder.operations, steps, length, period)


def check_whole_windows(operations: Sequence[Operation], steps: int, length: int, period: int | None = None) -> None:
    """Refuse averages over windows that end inside a block.

    Args:
        operations: of the program.
        steps: of a block.
        length: of a window.
        period: after which the pattern of steps that the model's layers drop repeats; `steps` when omitted.

    Raises:
        ValueError: says what to do.
    """
    if length % steps and any(isinstance(operation, Accumulate) for operation in operations):
        raise ValueError(
            f"The model averages over windows of {length} steps, which end inside a block of {steps}: the average "
            f"over a window would never be there to be read. {_remedy_of_windows(steps, period or steps, length)}"
        )


def _remedy_of_windows(steps: int, period: int, length: int) -> str:
    """What to do where blocks do not divide windows."""
    if length % period == 0:
        fitting = max(size for size in range(period, steps + 1, period) if length % size == 0)
        return f"Use blocks that divide the windows: steps={fitting}."
    if length < period:
        return f"Use windows of at least {period} steps, a multiple of {period}, and train the model on them."
    whole = length - length % period
    return (
        f"Use windows of a multiple of {period} steps, after which the pattern of steps that the model's layers drop "
        f"repeats. The same weights serve: model = keras_s4.at_length(model, {whole}), then convert(model, "
        f"data[:, :{whole}]), and so with all samples."
    )


def _output_names(model: keras.Model) -> tuple[str, ...]:
    """The keys of a model that gives a dict, in the order in which its graph has them."""
    described = {} if isinstance(model, keras.Sequential) else model.get_config()["output_layers"]
    return tuple(described) if isinstance(described, dict) else ()


def _read_input(
    name: str, graph: Graph, key: TensorKey, data: np.ndarray, activations: Activations, real: np.ndarray | None
) -> Signal | Source:
    """An input of the model: samples, or the signal of token numbers as int32 `[1]` where an Embedding reads them.

    Raises:
        ValueError: the samples of a step have no axis, and no Embedding reads them.
    """
    readers = list(graph.readers(key))
    if readers and all(isinstance(layer, keras.layers.Embedding) for layer in readers):
        for layer in readers:
            check_tokens(data, layer.input_dim)
        return Signal(Tensor(name, (1,), "int32"), data[..., None])
    if data.ndim < 3:
        raise ValueError(
            f"Input {name!r} has shape {list(data.shape)}; expected [B, L, features], or an Embedding as the layer "
            "that reads it. Give each step an axis of features: keras.Input((length, 1))."
        )
    ample = activations == "int16" and all(isinstance(layer, (keras.layers.Dense, LowRankDense)) for layer in readers)
    return source_of(name, graph, key, data, AMPLE_HEADROOM if ample else HEADROOM, real)


def _encode_inputs(inputs: list[Signal | Source], builder: ProgramBuilder) -> list[Signal]:
    """The inputs with the encodings chosen."""
    chosen = iter(encode([each for each in inputs if isinstance(each, Source)]))
    signals = [next(chosen) if isinstance(each, Source) else each for each in inputs]
    builder.encodings |= {each.tensor.name: each.encoding for each in signals if each.encoding is not None}
    return signals


def _trained_ranges(model: keras.Model) -> dict[str, tuple[float, int]]:
    """Scale and zero point of the int8 tensors whose ranges a quantisation-aware training has fixed, by name."""
    return {
        f"{path}/{point}": value
        for path, layer in layers_by_path(model).items()
        if isinstance(layer, QuantizedLayer)
        for point, value in layer.ranges.items()
    }
