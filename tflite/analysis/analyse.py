"""Before export: can this model work in the integers of its program? State by state, and as a signal-to-noise ratio."""

from __future__ import annotations

import dataclasses
import functools
import io
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from keras_s4.brief import Brief
from keras_s4.checks import check_model
from keras_s4.samples import real_array
from keras_s4.surgery.cloning import dss_layers
from keras_s4.surgery.padding import real_values
from keras_s4.systems import DiagonalSystem
from keras_s4.tflite.analysis import tables
from keras_s4.tflite.analysis.signal_to_noise import COEFFICIENTS, Comparison, axes_of_output, input_arrays
from keras_s4.tflite.analysis.signal_to_noise import real as real_numbers
from keras_s4.tflite.analysis.states import States, analyse_states
from keras_s4.tflite.conversion import Arrays, Converted
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.lowering.input_encoding import coarse_features
from keras_s4.tflite.lowering.representative import check_count
from keras_s4.tflite.padding import real_steps_first
from keras_s4.tflite.program.operations import DiagonalStep
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

# Sequences on which signal-to-noise ratios are taken.
NOISE_SEQUENCES = 32
# In dB: with less, the error is a third of the signal, and a classifier no longer gives the labels of its model.
LEAST_SIGNAL_TO_NOISE = 10.0
# A state that rounding keeps at so much more of its start than it should be spoils what a stream brings later.
MOST_REMEMBERED = 0.1
# An impulse response with a relative error above this is to blame for an output that is too noisy.
LARGE_KERNEL_ERROR = 0.1


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LayerAnalysis(Brief):
    """A DSS layer of a program.

    Args:
        name: "block_1/dss" for the DSS layer of a block.
        states: its states, one by one.
        predicted: signal-to-noise ratio of its output in dB by the noise model; what earlier layers lose is in it.
        measured: the same from the emulator.
        largest_output: the largest magnitude of its output on the data, in the units of its tensor.
    """

    name: str
    states: States
    predicted: float | None
    measured: float | None
    largest_output: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Analysis(Brief):
    """What `analyse` found; printed, a table.

    Signal-to-noise ratios compare with the trained model where it was given, else with the program in real arithmetic
    (then what the rounding of its coefficients costs is unknown). They are None where the program has no noise model.
    Those of a softmax are of its arguments less their mean, which it ignores.

    Args:
        layers: one entry for each DSS layer.
        predicted: signal-to-noise ratio of the model's (first) output in dB, by the noise model.
        measured: the same from the emulator.
        noise: the part of the noise at the output that each stage causes, the largest first, by the name of the tensor
            that is rounded ("input[2]" for a feature of an input, which is limited to its range as well);
            "coefficients" is all that is the same in every run: rounded weights, poles, gains and tables, and clipping.
        overflow: where a 32-bit accumulator wraps on the data, "" if none does.
        missing: why the program has no noise model, "" if it has one.
        sources: the stages of `noise` that are the rounding of an input, or of one of its features.
        coarse: a sentence for each feature of an input whose integers are too few.
    """

    layers: tuple[LayerAnalysis, ...]
    predicted: float | None
    measured: float | None
    noise: dict[str, float]
    overflow: str
    missing: str
    sources: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()

    @functools.cached_property
    def refusals(self) -> list[str]:
        """Why the model cannot work in this format: each with its number, and with what would work."""
        found = [f"On the data a 32-bit accumulator wraps. {self.overflow}"] if self.overflow else []
        for layer in self.layers:
            found += _saturated(layer)
        if self.predicted is not None and self.predicted < LEAST_SIGNAL_TO_NOISE:
            stage, part = next(iter(self.noise.items()))
            found.append(
                f"The output's predicted signal-to-noise ratio is {self.predicted:.1f} dB; it needs "
                f"{LEAST_SIGNAL_TO_NOISE:.0f} dB. {part:.0%} of the noise comes from {stage}. {self._remedy(stage)}"
            )
        return found

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What may go wrong on other data, and what was not analysed."""
        found = [*self.coarse, *(warning for layer in self.layers for warning in _warnings(layer))]
        return [*found, f"No signal-to-noise ratio is predicted: {self.missing}"] if self.missing else found

    def table(self) -> Table:
        """One row a layer, with the worst of its states in each column, and one for the model's output."""
        return tables.layers(self)

    def states_table(self, layer: str) -> Table:
        """One row a state of a layer.

        Raises:
            ValueError: there is no such layer.
        """
        found = {candidate.name: candidate.states for candidate in self.layers}
        if layer not in found:
            raise ValueError(f"There is no DSS layer {layer!r}; there are {', '.join(found) or 'none'}.")
        return tables.states(layer, found[layer])

    def noise_table(self, rows: int = 6) -> Table:
        """The stages that cause most of the noise at the output."""
        return tables.noise(self.noise, rows)

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready; None where there is no figure, such as the headroom of a state that is not used."""
        return {
            "predicted_db": self.predicted,
            "measured_db": self.measured,
            "noise": self.noise,
            "refusals": self.refusals,
            "warnings": self.warnings,
            "layers": {
                layer.name: {
                    "predicted_db": layer.predicted,
                    "measured_db": layer.measured,
                    **layer.states.figures(),
                }
                for layer in self.layers
            },
        }

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, markup=False, emoji=False, width=100)
        console.print(self.table())
        for line in (*self.refusals, *self.warnings):
            console.print(line, highlight=False)
        return text.getvalue()

    def _remedy(self, stage: str) -> str:
        """What would make the noise of a stage smaller."""
        if stage == COEFFICIENTS:
            for layer in self.layers:
                error = layer.states.largest_kernel_error
                if error > LARGE_KERNEL_ERROR:
                    return (
                        f"The modes of {layer.name!r} are too slow for poles on a grid of 2**-15, which change an "
                        f"impulse response by {error:.0%}. Faster modes would work: fewer samples a second, or a "
                        "reduced model (keras_s4.reduce) that is trained again."
                    )
            return "Finer weights than 8 bits would work, or a smaller model that is trained again."
        if stage in self.sources:
            return (
                "The integers of that input are too coarse for what the model makes of it: convert with data of the "
                "range that really occurs, and with a Normalization as the model's first layer where features differ."
            )
        if stage.endswith(("/hidden", "/partial")):
            return (
                "Its modes nearly cancel, which takes more than 16 bits of a state. Fewer modes would work: a reduced "
                "model (keras_s4.reduce) that is trained again."
            )
        return "int16 activations would work there, or calibration on data of the range that really occurs."


def analyse(
    converted: Converted | Program, data: Arrays, model: keras.Model | None = None, steps: int | None = None
) -> Analysis:
    """Analyses a program on data, before it is exported.

    Headroom, dead zone and decay come from the program's own integers, the predicted signal-to-noise ratio from
    `keras_s4.tflite.analysis.noise_model`; the measured one, from the emulator, checks the prediction.

    Args:
        converted: what `convert` returned, or a program.
        data: `[B, L, features]`, or for several inputs a list or a dict of them, as for `convert`; the first 32
            sequences serve for signal-to-noise ratios. A program for blocks of steps has measured ones only.
        model: the model that was converted: with it the errors of poles, kernels and weights are known, too.
        steps: for which states without input are followed; by default until the ideal one has fallen to a thousandth,
            at most 40,000.

    Raises:
        ValueError: data of another shape, empty, or with NaN; another model than the one that was converted.
    """
    steps = check_count(steps, "steps", "analyse")
    if not isinstance(converted, (Converted, Program)):
        raise TypeError(
            f"analyse received a {type(converted).__name__}; expected what convert returned, or its program: "
            "analyse(convert(model, data), data, model)."
        )
    if model is not None:
        check_model(model, data, "analyse")
    if isinstance(converted, Program):
        converted = Converted(program=converted, tflite=b"", length=None)
    program = converted.program
    arrays = _checked(data, program)
    layers = {_layer_name(step): step for step in program.operations if isinstance(step, DiagonalStep)}
    wanted = {} if model is None else _wanted(model, layers)
    output = program.outputs[0]
    names = {output.name, *(tensor.name for step in layers.values() for tensor in (step.input, step.output))}
    real = converted.real_steps(arrays)
    padded = arrays if real is None else _padded_at_the_end(arrays, real)
    arrays = real_steps_first(arrays, real)
    first = None if real is None else np.sort(real, axis=1)[:, ::-1]
    traced, overflow = _emulated(program, converted.quantize(arrays if len(arrays) > 1 else arrays[0]), names)
    few = [[array[:NOISE_SEQUENCES] for array in each] for each in (arrays, padded)]
    comparison = Comparison(program, few[0], model, None if first is None else first[:NOISE_SEQUENCES], few[1])
    samples = arrays[0].shape[1]
    rows = []
    for name, step in layers.items():
        received, given = (_in_steps(traced[tensor.name], 1) for tensor in (step.input, step.output))
        # Behind layers that drop steps a window has fewer of them.
        length = (converted.length or samples) * received.shape[1] // samples
        counting = None if first is None else real_values(first, received.shape[1])
        states = analyse_states(step, received, wanted.get(name), length, steps, counting)
        ratios = comparison.layer(name, step, given[:NOISE_SEQUENCES])
        rows.append(LayerAnalysis(name, states, *ratios, float(np.abs(real_numbers(step.output, given)).max())))
    ratios = comparison.output(_in_steps(traced[output.name], axes_of_output(program))[:NOISE_SEQUENCES])
    coarse = [
        sentence
        for array, source in zip(arrays, program.inputs, strict=True)
        if source.type != "int32"
        for sentence in coarse_features(
            source, program.encodings.get(source.name), array if first is None else array[first]
        )
    ]
    noise = comparison.noise_by_stage()
    return Analysis(tuple(rows), *ratios, noise, overflow, comparison.missing, comparison.sources, tuple(coarse))


def _padded_at_the_end(arrays: list[np.ndarray], real: np.ndarray) -> list[np.ndarray]:
    """Sequences whose padding is moved behind their real steps."""
    order = np.argsort(~real, axis=1, kind="stable")
    return [np.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), axis=1) for array in arrays]


def _in_steps(integers: np.ndarray, axes: int) -> np.ndarray:
    """The rows of blocks `[B, L / T, T, ...]` one after the other, `[B, L, ...]`; single steps as they are.

    Args:
        integers: of a trace.
        axes: of a step.
    """
    return integers.reshape(len(integers), -1, *integers.shape[integers.ndim - axes :])


def _checked(data: Arrays, program: Program) -> list[np.ndarray]:
    """The arrays for all inputs, in the program's order."""
    arrays = [real_array(array, "analyse got data", finite=False) for array in input_arrays(program, data)]
    for array, source in zip(arrays, program.inputs, strict=True):
        _check_input(array, source, program)
    if len({array.shape[:2] for array in arrays}) > 1:
        raise ValueError(
            f"analyse got data of shapes {[list(array.shape) for array in arrays]}; expected as many sequences, and as "
            "many steps, of every input."
        )
    return arrays


def _check_input(data: np.ndarray, source: Tensor, program: Program) -> None:
    # A program for blocks has a row for each step; tokens come as numbers, samples as vectors.
    sizes = source.shape[1:] if program.steps > 1 else source.shape
    sizes = () if source.type == "int32" else sizes
    if data.ndim != len(sizes) + 2 or data.shape[2:] != sizes or 0 in data.shape:
        expected = ", ".join(map(str, ("B", "L", *sizes)))
        raise ValueError(
            f"analyse got data of shape {list(data.shape)}; input {source.name!r} of program {program.name!r} takes "
            f"[{expected}]."
        )
    if not np.all(np.isfinite(data)):
        raise ValueError(
            f"analyse got data with {np.count_nonzero(~np.isfinite(data))} NaN or infinite values; remove them."
        )


def _layer_name(step: DiagonalStep) -> str:
    return step.state.name.removesuffix("/before").removesuffix("/state")


def _wanted(model: keras.Model, layers: dict[str, DiagonalStep]) -> dict[str, DiagonalSystem]:
    """The trained systems of a program's DSS layers."""
    systems = {name: layer.system() for name, layer in dss_layers(model).items()}
    for name, step in layers.items():
        shape = step.decay.data.shape[::-1]
        if name not in systems or systems[name].poles.shape != shape:
            raise ValueError(
                f"The program has a DSS layer {name!r} of {shape[0]} channels and {shape[1]} modes, which model "
                f"{model.name!r} has not; give the model that was converted."
            )
    return systems


def _emulated(program: Program, integers: np.ndarray, names: set[str]) -> tuple[dict[str, np.ndarray], str]:
    """Integers of tensors on the data, and what would wrap in 32 bits."""
    try:
        return Emulator(program, check_overflow=True).trace(integers, record=names).tensors, ""
    except OverflowError as error:
        return Emulator(program).trace(integers, record=names).tensors, str(error)


def _saturated(layer: LayerAnalysis) -> list[str]:
    headroom = layer.states.headroom("data")
    if not np.any(headroom < 0.0):
        return []
    channel, mode = layer.states.worst(headroom, largest=False)
    return [
        f"Layer {layer.name!r}: on the data the state of mode {mode}, channel {channel} lacks "
        f"{-headroom[channel, mode]:.1f} bits and saturates. Convert with representative data that reaches this far: "
        "the headroom is chosen from it."
    ]


def _warnings(layer: LayerAnalysis) -> list[str]:
    return [*_worst_case(layer), *_remembered(layer), *_noisy(layer)]


def _worst_case(layer: LayerAnalysis) -> list[str]:
    states = layer.states
    headroom = states.headroom("worst", "int32")
    place = channel, mode = states.worst(headroom, largest=False)
    if headroom[place] >= 0.0:
        return []
    return [
        f"Layer {layer.name!r}: the worst input of the full int16 range would wrap the state of mode {mode}, channel "
        f"{channel}, which lacks {-headroom[place]:.1f} bits; the data leave it "
        f"{states.headroom('data', 'int32')[place]:.1f} bits."
    ]


def _remembered(layer: LayerAnalysis) -> list[str]:
    states = layer.states
    place = channel, mode = states.worst(states.remembered)
    if states.remembered[place] <= MOST_REMEMBERED:
        return []
    return [
        f"Layer {layer.name!r}: after {states.decay_steps[place]:,} steps without input, the state of mode {mode}, "
        f"channel {channel} leaves {states.left_in_output[place]:.2g} in the layer's output, which reaches "
        f"{layer.largest_output:.2g} on the data: rounding keeps it up, where it should have faded to "
        f"{states.ideal_decay[place]:.1%} of its peak. If streams have such pauses, reset the state in them, or use "
        "faster modes."
    ]


def _noisy(layer: LayerAnalysis) -> list[str]:
    if layer.predicted is None or layer.predicted >= LEAST_SIGNAL_TO_NOISE:
        return []
    return [f"Layer {layer.name!r}: the predicted signal-to-noise ratio of its output is {layer.predicted:.1f} dB."]
