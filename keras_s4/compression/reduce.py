"""A smaller copy of a trained model."""

from __future__ import annotations

import keras

from keras_s4.cloning import clone, dss_layers
from keras_s4.compression.parts import parts_of
from keras_s4.compression.ranks import Ranks, check_ranks


def reduce(model: keras.Model, ranks: Ranks | int) -> keras.Model:
    """A copy of a trained model whose DSS layers are balanced truncations, ready to be evaluated or trained on.

    A reduced layer has poles of its own in every channel. All other weights are copied. A compiled model gives a
    compiled one with a fresh optimizer.

    Args:
        model: a functional or sequential model.
        ranks: modes to keep per channel: for all parts, or by part name; parts left out stay as they are.

    Raises:
        ValueError: a rank out of range or an unknown part; NaN in the weights; a model that is not built.

    Source: Ezoe and Sato 2024 (arXiv 2402.15993).
    """
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; train it before reducing it.")
    parts = parts_of(model)
    ranks = check_ranks(dict.fromkeys(parts, ranks) if not isinstance(ranks, dict) else ranks, parts)
    shrinking = {name for name, rank in ranks.items() if rank < parts[name].max_rank}

    reduced = clone(model, {name: {"state_size": ranks[name], "per_channel_poles": True} for name in shrinking})
    for name, layer in dss_layers(reduced).items():
        if name in shrinking:
            layer.set_system(parts[name].truncate(ranks[name]).system)
    return reduced
