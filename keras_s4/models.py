"""Ready-made functional models: an encoder of every step, S4 blocks, and a head.

The encoder is a Dense layer, or an Embedding of tokens. All models have the same parts by the same names (`encoder`,
`block_1` and so on, `head`), so that weights move between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_s4.checks import choice, is_whole, number, quote, truth_value, whole_number
from keras_s4.layers import DSS, LastStep, RecentAverage, S4Block, SlidingAverage

POOLINGS = {
    "average": keras.layers.GlobalAveragePooling1D,
    "max": keras.layers.GlobalMaxPooling1D,
    "last": LastStep,
    "recent": RecentAverage,
    "sliding": SlidingAverage,
}


def classifier(
    input_shape: tuple[int | None, ...],
    classes: int,
    channels: int = 32,
    states: int = 32,
    blocks: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
    *,
    pooling: str = "average",
    pooling_arguments: Mapping[str, Any] | None = None,
    vocabulary: int | None = None,
    mask_zero: bool = True,
    mask_value: float | None = None,
    dss: Mapping[str, Any] | None = None,
    name: str = "classifier",
) -> keras.Model:
    """A sequence classifier: encoder, S4 blocks, pooling over time, Dense with softmax.

    Args:
        input_shape: `(L, features)` of one sequence of samples, or `(L,)` of one sequence of tokens; L may be None.
        classes: C, number of classes.
        channels: H, width of the blocks.
        states: N, complex modes per channel.
        blocks: number of S4 blocks.
        activation: inside the blocks.
        dropout: fraction of channels dropped in each block while training.
        pooling: over time: "average" or "max" of all steps, the "last" step, or for streams without beginning and end
            the "recent" average, in which older steps fade, or the "sliding" one of the last steps.
        pooling_arguments: of the pooling layer: `{"seconds": 2.0, "rate": 25.0}` of `RecentAverage`,
            `{"window": 100, "hop": 25}` of `SlidingAverage`; with `"return_sequences": True` there is an output at
            every step, or at every hop.
        vocabulary: number of tokens, 0 included, if the inputs are tokens: whole numbers from 0.
        mask_zero: token 0 is padding and does not count, as in `keras.layers.Embedding`.
        mask_value: steps whose samples all have this value are padding and do not count, as in `keras.layers.Masking`.
        dss: further arguments of every block's `DSS` layer, for example
            `{"kernel": "softmax", "bidirectional": True}`.
        name: of the model.

    Returns:
        A model from `[B, L, features]` or `[B, L]` to class probabilities `[B, C]`, or `[B, T, C]` where the pooling
        returns sequences.

    Raises:
        ValueError: a size below 1, an unknown pooling, the maximum of padded sequences, or arguments that do not belong
            together.
    """
    (classes,) = _sizes("classifier", classes=classes)
    choice(pooling, "classifier got pooling=", POOLINGS)
    if pooling == "max" and (mask_value is not None or (vocabulary is not None and mask_zero)):
        raise ValueError(
            "classifier got pooling='max' and padded sequences, but Keras takes the maximum over padding too; use "
            "pooling='average' or 'last', or sequences without padding: mask_zero=False, mask_value=None."
        )
    inputs, hidden = _body(
        "classifier", input_shape, channels, states, blocks, activation, dropout, vocabulary, mask_zero, mask_value, dss
    )
    pooled = _pooling("classifier", pooling, pooling_arguments)(hidden)
    outputs = keras.layers.Dense(classes, activation="softmax", name="head")(pooled)
    return keras.Model(inputs, outputs, name=name)


def regressor(
    input_shape: tuple[int | None, int],
    outputs: int,
    channels: int = 32,
    states: int = 32,
    blocks: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
    *,
    pooling: str = "average",
    pooling_arguments: Mapping[str, Any] | None = None,
    dss: Mapping[str, Any] | None = None,
    name: str = "regressor",
) -> keras.Model:
    """Quantities of a whole sequence: encoder, S4 blocks, pooling over time, Dense.

    Args:
        input_shape: `(L, features)` of one sequence; L may be None.
        outputs: T, how many quantities.
        channels, states, blocks, activation, dropout, pooling, pooling_arguments, dss: see `classifier`.
        name: of the model.

    Returns:
        A model from `[B, L, features]` to `[B, T]`, or `[B, steps, T]` where the pooling returns sequences.

    Raises:
        ValueError: a size below 1, an unknown pooling, or arguments that do not belong together.
    """
    maker = "regressor"
    (outputs,) = _sizes(maker, outputs=outputs)
    choice(pooling, f"{maker} got pooling=", POOLINGS)
    inputs, hidden = _body(maker, input_shape, channels, states, blocks, activation, dropout, None, False, None, dss)
    pooled = _pooling(maker, pooling, pooling_arguments)(hidden)
    return keras.Model(inputs, keras.layers.Dense(outputs, name="head")(pooled), name=name)


def sequence_to_sequence(
    input_shape: tuple[int | None, ...],
    outputs: int,
    channels: int = 32,
    states: int = 32,
    blocks: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
    *,
    output_activation: str | None = None,
    vocabulary: int | None = None,
    mask_zero: bool = True,
    mask_value: float | None = None,
    dss: Mapping[str, Any] | None = None,
    name: str = "sequence_to_sequence",
) -> keras.Model:
    """An output at every step: encoder, S4 blocks, Dense.

    Padded steps do not count in the losses and metrics of Keras: the outputs carry the mask.

    Args:
        input_shape: see `classifier`.
        outputs: numbers at each step.
        channels, states, blocks, activation, dropout: see `classifier`.
        output_activation: of the outputs, for example "softmax" for a class at every step.
        vocabulary, mask_zero, mask_value, dss: see `classifier`.
        name: of the model.

    Returns:
        A model from `[B, L, features]` or `[B, L]` to `[B, L, outputs]`.

    Raises:
        ValueError: a size below 1, or arguments that do not belong together.
    """
    maker = "sequence_to_sequence"
    (outputs,) = _sizes(maker, outputs=outputs)
    inputs, hidden = _body(
        maker, input_shape, channels, states, blocks, activation, dropout, vocabulary, mask_zero, mask_value, dss
    )
    head = keras.layers.Dense(outputs, activation=output_activation, name="head")
    return keras.Model(inputs, head(hidden), name=name)


def forecaster(
    input_shape: tuple[int | None, int],
    horizon: int,
    features: int | None = None,
    channels: int = 32,
    states: int = 32,
    blocks: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
    *,
    every_step: bool = False,
    mask_value: float | None = None,
    dss: Mapping[str, Any] | None = None,
    name: str = "forecaster",
) -> keras.Model:
    """The next steps of a time series, all at once: encoder, S4 blocks, Dense.

    Args:
        input_shape: `(L, features)` of what is known of the series; L may be None.
        horizon: steps to forecast.
        features: numbers to forecast at each of these steps; by default as many as the input has.
        channels, states, blocks, activation, dropout: see `classifier`.
        every_step: forecasts from every step of the input, not only from the last. Training then learns from L
            forecasts a sequence; the weights are the same, and fit a model of the other kind.
        mask_value, dss: see `classifier`.
        name: of the model.

    Returns:
        A model from `[B, L, features]` to `[B, horizon, features]`: the steps behind the last one, the next first. With
        `every_step` to `[B, L, horizon, features]`.

    Raises:
        ValueError: a size below 1, or forecasts of padded sequences from every step.
    """
    maker = "forecaster"
    if truth_value(every_step, f"{maker} got every_step=") and mask_value is not None:
        raise ValueError(
            f"{maker} got every_step=True and mask_value={mask_value!r}, but forecasts from padded steps would count "
            "in the loss; use mask_value=None and give `fit` a sample_weight that is 0 at these steps."
        )
    inputs, hidden = _body(
        maker, input_shape, channels, states, blocks, activation, dropout, None, False, mask_value, dss
    )
    features = features if features is not None else inputs.shape[-1]
    horizon, features = _sizes(maker, horizon=horizon, features=features)
    if not every_step:
        hidden = LastStep(name="pooling")(hidden)
    flat = keras.layers.Dense(horizon * features, name="head")(hidden)
    shape = (-1, horizon, features) if every_step else (horizon, features)
    return keras.Model(inputs, keras.layers.Reshape(shape, name="forecast")(flat), name=name)


def _body(
    maker, input_shape, channels, states, blocks, activation, dropout, vocabulary, mask_zero, mask_value, dss
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The inputs of a model, and what its last S4 block gives, `[B, L, H]`."""
    channels, states, blocks = _sizes(maker, channels=channels, states=states, blocks=blocks)
    if not isinstance(input_shape, (tuple, list)) or not all(size is None or is_whole(size) for size in input_shape):
        raise ValueError(f"{maker} got input_shape={quote(input_shape)}; expected a tuple such as (steps, features).")
    input_shape = tuple(None if size is None else int(size) for size in input_shape)
    truth_value(mask_zero, f"{maker} got mask_zero=")
    if mask_value is not None:
        number(mask_value, f"{maker} got mask_value=")
    if dss is not None and (not isinstance(dss, Mapping) or "state_size" in dss):
        raise ValueError(
            f"{maker} got dss={quote(dss)}; expected a dict of arguments of DSS other than state_size, which is "
            "`states`."
        )
    if vocabulary is None:
        inputs, hidden = _encoded_samples(maker, input_shape, channels, mask_value)
    else:
        (vocabulary,) = _sizes(maker, vocabulary=vocabulary)
        inputs, hidden = _encoded_tokens(maker, input_shape, channels, vocabulary, mask_zero, mask_value)
    for index in range(blocks):
        # Each with a layer of its own, since initial values are drawn where a layer is made.
        layer = DSS(states, **dss) if dss else states
        hidden = S4Block(layer, activation=activation, dropout=dropout, name=f"block_{index + 1}")(hidden)
    return inputs, hidden


def _pooling(maker: str, pooling: str, arguments: Mapping[str, Any] | None) -> keras.layers.Layer:
    if arguments is not None and (not isinstance(arguments, Mapping) or "name" in arguments):
        raise ValueError(
            f"{maker} got pooling_arguments={quote(arguments)}; expected a dict of arguments of "
            f"{POOLINGS[pooling].__name__} other than its name."
        )
    try:
        return POOLINGS[pooling](**(arguments or {}), name="pooling")
    except TypeError as error:
        raise ValueError(
            f"{maker} got pooling={pooling!r} and pooling_arguments={quote(arguments)}; "
            f"{POOLINGS[pooling].__name__} says: {error}."
        ) from error


def _encoded_samples(maker, input_shape, channels, mask_value):
    if len(input_shape) != 2 or input_shape[1] is None:
        raise ValueError(
            f"{maker} got input_shape={input_shape}; expected (steps, features), or (steps,) and the vocabulary of "
            "models of tokens."
        )
    inputs = hidden = keras.Input(input_shape, name="samples")
    if mask_value is not None:
        hidden = keras.layers.Masking(mask_value, name="masking")(hidden)
    return inputs, keras.layers.Dense(channels, name="encoder")(hidden)


def _encoded_tokens(maker, input_shape, channels, vocabulary, mask_zero, mask_value):
    if len(input_shape) != 1:
        raise ValueError(f"{maker} got input_shape={input_shape} and vocabulary={vocabulary}; expected (steps,).")
    if mask_value is not None:
        raise ValueError(
            f"{maker} got vocabulary={vocabulary} and mask_value={mask_value!r}; the padding of tokens is token 0: "
            "mask_zero=True."
        )
    inputs = keras.Input(input_shape, dtype="int32", name="tokens")
    return inputs, keras.layers.Embedding(vocabulary, channels, mask_zero=mask_zero, name="encoder")(inputs)


def _sizes(maker, **sizes) -> list[int]:
    """The sizes in this order, as Python's numbers."""
    return [whole_number(size, f"{maker} got {key}=") for key, size in sizes.items()]
