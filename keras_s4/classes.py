"""Which of the classes that the library knows a layer is of, where users derive classes of their own from them."""

from __future__ import annotations

from collections.abc import Container

import keras

# What says how a layer is made, described, trained and stored; where a subclass has its own, it still computes alike.
_COMPUTES_NOTHING = {
    "adapt",
    "build",
    "build_from_config",
    "compute_mask",
    "compute_output_shape",
    "compute_output_spec",
    "finalize_state",
    "from_config",
    "get_build_config",
    "get_config",
    "load_own_variables",
    "losses",
    "metrics",
    "save_own_variables",
}
_LIBRARIES = ("keras", "keras_s4")


def known_class(layer: keras.layers.Layer, known: Container[type]) -> type | None:
    """The nearest of a layer's class and its bases that is among some classes, or None; see `Block.handled_as`."""
    kinds = layer.handled_as() if hasattr(layer, "handled_as") else type(layer).__mro__
    return next((kind for kind in kinds if kind in known), None)


def own_methods(layer: keras.layers.Layer, known: Container[type]) -> list[str]:
    """Methods and properties by which a user's class computes otherwise than the class that it is derived from.

    Args:
        layer: a layer or model.
        known: classes whose own methods are known, beside those of Keras and of this library.
    """
    classes = type(layer).__mro__
    base = next(
        index for index, kind in enumerate(classes) if kind in known or kind.__module__.split(".")[0] in _LIBRARIES
    )
    names = {name for kind in classes[:base] for name in vars(kind) if hasattr(classes[base], name)}
    # What a base leaves to its subclasses says what they are, and not that they are something else.
    names = {name for name in names if not getattr(getattr(classes[base], name), "__isabstractmethod__", False)}
    if isinstance(layer, keras.Model):
        names &= {"call", "__call__"}
    return sorted(
        name
        for name in names - _COMPUTES_NOTHING
        if (name == "__call__" or not name.startswith("__")) and _is_code(getattr(type(layer), name))
    )


def otherwise(layer: keras.layers.Layer, known: Container[type]) -> tuple[str, str] | None:
    """Why a layer cannot be taken for one of the known classes that it is derived from, and what to do; or None."""
    methods = own_methods(layer, known)
    if not methods:
        return None
    base = known_class(layer, known).__name__
    return (
        f"it is a {base} with {' and '.join(methods)} written anew, so that it may compute something else",
        f"Use {base} itself, and layers in front of it or behind it for the rest",
    )


def _is_code(attribute: object) -> bool:
    return callable(attribute) or isinstance(attribute, property)
