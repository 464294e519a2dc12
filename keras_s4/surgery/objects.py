"""Objects and functions that users' layers hold: a scaler, a module of variables, a function made of what was seen."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

# Of these a layer makes its own from its arguments; those of a user's classes may have been given or adapted later.
_LIBRARIES = ("keras", "tensorflow", "jax", "jaxlib", "torch", "numpy", "builtins", "collections", "functools")


def carry_objects(old: keras.layers.Layer, new: keras.layers.Layer, copies: Mapping[int, Any]) -> None:
    """Gives a copy of a layer what the layer computes with in objects and functions that Keras does not know.

    Args:
        old: a layer of a user's class; nothing is done for others.
        new: its copy, of the same class and arguments.
        copies: the copies of layers by the identities of what they were made from.

    Raises:
        ValueError: something cannot be copied; by attribute.
    """
    if type(old).__module__.split(".")[0] in ("keras", "keras_s4"):
        return
    for name, value in vars(old).items():
        if name.startswith("__") or not any(map(_is_known_to_nobody, _leaves(value))):
            continue
        if _says_the_same(value, getattr(new, name, None), old, new):
            continue
        try:
            setattr(new, name, copy.deepcopy(_bound_to(new, value), {**copies, id(old): new}))
            carried = not _reads(value, old)
        except Exception:  # whatever the object's own copying raises
            carried = False
        if not carried:
            raise ValueError(
                f"Layer {old.name!r} ({type(old).__name__}) cannot be copied: what its attribute {name!r} "
                f"({type(value).__name__}) holds was set after the layer was made, and cannot be carried over. Make it "
                "of arguments that get_config() gives, or keep numbers in weights (add_weight)."
            )


def _is_known_to_nobody(value: Any) -> bool:
    if isinstance(value, (keras.layers.Layer, keras.random.SeedGenerator, keras.KerasTensor, type, types.ModuleType)):
        return False
    if isinstance(value, (types.FunctionType, types.MethodType)):
        return value.__module__ is None or value.__module__.split(".")[0] not in _LIBRARIES[:-1]
    return hasattr(value, "__dict__") and type(value).__module__.split(".")[0] not in _LIBRARIES


def _says_the_same(one: Any, other: Any, old: Any, new: Any) -> bool:
    """Whether two values hold equal numbers and functions, where those of the layers stand for each other."""
    if one is other or (one is old and other is new):
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, types.MethodType):
        return one.__func__ is other.__func__ and _says_the_same(one.__self__, other.__self__, old, new)
    if isinstance(one, types.FunctionType):
        return one.__code__ is other.__code__ and all(
            _says_the_same(a.cell_contents, b.cell_contents, old, new)
            for a, b in zip(one.__closure__ or (), other.__closure__ or (), strict=True)
        )
    if isinstance(one, (keras.layers.Layer, keras.random.SeedGenerator)):
        return type(one) is type(other)  # carried over by themselves
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_says_the_same(a, b, old, new) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_says_the_same(one[key], other[key], old, new) for key in one)
    if _is_known_to_nobody(one):
        return _says_the_same(vars(one), vars(other), old, new)
    if hasattr(one, "shape"):
        return np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    try:
        return bool(one == other)
    except Exception:  # what the object's own comparison raises
        return False


def _bound_to(new: Any, value: Any) -> Any:
    return types.MethodType(value.__func__, new) if isinstance(value, types.MethodType) else value


def _reads(value: Any, old: Any) -> bool:
    """Whether a function reads a layer, so that the function of a copy would."""
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    return any(cell is old or isinstance(cell, keras.Variable) for cell in cells)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple, set, frozenset)):
        yield value
        return
    for part in value:
        yield from _leaves(part)
