"""What a firmware project must know about an exported model, and the folder that is saved for it."""

from __future__ import annotations

import collections
import hashlib
import importlib.metadata
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_s4.files import write_folder
from keras_s4.tflite import runtimes
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer_reader import read_summary
from keras_s4.tflite.program import Affine, DiagonalStep, FullyConnected, Multiply, Program, Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from keras_s4.tflite.conversion import Converted

GOLDEN_STREAMS, GOLDEN_STEPS = 4, 64


def manifest_of(program: Program, tflite: bytes) -> dict[str, Any]:
    """Facts about an exported model as JSON-ready values; bytes and arena are measured, not computed.

    The arena is measured on the host, whose 64-bit pointers make it larger than on a 32-bit microcontroller.
    """
    summary = read_summary(tflite)
    return {
        "name": program.name,
        "sha256": hashlib.sha256(tflite).hexdigest(),
        "tflite_bytes": len(tflite),
        "arena_bytes": runtimes.measure_arena(tflite),
        "operators": len(summary.operators),
        "operator_counts": dict(sorted(collections.Counter(summary.operators).items())),
        "registrations": list(summary.registrations),
        "multiply_accumulates_per_step": multiply_accumulates(program),
        "inputs": [_tensor(tensor) for tensor in program.inputs],
        "outputs": [_tensor(tensor) for tensor in program.outputs],
        "output_activation": program.output_activation,
        "states": [_tensor(state.before) for state in program.states],
        "state_bytes": sum(4 * int(np.prod(state.before.shape)) for state in program.states),
        "versions": {name: importlib.metadata.version(name) for name in ("keras-s4", "keras", "numpy", "tflite-micro")},
    }


def multiply_accumulates(program: Program) -> int:
    """Multiplications with a weight in one step of the program.

    A mode of a DSS layer costs eight: four for the pole, two for the input, two for the readout.
    """
    total = 0
    for operation in program.operations:
        match operation:
            case FullyConnected():
                total += operation.weights.data.size
            case DiagonalStep():
                total += 8 * operation.decay.data.size + operation.feedthrough.data.size
            case Affine():
                total += operation.gain.data.size
            case Multiply():
                total += operation.output.shape[0]
    return total


def golden_vectors(program: Program) -> dict[str, np.ndarray]:
    """Random full-range inputs with the outputs and states after each step that every back-end must reproduce."""
    limits = np.iinfo(program.inputs[0].type)
    shape = (GOLDEN_STREAMS, GOLDEN_STEPS, *program.inputs[0].shape)
    inputs = np.random.default_rng(0).integers(limits.min, limits.max, shape, endpoint=True).astype(limits.dtype)
    trace = Emulator(program).trace(inputs, record=[state.after.name for state in program.states])
    states = {f"state_{index}": trace.tensors[state.after.name] for index, state in enumerate(program.states)}
    return {"inputs": inputs, "outputs": trace.outputs[0], **states}


def save(converted: Converted, folder: Path) -> Path:
    """Writes `model.tflite`, `manifest.json` and `golden.npz` into a folder, whole or not at all."""
    golden = io.BytesIO()
    np.savez_compressed(golden, **golden_vectors(converted.program))
    contents = {
        "model.tflite": converted.tflite,
        "manifest.json": (json.dumps(converted.manifest, indent=2) + "\n").encode(),
        "golden.npz": golden.getvalue(),
    }
    return write_folder(folder, contents)


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "type": tensor.type,
        "shape": list(tensor.shape),
        "scale": float(tensor.scale),
        "zero_point": tensor.zero_point,
    }
