"""What each class of layers does in time: the registry of rules, and the refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from keras_s4.classes import known_class
from keras_s4.streaming.plan.flow import Effect, Flow


class RefusedError(Exception):
    """A layer, or its place, that a stream does not allow.

    Args:
        reason: half a sentence behind the layer's name.
        remedy: a sentence without its full stop.
    """

    def __init__(self, reason: str, remedy: str):
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


Rule = Callable[[keras.layers.Layer, list[Flow]], Effect]
_RULES: dict[type, Rule] = {}
_ALONG_TIME: set[type] = set()
_REFUSED: set[type] = set()


def rule(*layer_classes: type, along_time: bool = False) -> Callable[[Rule], Rule]:
    """Decorator: this function says what layers of these classes, and of subclasses that compute alike, do in time.

    It gets the layer and what flows in, and raises a `RefusedError` where a stream does not allow it.

    Args:
        layer_classes: Keras layers.
        along_time: whether they work along the time axis, without which there is nothing for them to do.
    """

    def add(function: Rule) -> Rule:
        set_rule(layer_classes, function, along_time)
        return function

    return add


def set_rule(layer_classes: Sequence[type], function: Rule, along_time: bool = False) -> None:
    """`rule` as a plain function; it replaces what was known of the classes."""
    _RULES.update(dict.fromkeys(layer_classes, function))
    for kind in (_ALONG_TIME, _REFUSED):
        kind.difference_update(layer_classes)
    _ALONG_TIME.update(layer_classes if along_time else ())


def set_effect(layer_classes: Sequence[type], effect: Effect) -> None:
    """Lets layers of these classes do the same in time whatever their configuration is."""
    set_rule(layer_classes, lambda layer, flows: effect, effect != Effect(several=effect.several))


def register_effect(layer_classes: Sequence[type], effect: Effect | None, otherwise: Effect) -> None:
    """What a reader of plans says of layers of one's own that it adds.

    Args:
        layer_classes: of the layers.
        effect: what they do in time; None if nothing is said.
        otherwise: what is taken for it of classes of which no base has a rule, or one that refuses all sequences.
    """
    if effect is not None:
        set_effect(layer_classes, effect)
        return
    for layer_class in layer_classes:
        nearest = next((kind for kind in layer_class.__mro__ if kind in _RULES), None)
        if nearest is None or nearest in _REFUSED:
            set_effect((layer_class,), otherwise)


def refuse(*layer_classes: type, reason: str, remedy: str) -> None:
    """Layers of these classes cannot read sequences in a stream, for a reason that is known."""

    def refuse_sequences(layer: keras.layers.Layer, flows: list[Flow]) -> Effect:
        if flows[0].has_time:
            raise RefusedError(reason, remedy)
        return Effect()

    set_rule(layer_classes, refuse_sequences)
    _REFUSED.update(layer_classes)


def effect_of(layer: keras.layers.Layer, flows: list[Flow]) -> Effect:
    """What a layer does in time, by the rule of its class; without one it treats every step alone.

    Raises:
        RefusedError: a stream does not allow the layer.
    """
    layer_class = known_class(layer, _RULES)
    if layer_class in _ALONG_TIME and not flows[0].has_time:
        raise RefusedError(
            f"it works along the steps of a sequence, and its input of shape {flows[0].shape} has no time axis",
            "Put it in front of the pooling over time",
        )
    return Effect() if layer_class is None else _RULES[layer_class](layer, flows)


def refuse_time_axis(axes: int | Sequence[int], flow: Flow) -> None:
    """Refuses a layer that works along the time axis, in one of `axes` as Keras counts them.

    Raises:
        RefusedError: it does.
    """
    axes = [axes] if isinstance(axes, int) else list(axes)
    if flow.has_time and any(axis % len(flow.shape) == 1 for axis in axes):
        raise RefusedError(
            f"with inputs of shape {flow.shape} it works along the time axis",
            "Let it work along the features; where a step is one number, keras.layers.Reshape((-1, 1)) gives it a "
            "features axis",
        )


def refuse_channels_first(layer: keras.layers.Layer) -> None:
    """Refuses a layer whose time axis is not the first behind the batch.

    Raises:
        RefusedError: it is not.
    """
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        raise RefusedError("data_format='channels_first' puts the time axis last", 'Use "channels_last"')
