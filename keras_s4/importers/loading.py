"""Checkpoints of other frameworks as Keras models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4.importers.blueprint import Blueprint, draw
from keras_s4.importers.building import build_model
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.recorded import Recorded, read_recorded

# Of outputs, against the largest of them.
TOLERANCE = 1e-5
BATCH = 64


def load(
    path: str | Path,
    *,
    layers: str | Sequence[str] | None = None,
    norm_order: str | None = None,
    pooling: str | None = None,
    activation: str | None = None,
    training_length: int | None = None,
    outputs: str | None = None,
    unstable: str | None = None,
    settings: Mapping[str, Any] | None = None,
    length: int | None = None,
    entry: str | None = None,
    check: str | Path | None = None,
    tolerance: float = TOLERANCE,
) -> keras.Model:
    """A model that was trained elsewhere: state-spaces/s4, ag1988/dss, annotated-s4, layers of PyTorch and Flax.

    No code of the file is run, and neither PyTorch nor JAX is needed. What the parameters do not say is asked for by
    name, and arrays that are missing or left over are refused by name.

    Args:
        path: a `.pt`, `.pth` or `.ckpt`, a `.safetensors`, a Flax or Orbax checkpoint, or an `.npz`.
        layers: the order in which modules run, such as "encoder [ norm gru ] relu last fc"; see the README of this
            room. By default that of a known model.
        norm_order: "pre" or "post": whether normalisations stand before or behind their layers.
        pooling: "mean", "last" or "none": over time, before the decoder.
        activation: behind the systems of an S4 layer: "gelu" and others.
        training_length: steps of the training, for softmax kernels.
        outputs: of stacked models in Flax: "log_softmax" (as there), "softmax" or "logits".
        unstable: "refuse" (default), or "clip", which moves poles that never fade to the real part -1e-4.
        settings: arguments of published layers by their names there, such as {"disc": "bilinear"}.
        length: steps of the model's sequences; None leaves them open.
        entry: of a PyTorch file, under which the weights stand, such as "state_dict".
        check: an `.npz` with `x` (or `inputs`) and `y` (or `outputs`) that the source computed.
        tolerance: of the check, relative to the largest output.

    Returns:
        The model. `print(model.imported)` shows what was recognised and what was assumed.

    Raises:
        ValueError: the file is damaged or names code; something is missing, left over or not said; the outputs are not
            those recorded.
    """
    recorded = None if check is None else read_recorded(Path(check))
    options = {"norm_order": norm_order, "pooling": pooling, "activation": activation, "outputs": outputs}
    blueprint = draw(
        path,
        layers=layers,
        training_length=training_length,
        unstable=unstable,
        settings=settings,
        length=length,
        entry=entry,
        **options,
    )
    model = make_model(blueprint)
    if recorded is not None:
        check_outputs(model, recorded, tolerance)
    return model


def make_model(blueprint: Blueprint) -> keras.Model:
    """The model of a blueprint."""
    model = build_model(blueprint.network, blueprint.length)
    model.imported = blueprint.imported
    return model


def check_outputs(model: keras.Model, recorded: Recorded, tolerance: float = TOLERANCE) -> float:
    """How far a model is from what its source computed, relative to the largest output.

    Raises:
        ValueError: farther than the tolerance, or the shapes differ.
    """
    inputs, expected = recorded
    if inputs.ndim != len(model.input_shape):
        raise CheckpointError(f"The recorded inputs are {list(inputs.shape)}; expected {list(model.input_shape)}.")
    batches = (inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH))
    # Called as it is: for so few batches a graph takes longer to trace than to run.
    found = np.concatenate([keras.ops.convert_to_numpy(model(batch, training=False)) for batch in batches])
    found = found.astype(np.float64)
    if found.shape != expected.shape:
        raise CheckpointError(f"The outputs are {list(found.shape)}; those recorded are {list(expected.shape)}.")
    error = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
    if not error <= tolerance:
        assumed = "; ".join(model.imported.assumed) or "nothing"
        raise CheckpointError(
            f"The imported model's outputs are {error:.1e} from those recorded, relative to the largest; expected at "
            f"most {tolerance:.0e}. Assumed: {assumed}."
        )
    return error
