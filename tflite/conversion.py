"""From a trained Keras model to an integer program and its `.tflite`."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4.checks import check_model
from keras_s4.layers import LowRankDense
from keras_s4.layers.quantized import QuantizedLayer
from keras_s4.samples import check_tokens
from keras_s4.surgery.graph import Graph, TensorKey, graph_of
from keras_s4.surgery.padding import as_list
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite import engines
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.engines import Engine
from keras_s4.tflite.flatbuffer import States, Steps, check_states, to_tflite
from keras_s4.tflite.lowering import ProgramBuilder, lower
from keras_s4.tflite.lowering.calibration import AMPLE_HEADROOM, HEADROOM, Signal, check_representative_inputs
from keras_s4.tflite.lowering.formats import check_activations
from keras_s4.tflite.lowering.input_encoding import Source, encode, source_of, warnings_of
from keras_s4.tflite.lowering.registry import Activations
from keras_s4.tflite.lowering.representative import check_count, gather
from keras_s4.tflite.manifest import manifest_of
from keras_s4.tflite.padding import (
    PaddedInputs,
    at_their_places,
    blocks_of,
    facts_of_padding,
    real_steps_first,
    run_to_own_lengths,
)
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.encoding import encoded
from keras_s4.tflite.program.operations import Accumulate
from keras_s4.tflite.program.output_steps import OutputSteps
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.samples import clipped_share, sample_arrays
from keras_s4.tflite.program.tensors import Tensor

# Samples of one invoke.
MOST_STEPS = 65_536

Arrays = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]


def convert(
    model: keras.Model,
    representative_data: Arrays,
    length: int | None = None,
    states: States = "inputs",
    activations: Activations = "int8",
    steps: int | None = None,
) -> Converted:
    """Turns a trained model into an integer program, calibrated on data.

    Args:
        model: a built functional or sequential model of layers that can be exported.
        representative_data: `[B, L, features]`, or token numbers `[B, L]`: some hundred windows of the training data;
            every scale is chosen from the values that they cause, each stream carrying its state from its first step to
            its last. Of a model with several inputs a list in the model's order, or a dict by the inputs' names. A
            `tf.data.Dataset`, a generator of batches or a function that gives one may stand for the arrays: of inputs,
            or of `(inputs, targets)`; their first 512 windows are taken.
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

    Returns:
        The program, its `.tflite` and its manifest.

    Raises:
        TypeError: something else than a model, arrays of real numbers, or whole numbers: arguments in the wrong order,
            paths, texts, truth values, complex numbers.
        NotImplementedError: a layer that cannot be exported, by name, with the list of those that can.
        ValueError: unusable representative data, NaN in weights, an unstable pole, a model that is not built, another
            word for `states`, another type or an unknown layer in `activations`, `steps` that are no multiple of the
            period, or that do not divide the windows of an average over time.
    """
    check_model(model, representative_data, "convert")
    length, steps = check_count(length, "length"), check_count(steps, "steps")
    check_states(states)
    graph = graph_of(model)
    check_activations(model, activations)
    gathered, taken = gather(model, representative_data, "convert")
    data = check_representative_inputs(model, gathered)
    length = length if length is not None else model.inputs[0].shape[1]
    padded = PaddedInputs.of(model)
    real = None
    if padded is not None:
        given = list(data.values())
        real = padded.mask(given)
        data = dict(zip(data, real_steps_first(given, real), strict=True))
        real = np.sort(~real, axis=1) == 0
    samples = next(iter(data.values())).shape[1]
    builder = ProgramBuilder(length, _trained_ranges(model), activations, samples, real)
    if len(data) == 1:
        sources = [_input("input", graph, graph.inputs[0], *data.values(), activations, real)]
    else:
        named = zip(data.items(), graph.inputs, strict=True)
        sources = [_input(name, graph, key, array, activations, real) for (name, array), key in named]
    read = [each for each in sources if isinstance(each, Source)]
    sources = _signals(sources, builder)
    found = warnings_of(read, [signal for signal in sources if signal.tensor.type == "int16"], taken)
    results = graph.run(lambda layer, inputs: lower(layer, inputs, builder), sources)
    results = [builder.settled(result, "nothing") for result in results]
    if padded is not None:
        padded.check(given)
    steps = builder.period if steps is None else steps
    _check_steps(steps, builder, length)
    program = Program(
        name=model.name,
        inputs=tuple(source.tensor for source in sources),
        outputs=tuple(result.tensor for result in results),
        states=tuple(builder.states),
        operations=tuple(builder.operations),
        output_activations=tuple(result.activation for result in results),
        encodings=builder.encodings,
    )
    program = in_blocks(program, steps)
    ends = tuple(OutputSteps(result.has_time, result.phase) for result in results)
    for sentence in found:
        warnings.warn(sentence, stacklevel=2)
    return Converted(program, to_tflite(program, states), length, ends, _names_of_outputs(model), found, padded)


def _check_steps(steps: int, builder: ProgramBuilder, length: int | None) -> None:
    """Refuse blocks that do not fit the model.

    Raises:
        ValueError: see `convert`.
    """
    if steps > MOST_STEPS:
        raise ValueError(
            f"Received steps={steps}; expected at most {MOST_STEPS:,}: each operation stands in the file as often as "
            "it runs in a block."
        )
    if steps < 1 or steps % builder.period:
        raise ValueError(
            f"Received steps={steps}; expected a multiple of {builder.period}, after which the pattern of steps that "
            "the model's layers drop repeats."
        )
    averages = any(isinstance(operation, Accumulate) for operation in builder.operations)
    if averages and length is not None and length % steps:
        raise ValueError(
            f"The model averages over windows of {length} steps, which end inside a block of {steps}: the average "
            f"over a window would never be there to be read. {_remedy_of_windows(steps, builder.period, length)}"
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


def _names_of_outputs(model: keras.Model) -> tuple[str, ...]:
    """The keys of a model that gives a dict, in the order in which its graph has them."""
    described = {} if isinstance(model, keras.Sequential) else model.get_config()["output_layers"]
    return tuple(described) if isinstance(described, dict) else ()


def _input(
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


def _signals(inputs: list[Signal | Source], builder: ProgramBuilder) -> list[Signal]:
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


@dataclasses.dataclass(frozen=True, repr=False)
class Converted:
    """An exported model.

    Args:
        program: the integer program.
        tflite: the bytes of the `.tflite` file.
        length: steps of a window.
        output_steps: for each output, which of its values Keras has; empty: the last one.
        output_names: the keys of a model that gives a dict; empty if it gives one output or a list.
        warnings: what `convert` warned of in the representative data: features with too few integers, outliers.
        padded: what is known of padding, None if the model does not mask padded steps.
    """

    program: Program
    tflite: bytes
    length: int | None
    output_steps: tuple[OutputSteps, ...] = ()
    output_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    padded: PaddedInputs | None = None

    @property
    def phase(self) -> int:
        """The first value of the outputs that the program gives, counted from 0, from which on all mean something."""
        steps = self.program.steps
        return max((each.phase if each.sequence else each.phase // steps for each in self.output_steps), default=0)

    @property
    def window(self) -> int | None:
        """Steps that each sequence must have, since an average divides by them; None if any number will do."""
        averages = any(isinstance(operation, Accumulate) for operation in self.program.operations)
        return self.length if averages else None

    @property
    def least_steps(self) -> int:
        """Steps that a sequence must have for every output to have a value; more than 1 behind convolutions."""
        rows = self.program.output_rows or (1,) * len(self.program.outputs)
        steps = self.program.steps
        needed = [
            -(-(each.phase + 1) // count) * steps if each.sequence else each.phase + 1
            for each, count in zip(self.output_steps, rows, strict=False)
        ]
        return max(needed, default=1)

    def samples(self, x: Arrays) -> list[np.ndarray]:
        """The arrays for all inputs, in the program's order, of whole windows.

        Raises:
            TypeError, ValueError: see `quantize`.
        """
        return sample_arrays(self.program, x, self.window, self.least_steps)

    def __repr__(self) -> str:
        program = self.program
        tensors = {"inputs": program.inputs, "outputs": program.outputs}
        ends = [
            f"{what} {', '.join(f'{t.name} {t.type}{list(t.shape)}' for t in found)}" for what, found in tensors.items()
        ]
        length = "any number of" if self.length is None else self.length
        return (
            f"<Converted {program.name!r}: {'; '.join(ends)}; {len(program.states)} states, "
            f"{len(self.tflite):,} bytes of .tflite; windows of {length} steps, {program.steps} an invoke>"
        )

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """What a firmware project must know, measured: bytes, arena, operators, tensors, versions and hashes."""
        found = {**manifest_of(self.program, self.tflite, self.length), "warnings": list(self.warnings)}
        return found if self.padded is None else {**found, "padding": facts_of_padding(self.program)}

    def quantize(self, x: Arrays, whole: bool = True) -> np.ndarray | list[np.ndarray]:
        """Samples as the integers that the program takes.

        They have the same shape, but token numbers `[B, L]` become `[B, L, 1]`, and of a program for blocks of T steps
        the time axis is cut: `[B, L / T, T, features]`. A padded step becomes integers like any other, though a device
        must not be given it (see `real_steps`). What lies beyond the range of the integers is clipped, and
        counted by `clipped`.

        Args:
            x: samples; of a program with several inputs a list in its order, or a dict by the names of its inputs.
            whole: they are whole windows, and not pieces of a stream, whose lengths do not matter.

        Returns:
            Integers; a list in the program's order when it has several inputs.

        Raises:
            TypeError: no real numbers.
            ValueError: another shape, NaN, or windows of another length than the program averages over; tokens that are
                no whole numbers, or outside the vocabulary; another number of inputs; sequences that are no whole
                number of blocks.
        """
        arrays = self.samples(x) if whole else sample_arrays(self.program, x)
        pairs = zip(self.program.inputs, arrays, strict=True)
        integers = [self._in_blocks(self._quantized(tensor, array)) for tensor, array in pairs]
        return integers if len(integers) > 1 else integers[0]

    def clipped(self, x: Arrays) -> dict[str, np.ndarray]:
        """The share of the samples of each feature that lie beyond the range of the program's integers.

        Steps that the model masks do not count: a device never sees them.

        Args:
            x: as for `quantize`; pieces of a stream, too.

        Returns:
            By the name of each input that takes no tokens, `[features]` from 0 to 1.
        """
        arrays = sample_arrays(self.program, x)
        if self.padded is not None and (real := self.padded.is_real(arrays)).any():
            arrays = [array[real][None] for array in arrays]
        pairs = zip(self.program.inputs, arrays, strict=True)
        return {
            tensor.name: clipped_share(tensor, self._rounded(tensor, array))
            for tensor, array in pairs
            if tensor.type != "int32"
        }

    def _quantized(self, tensor: Tensor, x: np.ndarray) -> np.ndarray:
        if tensor.type == "int32":
            return x.astype(np.int32)[..., None]
        ends = np.iinfo(tensor.type)
        return np.clip(self._rounded(tensor, x), ends.min, ends.max).astype(tensor.type)

    def _rounded(self, tensor: Tensor, x: np.ndarray) -> np.ndarray:
        """Whole numbers that may lie beyond the range of the tensor's type."""
        values = encoded(self.program.encodings.get(tensor.name), x)
        return np.rint(values / tensor.scale) + tensor.zero_point

    def _in_blocks(self, integers: np.ndarray) -> np.ndarray:
        """`[B, L, features]` as `[B, L / T, T, features]`; as it is if T is 1."""
        steps = self.program.steps
        if steps == 1:
            return integers
        if integers.ndim < 3 or integers.shape[1] % steps:
            raise ValueError(
                f"Received sequences of shape {list(integers.shape)}; expected [B, L, features] with a multiple of "
                f"{steps} as L: the program takes {steps} steps at once. Cut the sequences: "
                f"x[:, :{integers.shape[1] - integers.shape[1] % steps}]. To verify with so many steps a Keras model "
                "that is made for another length, convert its copy by keras_s4.at_length instead."
            )
        batch, length, *shape = integers.shape
        return integers.reshape(batch, length // steps, steps, *shape)

    def dequantize(self, integers: np.ndarray | Sequence[np.ndarray]):
        """Integer outputs as real numbers, with the output activations that the device is spared.

        Args:
            integers: of a program with several outputs a sequence of arrays in its order.

        Returns:
            An array; for several outputs a list in the model's order, or a dict if the model gives one. The values of a
            sequence `[B, L / T, R, C]`, of which a block has several, follow each other: `[B, L R / T, C]`.
        """
        tensors = self.program.outputs
        activations = self.program.output_activations or ("linear",) * len(tensors)
        arrays = [integers] if len(tensors) == 1 else list(integers)
        rows = self.program.output_rows or (1,) * len(tensors)
        arrays = [_joined(array, count) for array, count in zip(arrays, rows, strict=True)]
        values = [_dequantized(*each) for each in zip(tensors, activations, arrays, strict=True)]
        if self.output_names:
            return dict(zip(self.output_names, values, strict=True))
        return values if len(values) > 1 else values[0]

    def c_source(self, name: str | None = None) -> dict[str, str]:
        """The model as C99 that computes what TensorFlow Lite Micro does, bit for bit, without an interpreter.

        Args:
            name: of the functions `NAME_reset` and `NAME_step`, the struct `NAME_state` and the first two files; by
                default the Keras model's, with "model_" in front where C or this package has it already.

        Returns:
            The text of each file, by name: `NAME.h`, `NAME.c`, and the kernels that they call.

        Raises:
            ValueError: `name` is no identifier of C, or taken.
            NotImplementedError: a DSS layer of more than 255 modes.
        """
        return c_source(self.program, name)

    def save_c(self, folder: str | Path) -> Path:
        """Writes the C99 source alone: the files that `save` puts into `c99/`.

        Args:
            folder: created if need be; what an earlier `save_c` wrote there is replaced. `files.json` has the hashes.

        Returns:
            The folder.

        Raises:
            ValueError, OSError, NotImplementedError: see `save`.
        """
        from keras_s4.tflite.application.folder import save_c

        return save_c(self, Path(folder))

    def predict(self, x: Arrays, engine: Engine | None = None):
        """Runs the model on this computer, one step or block at a time, each sequence from a reset.

        Samples beyond the range of the program's integers are clipped, as on the device; a warning says how many.

        Args:
            x: `[B, L, features]`; of a model with several inputs a list in its order, or a dict by their names.
            engine: "tflm" for TensorFlow Lite Micro, "c" for the C99 source, compiled, "emulator" for numpy; all give
                the same. By default the first of these that this computer has.

        Returns:
            What the Keras model's `predict` returns, in the same shapes: behind a pooling over time, or for a last
            step, the outputs after the last step, for a classifier the probabilities, `[B, C]`; of a sequence all
            steps, `[B, L, C]`. For several outputs a list or a dict, as Keras has it. Sequences with steps that the
            model masks run without them (see `real_steps`).

        Raises:
            TypeError, ValueError: see `quantize`; another engine.
            ImportError, CompilerError: the engine that was asked for is not installed.
        """
        run = engines.chosen(engine, self.program, self.tflite)
        real = self.real_steps(x)
        if real is None:
            integers = self.quantize(x)
            self._warn_of_clipping(x)
            return self.outputs_of_keras(run(integers))
        samples = real_steps_first(self.samples(x), real)
        integers, counts = as_list(self.quantize(samples)), blocks_of(real, self.program.steps, self.program.name)
        self._warn_of_clipping(samples)
        outputs = run_to_own_lengths(lambda arrays: as_list(run(arrays)), integers, counts, len(real))
        return self.outputs_of_keras(outputs if len(outputs) > 1 else outputs[0], real)

    def real_steps(self, x: Arrays) -> np.ndarray | None:
        """Which steps of sequences are real, bool `[B, L]`, as the Keras model masks them; None if all are.

        On a device there is no padding: a stream starts at its first real step and is read at its last. `predict` and
        `verify` run each sequence so. Nothing is masked in what `quantize` gives, nor in the program itself.

        Raises:
            TypeError, ValueError: see `quantize`; padding that the Keras model does not treat so.
        """
        if self.padded is None:
            return None
        real = self.padded.real_steps(self.samples(x))
        counts = real.sum(axis=1)
        if counts.min() < self.least_steps:
            raise ValueError(
                f"Program {self.program.name!r} received a sequence, number {counts.argmin()}, of {counts.min()} real "
                f"steps; its convolutions need at least {self.least_steps} for a first output. Leave it out."
            )
        return None if real.all() else real

    def outputs_of_keras(self, integers: np.ndarray | Sequence[np.ndarray], real: np.ndarray | None = None):
        """Integer outputs of all steps of sequences as the outputs of the Keras model, in its shapes.

        Args:
            integers: what an engine gives; of a program with several outputs a sequence of arrays in its order.
            real: of padded sequences that were run to their own lengths, bool `[B, L]`: which steps are real. At padded
                steps a sequence of outputs keeps its last value.
        """
        values = self.dequantize(integers)
        steps = self.output_steps or (OutputSteps(),) * len(self.program.outputs)
        ends = [each.of(array) for array, each in zip(_listed(values), steps, strict=True)]
        ends = [at_their_places(e, real) if each.sequence else e for e, each in zip(ends, steps, strict=True)]
        if isinstance(values, dict):
            return dict(zip(values, ends, strict=True))
        return ends if isinstance(values, list) else ends[0]

    def _warn_of_clipping(self, x: Arrays) -> None:
        clipped = {name: shares for name, shares in self.clipped(x).items() if shares.any()}
        if clipped:
            worst = ", ".join(
                f"{shares.max():.2%} of feature {int(shares.argmax())} of {name!r}" for name, shares in clipped.items()
            )
            warnings.warn(
                f"Program {self.program.name!r} clips samples beyond its range: {worst} at most. Calibration "
                "had no such samples; give convert data of the range that really occurs.",
                stacklevel=3,
            )

    def verify(self, model: keras.Model, x: Arrays, y: Any = None, task: Any = None):
        """Compares Keras and its stream with the program on all engines; see `keras_s4.tflite.verify`."""
        from keras_s4.tflite.verification import verify

        return verify(self, model, x, y, task=task)

    def save(self, folder: str | Path, dss: Steps = "operators") -> Path:
        """Writes all that a firmware project needs, whole or not at all; the same model gives the same bytes.

        The files are `model.tflite`, also as a C array (`model_data.h`, `.cc`); `manifest.json`; golden vectors for
        numpy (`golden.npz`) and for C++ (`golden.h`); a class for TensorFlow Lite Micro (`keras_s4_model.h`, `.cc`);
        `main.cc`, which checks it against the golden vectors; a `Makefile`, and a `README.md` that explains all this.
        `c99/` is the same model as C99 that needs no interpreter (see `c_source`), and `firmware/` a main loop around
        it for a sensor at a fixed rate, which also runs on this computer.

        Args:
            folder: created if need be. What an earlier save wrote there is replaced or removed, as a whole; files that
                someone else wrote stay.
            dss: "custom" also writes `tflm_custom/`: the application for TensorFlow Lite Micro with a `.tflite` whose
                steps of DSS layers are a custom operator, and that operator in C++ (see
                `keras_s4.tflite.custom_operator`).

        Returns:
            The folder.

        Raises:
            ValueError: another word for `dss`; files of these names that no save wrote, or that were changed since.
            OSError: the folder cannot be written; nothing half-written remains.
            NotImplementedError: the program has an operation in a form that C leaves out, such as more than 255 modes
                of a DSS layer.
        """
        from keras_s4.tflite.application.folder import save

        return save(self, Path(folder), dss)


def _joined(integers: np.ndarray, rows: int) -> np.ndarray:
    """`[B, L / T, R, ..]` as `[B, L R / T, ..]`."""
    if rows == 1:
        return integers
    return integers.reshape(integers.shape[0], -1, *integers.shape[3:])


def _listed(values) -> list[np.ndarray]:
    """One output, or several in a list or dict, as a list."""
    return list(values.values()) if isinstance(values, dict) else as_list(values)


def _dequantized(tensor: Tensor, activation: str, integers: np.ndarray) -> np.ndarray:
    values = (integers.astype(np.float64) - tensor.zero_point) * tensor.scale
    if activation == "softmax":
        values = np.exp(values - values.max(axis=-1, keepdims=True))
        values /= values.sum(axis=-1, keepdims=True)
    return values
