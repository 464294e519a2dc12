"""All that a layer computes with and its arguments do not tell, carried over to another layer.

Weights are the smaller part of it. A layer may derive numbers from them (`keras.layers.Normalization`, by
`finalize_state`), keep a vocabulary (`keras.layers.IntegerLookup`), or hold what its own `adapt` has found in plain
attributes. What Keras saves and loads of a layer is carried over by the layer's own methods for that; what Keras would
forget, attribute by attribute.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_s4.files import temporary_folder
from keras_s4.surgery.objects import carry_objects

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.ndarray, np.generic)
Holder = keras.layers.Layer | keras.random.SeedGenerator


def copy_state(
    source: keras.layers.Layer,
    target: keras.layers.Layer,
    changed: frozenset[int] = frozenset(),
    equal_shapes: bool = True,
) -> None:
    """Gives a layer all that another one holds, and so for the layers inside both.

    Layers of different classes, or with weights of other shapes, share the weights whose names and shapes are equal.

    Args:
        source: a built layer.
        target: a copy of it, or what stands in its place.
        changed: identities (`id`) of layers in `source` whose copies have other arguments; their attributes stay.
        equal_shapes: whether both see inputs of the same shape; otherwise whole numbers, which may be sizes, stay.
    """
    pairs = list(_pairs(source, target, changed))
    for old, new, _ in pairs:  # from outside in: a layer sets the flag of all that it contains
        if isinstance(old, keras.layers.Layer) and new.trainable != old.trainable:
            new.trainable = old.trainable
    copies = {id(old): new for old, new, _ in pairs}
    for old, new, same in pairs:
        if isinstance(old, keras.random.SeedGenerator):
            new.state.assign(_as_array(old.state))  # a tensor is not shared: JAX gives its memory away in training
            continue
        _copy_weights(old, new)
        if same and _shapes(old) == _shapes(new):
            _load_what_is_saved(old, new)
            _copy_attributes(old, new, equal_shapes)
            carry_objects(old, new, copies)


def quantization_of(layer: keras.layers.Layer) -> str | None:
    """How Keras has quantised the weights of a layer, or of one inside of it; None if it has not."""
    return next((mode for held in layers_inside(layer) if (mode := getattr(held, "quantization_mode", None))), None)


def layers_inside(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """A layer and all that it contains, each once."""
    pending, seen = [layer], set()
    while pending:
        found = pending.pop()
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            pending += [held for held in _held(found).values() if isinstance(held, keras.layers.Layer)]


def _pairs(source: Holder, target: Holder, changed: frozenset[int]) -> Iterator[tuple[Holder, Holder, bool]]:
    """What corresponds to what, outer layers first; and whether both are of one class, with the same arguments."""
    pending, seen = [(source, target, True)], set()
    while pending:
        old, new, same = pending.pop(0)
        if (id(old), id(new)) in seen:
            continue
        seen.add((id(old), id(new)))
        same = same and type(old) is type(new) and id(old) not in changed
        if same and getattr(old, "built", True) and not getattr(new, "built", True):
            new.build_from_config(old.get_build_config())
        if type(old) is type(new) and id(old) not in changed:
            _adapt_kernel(old, new)
        yield old, new, same
        held = _held(new)
        pending += [(part, held[path], same) for path, part in _held(old).items() if path in held]


def _held(holder: Holder) -> dict[tuple, Holder]:
    """The layers and random generators that an object holds, by the path of attributes and keys to them."""
    held = {}
    if isinstance(holder, keras.Model):  # in their order, since some models hold an input layer and some do not
        held = {("layers", index): layer for index, layer in enumerate(holder.layers)}
    for name, value in vars(holder).items():
        held |= {(name, *path): part for path, part in _leaves(value) if isinstance(part, Holder)}
    return held


def _leaves(value: Any) -> Iterator[tuple[tuple, Any]]:
    """Everything in nested lists, tuples and dicts, with the path to it."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield (), value
        return
    for key, part in value.items():
        for path, leaf in _leaves(part):
            yield (key, *path), leaf


def _own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    inside = {id(weight) for part in _held(layer).values() for weight in getattr(part, "weights", ())}
    return [weight for weight in layer.weights if id(weight) not in inside]


def _shapes(layer: keras.layers.Layer) -> list[tuple]:
    return [tuple(weight.shape) for weight in _own_weights(layer)]


def _adapt_kernel(old: Holder, new: Holder) -> None:
    """What Keras makes of a kernel after a layer was built, which the layer around it does not know: LoRA, integers."""
    if getattr(old, "lora_enabled", False) and not new.lora_enabled:
        new.enable_lora(old.lora_rank, old.lora_alpha)
    mode = None if isinstance(old, keras.Model) else getattr(old, "quantization_mode", None)
    if mode and new.quantization_mode is None:
        new.quantize(mode)


def _copy_weights(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    sources, targets = _own_weights(old), _own_weights(new)
    if type(old) is not type(new) or len(sources) != len(targets):
        by_name = {weight.name: weight for weight in targets}
        sources = [weight for weight in sources if weight.name in by_name]
        targets = [by_name[weight.name] for weight in sources]
    for source, target in zip(sources, targets, strict=True):
        if source.shape == target.shape:
            target.assign(keras.ops.convert_to_numpy(source))
            target.trainable = source.trainable


def _load_what_is_saved(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """What `model.save` and `load_model` carry over, which also lets the layer derive what follows from its weights."""
    if hasattr(old, "save_own_variables"):
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        new.load_own_variables({name: _as_array(value) for name, value in store.items()})
    if hasattr(old, "save_assets"):
        with temporary_folder() as folder:
            old.save_assets(str(folder))
            if any(folder.iterdir()):
                new.load_assets(str(folder))


def _copy_attributes(old: keras.layers.Layer, new: keras.layers.Layer, equal_shapes: bool) -> None:
    """Numbers, text and arrays that `old` has found since it was made, and variables of which Keras does not know."""
    for name, value in vars(old).items():
        present = getattr(new, name, None)
        _copy_variables(value, present)
        if name in _attributes_of_keras() or not _is_plain(value):
            continue
        if _is_plain(present) and not _equal(value, present) and (equal_shapes or not _may_be_sizes(value)):
            setattr(new, name, _copy_value(value))


def _copy_variables(old: Any, new: Any) -> None:
    """Such as the states of a stateful `keras.layers.RNN`, which are no weights."""
    targets = dict(_leaves(new))
    for path, variable in _leaves(old):
        target = targets.get(path)
        if _is_variable(variable) and _is_variable(target) and variable.shape == target.shape:
            target.assign(_as_array(variable))


@functools.cache
def _attributes_of_keras() -> frozenset[str]:
    """What every layer and model has; they say how it was built, compiled and called, not what it computes."""
    source = keras.Input((1,))
    models = keras.Model(), keras.Model(source, source), keras.Sequential([source])
    for model in models[1:]:
        model.compile()
    return frozenset(name for object in (keras.layers.Layer(), *models) for name in vars(object))


def _is_variable(value: Any) -> bool:
    """Whether it is a variable, of Keras or of a backend."""
    return hasattr(value, "assign") and hasattr(value, "shape")


def _is_plain(value: Any) -> bool:
    return all(isinstance(leaf, PLAIN) or _is_tensor(leaf) for _, leaf in _leaves(value))


def _is_tensor(value: Any) -> bool:
    """Whether it is a tensor with a value; one of a traced function has none, and belongs there."""
    if _is_variable(value) or isinstance(value, keras.KerasTensor) or not keras.ops.is_tensor(value):
        return False
    try:
        keras.ops.convert_to_numpy(value)
    except Exception:  # each backend has an error of its own
        return False
    return True


def _copy_value(value: Any) -> Any:
    """Not by `copy.deepcopy`: the lists and dicts of a layer are wrapped, and know the layer."""
    if isinstance(value, dict):
        return {key: _copy_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copy_value, value)) if type(value) in (list, tuple) else list(map(_copy_value, value))
    if keras.ops.is_tensor(value):
        return keras.ops.convert_to_tensor(_as_array(value))
    return value.copy() if isinstance(value, np.ndarray) else value


def _equal(one: Any, other: Any) -> bool:
    one, other = dict(_leaves(one)), dict(_leaves(other))
    return one.keys() == other.keys() and all(_equal_leaves(one[path], other[path]) for path in one)


def _equal_leaves(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    one, other = _as_array(one), _as_array(other)
    exact = one.dtype.kind not in "fc"
    return one.shape == other.shape and one.dtype == other.dtype and np.array_equal(one, other, equal_nan=not exact)


def _may_be_sizes(value: Any) -> bool:
    return all(isinstance(leaf, (int, type(None))) and not isinstance(leaf, bool) for _, leaf in _leaves(value))


def _as_array(value: Any) -> np.ndarray:
    is_tensor = _is_variable(value) or keras.ops.is_tensor(value)
    return keras.ops.convert_to_numpy(value) if is_tensor else np.asarray(value)
