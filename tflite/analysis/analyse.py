"""Before export: can this model work in the integers of its program? State by state, and as a signal-to-noise ratio."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.checks import check_model
from keras_s4.padded_sequences import real_values
from keras_s4.samples import real_array
from keras_s4.surgery.cloning import dss_layers
from keras_s4.systems import DiagonalSystem
from keras_s4.tflite.analysis.layer_analysis import LayerAnalysis
from keras_s4.tflite.analysis.modal_states import analyse_bank, banks_of, shared_systems
from keras_s4.tflite.analysis.result import Analysis
from keras_s4.tflite.analysis.signal_to_noise import Comparison, axes_of_output, dequantize, input_arrays
from keras_s4.tflite.analysis.states import analyse_states
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.lowering.input_encoding import coarse_features
from keras_s4.tflite.lowering.representative import check_count
from keras_s4.tflite.program.interface import Arrays, Interface
from keras_s4.tflite.program.operations import DiagonalStep
from keras_s4.tflite.program.own_lengths import keep_real_steps
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

# Sequences on which signal-to-noise ratios are taken.
NOISE_SEQUENCES = 32


def analyse(
    converted: Interface | Program, data: Arrays, model: keras.Model | None = None, steps: int | None = None
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
    if not isinstance(converted, (Interface, Program)):
        raise TypeError(
            f"analyse received a {type(converted).__name__}; expected what convert returned, or its program: "
            "analyse(convert(model, data), data, model)."
        )
    if model is not None:
        check_model(model, data, "analyse")
    if isinstance(converted, Program):
        converted = Interface(program=converted, tflite=b"", length=None)
    program = converted.program
    arrays = _check_data(data, program)
    layers = {_name_layer(step): step for step in program.operations if isinstance(step, DiagonalStep)}
    wanted = {} if model is None else _trained_systems(model, layers)
    banks = banks_of(program)
    shared = {} if model is None else shared_systems(model, banks)
    output = program.outputs[0]
    ends = [(step.input, step.output) for step in layers.values()]
    ends += [(bank.step.input, bank.output) for bank in banks.values()]
    names = {output.name, *(tensor.name for both in ends for tensor in both)}
    real = converted.real_steps(arrays)
    padded = arrays if real is None else _move_padding_to_the_end(arrays, real)
    arrays = keep_real_steps(arrays, real)
    first = None if real is None else np.sort(real, axis=1)[:, ::-1]
    traced, overflow = _emulate(program, converted.quantize(arrays if len(arrays) > 1 else arrays[0]), names)
    few = [[array[:NOISE_SEQUENCES] for array in each] for each in (arrays, padded)]
    comparison = Comparison(program, few[0], model, None if first is None else first[:NOISE_SEQUENCES], few[1])
    samples = arrays[0].shape[1]
    rows = []
    for name, (source, result) in zip([*layers, *banks], ends, strict=True):
        received, given = (_join_blocks(traced[tensor.name], 1) for tensor in (source, result))
        # Behind layers that drop steps a window has fewer of them.
        length = (converted.length or samples) * received.shape[1] // samples
        counting = None if first is None else real_values(first, received.shape[1])
        if name in layers:
            states = analyse_states(layers[name], received, wanted.get(name), length, steps, counting)
        else:
            drive = banks[name].drive
            known = drive is not None and drive.input.name not in program.encodings
            system = shared.get(name) if known else None
            states = analyse_bank(banks[name], received, system, length, steps, counting)
        ratios = comparison.layer(name, result, given[:NOISE_SEQUENCES])
        rows.append(LayerAnalysis(name, states, *ratios, float(np.abs(dequantize(result, given)).max())))
    ratios = comparison.output(_join_blocks(traced[output.name], axes_of_output(program))[:NOISE_SEQUENCES])
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


def _move_padding_to_the_end(arrays: list[np.ndarray], real: np.ndarray) -> list[np.ndarray]:
    """Sequences whose padding is moved behind their real steps."""
    order = np.argsort(~real, axis=1, kind="stable")
    return [np.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), axis=1) for array in arrays]


def _join_blocks(integers: np.ndarray, axes: int) -> np.ndarray:
    """The rows of blocks `[B, L / T, T, ...]` one after the other, `[B, L, ...]`; single steps as they are.

    Args:
        integers: of a trace.
        axes: of a step.
    """
    return integers.reshape(len(integers), -1, *integers.shape[integers.ndim - axes :])


def _check_data(data: Arrays, program: Program) -> list[np.ndarray]:
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


def _name_layer(step: DiagonalStep) -> str:
    return step.state.name.removesuffix("/before").removesuffix("/state")


def _trained_systems(model: keras.Model, layers: dict[str, DiagonalStep]) -> dict[str, DiagonalSystem]:
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


def _emulate(program: Program, integers: np.ndarray, names: set[str]) -> tuple[dict[str, np.ndarray], str]:
    """Integers of tensors on the data, and what would wrap in 32 bits."""
    try:
        return Emulator(program, check_overflow=True).trace(integers, record=names).tensors, ""
    except OverflowError as error:
        return Emulator(program).trace(integers, record=names).tensors, str(error)
