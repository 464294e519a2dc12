"""The options of operators: where they stand in TensorFlow Lite's tables, and what this package writes there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

Option = int | str | tuple[int, ...]

TEXT, NUMBERS = "text", "numbers"


@dataclasses.dataclass(frozen=True)
class Field:
    """An entry of a table of options.

    Args:
        name: its name in this package.
        slot: its number in the table.
        format: a scalar's format of `struct`; `TEXT`, or `NUMBERS` for a list of int32.
        default: the value that a reader takes when the entry is missing.
    """

    name: str
    slot: int
    format: str
    default: Option = 0


def _numbered(format: str, *names: str, first: int = 0) -> tuple[Field, ...]:
    return tuple(Field(name, first + slot, format) for slot, name in enumerate(names))


_ACTIVATION = _numbered("b", "activation")
# Those of the operators that have any.
FIELDS: dict[str, tuple[Field, ...]] = {
    "ADD": _ACTIVATION,
    "MUL": _ACTIVATION,
    "CAST": _numbered("b", "input_type", "output_type"),
    "FULLY_CONNECTED": (
        *_numbered("b", "activation", "weights_format"),
        *_numbered("?", "keep_dimensions", "asymmetric", first=2),
        *_numbered("b", "bias_type", first=4),
    ),
    "DEPTHWISE_CONV_2D": (
        *_numbered("b", "padding"),
        *_numbered("i", "stride_w", "stride_h", "depth_multiplier", first=1),
        *_numbered("b", "activation", first=4),
        Field("dilation_w", 5, "i", 1),
        Field("dilation_h", 6, "i", 1),
    ),
    "RESHAPE": (Field("new_shape", 0, NUMBERS, ()),),
    "GATHER": _numbered("i", "axis", "batch_dimensions"),
    "CONCATENATION": (*_numbered("i", "axis"), *_numbered("b", "activation", first=1)),
    "STRIDED_SLICE": (
        *_numbered("i", "begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"),
        *_numbered("?", "offset", first=5),
    ),
    "MAX_POOL_2D": (
        *_numbered("b", "padding"),
        *_numbered("i", "stride_w", "stride_h", "width", "height", first=1),
        *_numbered("b", "activation", first=5),
    ),
    "BATCH_MATMUL": _numbered("?", "adjoint_a", "adjoint_b", "asymmetric"),
    "VAR_HANDLE": (Field("container", 0, TEXT, ""), Field("shared_name", 1, TEXT, "")),
    "CALL_ONCE": _numbered("i", "subgraph"),
}

_VALID_PADDING, _ONE_BY_ONE = {"padding": 1}, {"stride_w": 1, "stride_h": 1}
# What an operator of this package always has.
_FIXED: dict[str, dict[str, Option]] = {
    "DEPTHWISE_CONV_2D": {**_VALID_PADDING, **_ONE_BY_ONE, "depth_multiplier": 1},
    "MAX_POOL_2D": {**_VALID_PADDING, **_ONE_BY_ONE, "height": 1},
}


def complete(name: str, options: Mapping[str, Option]) -> dict[str, Option]:
    """All options of an operator: those given, what this package always writes, and defaults.

    Args:
        name: the operator's name.
        options: values by the names of its `FIELDS`.

    Raises:
        ValueError: the operator has no such option.
    """
    defaults = {field.name: field.default for field in FIELDS.get(name, ())}
    if unknown := options.keys() - defaults.keys():
        raise ValueError(f"{name} has no option {min(unknown)!r}; it has {', '.join(defaults) or 'none'}.")
    return defaults | _FIXED.get(name, {}) | dict(options)
