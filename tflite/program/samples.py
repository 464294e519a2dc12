"""What a program takes as samples: checked, and counted where they lie beyond what its integers hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_s4.samples import arrays_by_name, check_tokens, is_several, real_array
from keras_s4.tflite.program.program import Program, limits
from keras_s4.tflite.program.tensors import Tensor


def sample_arrays(program: Program, x: Any, window: int | None = None, least: int = 1) -> list[np.ndarray]:
    """Samples for each input of a program, in its order.

    Args:
        program: the integer program.
        x: `[B, L, features]`, or token numbers `[B, L]`; of several inputs a list in its order, or a dict by name.
        window: steps that a sequence must have; None for any number.
        least: steps that it must have at least.

    Raises:
        TypeError: what holds no real numbers.
        ValueError: another number of inputs or unknown names; another number of axes, features or steps; no sequence;
            NaN; tokens that are not whole, or outside the vocabulary; inputs of different numbers of sequences or
            steps.
    """
    names = [tensor.name for tensor in program.inputs]
    if len(names) == 1 and isinstance(x, Mapping) and len(x) == 1:
        x = next(iter(x.values()))
    axes = 2 + len(shape_of_sample(program, program.inputs[0]))
    if len(names) == 1 and is_several(x) and len(x) == 1 and np.ndim(x[0]) == axes:
        x = x[0]
    arrays = arrays_by_name(names, x, f"Program {program.name!r}")
    arrays = [_checked(program, tensor, array) for tensor, array in zip(program.inputs, arrays, strict=True)]
    if len({array.shape[:2] for array in arrays}) > 1:
        shapes = {name: list(array.shape) for name, array in zip(names, arrays, strict=True)}
        raise ValueError(
            f"Program {program.name!r} received inputs of shapes {shapes}; expected as many sequences, and as many "
            "steps, of every input."
        )
    length = arrays[0].shape[1]
    if length < least:
        raise ValueError(
            f"Program {program.name!r} received sequences of {length} steps; its convolutions need at least {least} "
            "for a first output. Give longer sequences."
        )
    if window is not None and length != window:
        raise ValueError(
            f"Program {program.name!r} received sequences of {length} steps; it averages over windows of "
            f"{window}. Cut the sequences into windows of {window} steps, or convert the model for this length: "
            "convert(model, data, length=...)."
        )
    return arrays


def shape_of_sample(program: Program, tensor: Tensor) -> tuple[int, ...]:
    """The axes of one step of an input, as Keras has them: none for a token."""
    if tensor.type == "int32":
        return ()
    return tensor.shape[1:] if program.steps > 1 else tensor.shape


def clipped_share(tensor: Tensor, rounded: np.ndarray) -> np.ndarray:
    """The share of samples of each feature, `[features]`, that lie beyond the range of an input's integers.

    Args:
        tensor: the input.
        rounded: its integers `[B, L, features]` before they are clipped.
    """
    ends = np.iinfo(tensor.type)
    return np.mean((rounded < ends.min) | (rounded > ends.max), axis=(0, 1))


def _checked(program: Program, tensor: Tensor, x: Any) -> np.ndarray:
    array = real_array(x, f"Input {tensor.name!r} of program {program.name!r} received samples")
    sizes = shape_of_sample(program, tensor)
    if array.ndim == len(sizes) + 2 and array.shape[2:] == sizes and 0 not in array.shape:
        if tensor.type == "int32":
            check_tokens(array, limits(program, tensor)[1] + 1)
        return array
    raise ValueError(
        f"Input {tensor.name!r} of program {program.name!r} received samples of shape {list(array.shape)}; expected "
        f"[{', '.join(map(str, ('B', 'L', *sizes)))}]{_remedy(array, sizes)}"
    )


def _remedy(array: np.ndarray, sizes: tuple[int, ...]) -> str:
    """What to do about another shape."""
    if 0 in array.shape:
        return ", at least one sequence and one step."
    if array.shape[1:] == sizes and array.ndim == len(sizes) + 1:
        return ". A single sequence needs a batch axis: x[None]."
    if sizes == (1,) and array.ndim == 2:
        return ". Sequences of one feature need an axis for it: x[..., None]."
    if array.ndim == len(sizes) + 2 and array.shape[1] == (sizes or (None,))[0]:
        return ". Steps come before features: np.swapaxes(x, 1, 2)."
    return ", B sequences of L steps."
