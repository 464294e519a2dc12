"""What a firmware project must know about an exported model."""

from __future__ import annotations

import collections
import hashlib
import importlib.metadata
import math
import platform
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_s4.tflite import engines, runtimes
from keras_s4.tflite.flatbuffer.reader import Summary, read_summary
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import Embed
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

# A `TfLiteTensor` on a 32-bit core; versions of TensorFlow Lite Micro differ in whether the measurement contains them.
_BYTES_PER_END = 64
_ARENA_ALIGNMENT = 16


def manifest_of(program: Program, tflite: bytes, length: int | None = None) -> dict[str, Any]:
    """Facts about an exported model as JSON-ready values; bytes and arena are measured, not computed.

    Args:
        program: the integer program.
        tflite: the bytes of its `.tflite`.
        length: steps of a window, None where there are no windows.

    Returns:
        Among other things `arena_bytes`, measured on the host, or None where TensorFlow Lite Micro is not installed;
        `recommended_arena` for a device (see there), then from a bound; and `registrations`: the methods of
        `MicroMutableOpResolver` to call.
    """
    summary = read_summary(tflite)
    arena, measured_on = _arena(tflite)
    windows = {"averages_over_windows": facts_of_windows(length)} if length and program.sums_over_time else {}
    return {
        "name": program.name,
        "sha256": hashlib.sha256(tflite).hexdigest(),
        "tflite_bytes": len(tflite),
        "arena_bytes": arena,
        "arena_measured_on": measured_on,
        "recommended_arena": recommended_arena(summary, runtimes.bound_of_arena(tflite) if arena is None else arena),
        "operators": len(summary.operators),
        "operator_counts": dict(sorted(collections.Counter(summary.operators).items())),
        "registrations": list(summary.registrations),
        "multiply_accumulates_per_step": multiply_accumulates(program),
        "window_length": length,
        **windows,
        "steps_per_invoke": program.steps,
        "inputs": [_input(tensor, program.encodings.get(tensor.name)) for tensor in program.inputs],
        "outputs": [_tensor(tensor) for tensor in program.outputs],
        "output_activations": list(program.output_activations) or ["linear"] * len(program.outputs),
        "states_kept_as": "variables" if summary.variables else "inputs",
        "states": [_tensor(state.before) for state in program.states],
        "state_bytes": sum(_bytes(state.before) for state in program.states),
        "versions": versions_of(("keras-s4", "keras", "numpy", "tflite-micro")),
    }


def facts_of_windows(length: int) -> dict[str, Any]:
    """What a firmware project must know of averages over windows of so many steps."""
    return {
        "reset_after": length,
        "outputs": "mean what those of the Keras model do behind the last step of a window; then reset. Where nobody "
        "does the sums grow, up to a limit at which they stay, and the outputs mean nothing",
    }


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The versions of packages by name; "not installed" of those that are not."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _arena(tflite: bytes) -> tuple[int | None, str]:
    """The least arena on this computer, and a phrase that says where it was measured; None where it cannot be."""
    if engines.why_missing("tflm"):
        return None, "not measured: TensorFlow Lite Micro is not installed on the computer that wrote this"
    where = f"the host, {platform.machine()}, whose pointers are longer than a microcontroller's"
    return runtimes.measure_arena(tflite), where


def recommended_arena(summary: Summary, measured: int) -> dict[str, Any]:
    """An arena for a device from what was measured on the host.

    Pointers of half the length make the need of a device smaller: one model took 30 KB on the host and 28 KB on a
    Cortex-M4F. What can make it larger is added: the sums of weights that CMSIS-NN keeps for int8 FULLY_CONNECTED on
    cores with Helium (`arm_fully_connected_s8_get_buffer_size`: four bytes an output), and the `TfLiteTensor` that some
    versions of TensorFlow Lite Micro allocate for each input and output that an application asks for.

    Args:
        summary: a summary of the file.
        measured: the least arena on the host, or a bound of it, in bytes.

    Returns:
        `bytes`, the `margin_bytes` in it, and in `margin` where they come from.
    """
    kernel_sums = 0
    for name, inputs, outputs in zip(summary.operators, summary.operator_inputs, summary.operator_outputs, strict=True):
        if name == "FULLY_CONNECTED" and summary.tensors[inputs[0]].type == "int8":
            kernel_sums += 4 * math.prod(summary.tensors[outputs[0]].shape)
    ends = _BYTES_PER_END * (len(summary.inputs) + len(summary.outputs))
    total = -(-(measured + kernel_sums + ends) // _ARENA_ALIGNMENT) * _ARENA_ALIGNMENT
    return {
        "bytes": total,
        "margin_bytes": total - measured,
        "margin": f"{kernel_sums} for the sums of weights that CMSIS-NN keeps on cores with Helium, {ends} for the "
        f"tensor objects of {len(summary.inputs)} inputs and {len(summary.outputs)} outputs of the file, the rest "
        f"to a multiple of {_ARENA_ALIGNMENT}; kernels of other vendors may need more",
    }


def multiply_accumulates(program: Program) -> int:
    """Multiplications with a weight, or of two activations, for one sample: in a block, the mean over its steps."""
    total = sum(operation.multiply_accumulates() for operation in program.operations)
    return -(-total // program.steps)


def _input(tensor: Tensor, encoding: Encoding | None) -> dict[str, Any]:
    """As `_tensor`; where features have units of their own each one's, `real = offset + integer * unit`."""
    if encoding is None:
        return _tensor(tensor)
    units = [float(unit) * float(tensor.scale) for unit in encoding.unit]
    features = [{"unit": unit, "offset": float(offset)} for unit, offset in zip(units, encoding.offset, strict=True)]
    return {**_tensor(tensor), "features": features}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "type": tensor.type,
        "shape": list(tensor.shape),
        "scale": float(tensor.scale),
        "zero_point": tensor.zero_point,
        "bytes": _bytes(tensor),
    }


def _bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * np.dtype(tensor.type).itemsize


def facts_of_padding(program: Program) -> dict[str, Any]:
    """What a firmware project must know of the padding that the Keras model masks; for the manifest.

    `counted_steps` is after how many steps an average over time stops counting, None if there is none.
    """
    states = {state.before.name for state in program.states}
    counts = [len(op.table.data) for op in program.operations if isinstance(op, Embed) and op.input.name in states]
    return {
        "on_the_device": "none: it is given the real steps of a sequence, and read after the last one",
        "counted_steps": max(counts, default=None),
    }
