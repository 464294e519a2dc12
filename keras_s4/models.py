"""Ready-made functional models: an encoder of every step, S4 blocks, and a head.

The encoder is a Dense layer, or an Embedding of tokens. All models have the same parts by the same names (`encoder`,
`block_1` and so on, `head`), so that weights move between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.checks import choice, is_whole, number, quote, truth_value, whole_number
from keras_s4.encoders import encode_samples, encode_tokens, output_units, wants_normalization
from keras_s4.layers import DSS, DiagonalSSM, LastStep, RecentAverage, S4Block, SlidingAverage

POOLINGS = {
    "average": keras.layers.GlobalAveragePooling1D,
    "max": keras.layers.GlobalMaxPooling1D,
    "last": LastStep,
    "recent": RecentAverage,
    "sliding": SlidingAverage,
}

FrontArgument = tuple[int, int] | Mapping[str, Any] | None
NormalizationArgument = bool | np.ndarray


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
    shared_modes: bool = False,
    block: Mapping[str, Any] | None = None,
    multi_label: bool = False,
    front: FrontArgument = None,
    normalization: NormalizationArgument = False,
    name: str = "classifier",
) -> keras.Model:
    """A sequence classifier: encoder, S4 blocks, pooling over time, Dense with softmax or, of yes or no, sigmoid.

    Args:
        input_shape: `(L, features)` of one sequence of samples, or `(L,)` of one sequence of tokens; L may be None.
        classes: C, number of classes; 1 for the probability of yes.
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
        shared_modes: whether all channels of a block share its modes, so that it has a `DiagonalSSM` in place of a
            `DSS` layer; `states` are then those of the whole layer, and `dss` has arguments of it.
        block: further arguments of every `S4Block`, for example `{"normalization": "layer", "post_norm": True}`.
        multi_label: each class is there or not, whatever the others are: sigmoid.
        front: for signals of thousands of steps a strided convolution in front of the encoder, `(kernel, stride)`, or a
            dict of `kernel`, `stride`, `channels`, `activation` ("relu") and `padding` ("causal"). All behind it runs
            at every `stride`-th sample; a rate in `pooling_arguments` is the one behind it. See keras_s4/README.md for
            what it does to frequencies and delays.
        normalization: whether each feature is brought to mean 0 and deviation 1 by the model's first layer: True for a
            layer that `keras_s4.training.normalize_to` adapts, or the training windows to adapt it to at once.
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
    _refuse_maximum_of_padding("classifier", pooling, mask_value is not None or (vocabulary is not None and mask_zero))
    inputs, hidden = _body(
        "classifier",
        input_shape,
        channels,
        states,
        blocks,
        activation,
        dropout,
        dss,
        shared_modes,
        block,
        front,
        normalization,
        mask_value,
        vocabulary,
        mask_zero,
    )
    pooled = pooling_layer("classifier", pooling, pooling_arguments)(hidden)
    each = truth_value(multi_label, "classifier got multi_label=") or classes == 1
    outputs = keras.layers.Dense(classes, activation="sigmoid" if each else "softmax", name="head")(pooled)
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
    mask_value: float | None = None,
    dss: Mapping[str, Any] | None = None,
    shared_modes: bool = False,
    block: Mapping[str, Any] | None = None,
    front: FrontArgument = None,
    normalization: NormalizationArgument = False,
    name: str = "regressor",
) -> keras.Model:
    """Quantities of a whole sequence: encoder, S4 blocks, pooling over time, Dense.

    Args:
        input_shape: `(L, features)` of one sequence; L may be None.
        outputs: T, how many quantities.
        channels, states, blocks, activation, dropout, pooling, pooling_arguments, mask_value, dss,
            shared_modes, front: see `classifier`.
        normalization: see `classifier`; the outputs then have the units of the targets, which
            `keras_s4.training.normalize_to` finds as well.
        name: of the model.

    Returns:
        A model from `[B, L, features]` to `[B, T]`, or `[B, steps, T]` where the pooling returns sequences.

    Raises:
        ValueError: a size below 1, an unknown pooling, or arguments that do not belong together.
    """
    maker = "regressor"
    (outputs,) = _sizes(maker, outputs=outputs)
    choice(pooling, f"{maker} got pooling=", POOLINGS)
    _refuse_maximum_of_padding(maker, pooling, mask_value is not None)
    sizes = input_shape, channels, states, blocks, activation, dropout
    inputs, hidden = _body(maker, *sizes, dss, shared_modes, block, front, normalization, mask_value)
    pooled = pooling_layer(maker, pooling, pooling_arguments)(hidden)
    quantities = keras.layers.Dense(outputs, name="head")(pooled)
    if wants_normalization(normalization, maker):
        quantities = output_units()(quantities)
    return keras.Model(inputs, quantities, name=name)


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
    shared_modes: bool = False,
    block: Mapping[str, Any] | None = None,
    front: FrontArgument = None,
    normalization: NormalizationArgument = False,
    quantities: bool = False,
    name: str = "sequence_to_sequence",
) -> keras.Model:
    """An output at every step: encoder, S4 blocks, Dense.

    Padded steps do not count in the losses and metrics of Keras: the outputs carry the mask.

    Args:
        input_shape: see `classifier`.
        outputs: numbers at each step.
        channels, states, blocks, activation, dropout: see `classifier`.
        output_activation: of the outputs, for example "softmax" for a class at every step.
        vocabulary, mask_zero, mask_value, dss, shared_modes, front, normalization: see `classifier`. Behind a front
            there is an output at every `stride`-th step.
        quantities: whether the outputs are measured, so that with `normalization` they have the units of the targets.
        name: of the model.

    Returns:
        A model from `[B, L, features]` or `[B, L]` to `[B, L, outputs]`.

    Raises:
        ValueError: a size below 1, or arguments that do not belong together.
    """
    maker = "sequence_to_sequence"
    (outputs,) = _sizes(maker, outputs=outputs)
    inputs, hidden = _body(
        maker,
        input_shape,
        channels,
        states,
        blocks,
        activation,
        dropout,
        dss,
        shared_modes,
        block,
        front,
        normalization,
        mask_value,
        vocabulary,
        mask_zero,
    )
    found = keras.layers.Dense(outputs, activation=output_activation, name="head")(hidden)
    if truth_value(quantities, f"{maker} got quantities=") and wants_normalization(normalization, maker):
        found = output_units()(found)
    return keras.Model(inputs, found, name=name)


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
    shared_modes: bool = False,
    block: Mapping[str, Any] | None = None,
    front: FrontArgument = None,
    normalization: NormalizationArgument = False,
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
        mask_value, dss, shared_modes, front: see `classifier`.
        normalization: see `classifier`; forecasts have the units of the series, once `keras_s4.training.normalize_to`
            has found them.
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
    sizes = input_shape, channels, states, blocks, activation, dropout
    inputs, hidden = _body(maker, *sizes, dss, shared_modes, block, front, normalization, mask_value)
    features = features if features is not None else inputs.shape[-1]
    horizon, features = _sizes(maker, horizon=horizon, features=features)
    if not every_step:
        hidden = LastStep(name="pooling")(hidden)
    flat = keras.layers.Dense(horizon * features, name="head")(hidden)
    shape = (-1, horizon, features) if every_step else (horizon, features)
    forecast = keras.layers.Reshape(shape, name="forecast")(flat)
    if wants_normalization(normalization, maker):
        forecast = output_units()(forecast)
    return keras.Model(inputs, forecast, name=name)


def _body(
    maker,
    input_shape,
    channels,
    states,
    blocks,
    activation,
    dropout,
    dss,
    shared_modes,
    block,
    front,
    normalization,
    mask_value=None,
    vocabulary=None,
    mask_zero=False,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The inputs of a model, and what its last S4 block gives, `[B, L, H]`."""
    channels, states, blocks = _sizes(maker, channels=channels, states=states, blocks=blocks)
    if not isinstance(input_shape, (tuple, list)) or not all(size is None or is_whole(size) for size in input_shape):
        raise ValueError(f"{maker} got input_shape={quote(input_shape)}; expected a tuple such as (steps, features).")
    input_shape = tuple(None if size is None else int(size) for size in input_shape)
    truth_value(mask_zero, f"{maker} got mask_zero=")
    if mask_value is not None:
        number(mask_value, f"{maker} got mask_value=")
    kind = DiagonalSSM if truth_value(shared_modes, f"{maker} got shared_modes=") else DSS
    own = {"state_size", "units"} if shared_modes else {"state_size"}
    if dss is not None and (not isinstance(dss, Mapping) or own & {*dss}):
        raise ValueError(
            f"{maker} got dss={quote(dss)}; expected a dict of arguments of {kind.__name__} other than "
            f"{' and '.join(sorted(own))}; `states` is the state size."
        )
    own = {"dss", "activation", "dropout", "name"}
    if block is not None and (not isinstance(block, Mapping) or own & {*block}):
        raise ValueError(
            f"{maker} got block={quote(block)}; expected a dict of arguments of S4Block other than "
            f"{', '.join(sorted(own))}."
        )
    if vocabulary is None:
        inputs, hidden = encode_samples(maker, input_shape, channels, mask_value, front, normalization)
    else:
        inputs, hidden = encode_tokens(
            maker, input_shape, channels, vocabulary, mask_zero, mask_value, front, normalization
        )
    for index in range(blocks):
        # Each with a layer of its own, since initial values are drawn where a layer is made.
        layer = kind(state_size=states, **(dss or {})) if dss or shared_modes else states
        made = S4Block(layer, activation=activation, dropout=dropout, **(block or {}), name=f"block_{index + 1}")
        hidden = made(hidden)
    return inputs, hidden


def pooling_layer(maker: str, pooling: str, arguments: Mapping[str, Any] | None) -> keras.layers.Layer:
    """A layer of `POOLINGS`.

    Raises:
        ValueError: another pooling, or arguments that it does not have.
    """
    choice(pooling, f"{maker} got pooling=", POOLINGS)
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


def _refuse_maximum_of_padding(maker: str, pooling: str, padded: bool) -> None:
    if pooling == "max" and padded:
        raise ValueError(
            f"{maker} got pooling='max' and padded sequences, but Keras takes the maximum over padding too; use "
            "pooling='average' or 'last', or sequences without padding: mask_zero=False, mask_value=None."
        )


def _sizes(maker, **sizes) -> list[int]:
    """The sizes in this order, as Python's numbers."""
    return [whole_number(size, f"{maker} got {key}=") for key, size in sizes.items()]
