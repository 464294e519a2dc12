"""What int16 activations would gain, layer by layer, and what they would cost: measured, not predicted."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
from rich import box
from rich.table import Table

from keras_s4.checks import check_model
from keras_s4.padded_sequences import real_values
from keras_s4.surgery.graph import graph_of
from keras_s4.tflite.analysis.signal_to_noise import ratio
from keras_s4.tflite.conversion import convert
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.lowering.calibration import check_representative_inputs
from keras_s4.tflite.lowering.formats import layer_paths
from keras_s4.tflite.lowering.representative import gather
from keras_s4.tflite.program.program import Program

# Sequences on which signal-to-noise ratios are taken.
SEQUENCES = 32
# In dB: what a layer must gain to be worth a word.
WORTHWHILE = 1.0
_TINY = 1e-300


@dataclasses.dataclass(frozen=True)
class Wide:
    """A program with int16 activations in some layers, beside the one without.

    Args:
        layers: their names.
        measured: signal-to-noise ratio of the first output against the trained model, in dB.
        gain: by how much that is more, in dB.
        tflite_bytes: by how much the file is larger.
        arena_bytes: by how much the arena is larger; None where it was not measured.
    """

    layers: tuple[str, ...]
    measured: float
    gain: float
    tflite_bytes: int
    arena_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Formats:
    """What int16 activations gain and cost.

    Args:
        measured: signal-to-noise ratio of the first output with int8 activations, in dB.
        single: each layer that has int8 activations, alone in int16; the largest gain first.
        together: all of them in int16; None if no layer has int8 activations.
    """

    measured: float
    single: tuple[Wide, ...]
    together: Wide | None

    @functools.cached_property
    def advice(self) -> str:
        """One sentence."""
        if self.together is None:
            return "No layer has int8 activations."
        worthwhile = [wide for wide in self.single if wide.gain >= WORTHWHILE]
        if worthwhile:
            layers = ", ".join(f"{wide.layers[0]} (+{wide.gain:.1f} dB)" for wide in worthwhile)
            return f"int16 activations gain most in {layers}; everywhere, {self.together.gain:.1f} dB."
        if self.together.gain >= WORTHWHILE:
            return f"int16 activations gain {self.together.gain:.1f} dB in all layers together, little in one alone."
        return (
            f"int16 activations gain {self.together.gain:.1f} dB: leave them int8. The error comes from elsewhere, "
            "from weights of 8 bits for example."
        )

    def table(self) -> Table:
        """One row a layer."""
        table = Table("int16 activations in", "SNR", "gain", "bytes", "arena", box=box.SIMPLE_HEAD, pad_edge=False)
        table.title = f"int16 activations instead of int8, with which the output has {self.measured:.1f} dB"
        for column in table.columns[1:]:
            column.justify = "right"
        for wide in (*self.single, *((self.together,) if len(self.single) > 1 else ())):
            name = wide.layers[0] if len(wide.layers) == 1 else "all of these"
            arena = "–" if wide.arena_bytes is None else f"{wide.arena_bytes:+,}"
            table.add_row(name, f"{wide.measured:.1f}", f"{wide.gain:+.1f}", f"{wide.tflite_bytes:+,}", arena)
        return table

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        return {**dataclasses.asdict(self), "advice": self.advice}


def compare_formats(model: keras.Model, data: np.ndarray, length: int | None = None) -> Formats:
    """Measures what int16 activations would gain in each layer, and in all.

    The model is converted once in int8, and once more for each layer with int8 activations; each program runs on the
    emulator. What weights of 8 bits lose stays lost, so that the gains of layers may be small, and do not add up.

    Args:
        model: as for `convert`.
        data: `[B, L, features]`, or a list of several inputs, as for `convert`; the first 32 sequences serve for
            signal-to-noise ratios.
        length: as for `convert`.

    Raises:
        NotImplementedError, TypeError, ValueError: as `convert`.
    """
    check_model(model, data, "compare_formats")
    graph_of(model)
    arrays = list(check_representative_inputs(model, gather(model, data, "compare_formats")[0]).values())
    data = arrays if len(arrays) > 1 else arrays[0]
    plain = convert(model, data, length)
    layers = _int8_layers(model, plain.program)
    inputs = keras.tree.map_structure(lambda array: array[:SEQUENCES], data)
    predictions = keras.tree.flatten(model(inputs, training=False))[0]
    reference = keras.ops.convert_to_numpy(predictions).astype(np.float64)
    measured, arena = _signal_to_noise(plain, inputs, reference), plain.manifest["arena_bytes"]

    def wide(*names: str) -> Wide:
        converted = convert(model, data, length, activations=dict.fromkeys(names, "int16"))
        decibels = _signal_to_noise(converted, inputs, reference)
        larger = None if arena is None else converted.manifest["arena_bytes"] - arena
        return Wide(names, decibels, decibels - measured, len(converted.tflite) - len(plain.tflite), larger)

    single = sorted((wide(name) for name in layers), key=lambda found: -found.gain)
    together = None if not layers else single[0] if len(layers) == 1 else wide(*layers)
    return Formats(measured, tuple(single), together)


def _int8_layers(model: keras.Model, program: Program) -> list[str]:
    """The layers whose activations are int8, as `convert` takes their names."""
    tensors = [tensor.name for tensor in program.tensors() if tensor.type == "int8" and tensor.data is None]
    # The second call of a layer has names of its own.
    tensors += [name.split("/", 1)[1] for name in tensors if name.startswith("call_")]
    paths = list(layer_paths(model))
    inner = {path.rpartition("/")[0] for path in paths}
    return [path for path in paths if path not in inner and any(name.startswith(f"{path}/") for name in tensors)]


def _signal_to_noise(converted: Converted, inputs: np.ndarray, reference: np.ndarray) -> float:
    """Of the first output in dB, on the emulator."""
    activations = converted.program.output_activations
    received = keras.tree.flatten(converted.predict(inputs, engine="emulator"))[0]
    real = converted.real_steps(inputs)
    if real is not None and converted.output_steps[0].sequence:
        reference, received = (values[real_values(real, values.shape[1])] for values in (reference, received))
    if activations and activations[0] == "softmax":
        # A softmax ignores the mean of its arguments, so that what differs in it is no noise.
        reference, received = (np.log(np.maximum(values, _TINY)) for values in (reference, received))
        reference, received = (values - values.mean(axis=-1, keepdims=True) for values in (reference, received))
    return ratio(reference, received)
