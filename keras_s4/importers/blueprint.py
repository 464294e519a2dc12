"""From a checkpoint to what will be computed, and what is said about it: all that needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.checks import whole_number
from keras_s4.importers.answers import Answers
from keras_s4.importers.checkpoint import Checkpoint, CheckpointError
from keras_s4.importers.modules.recognition import recognize
from keras_s4.importers.network import Network
from keras_s4.importers.order import compose
from keras_s4.importers.readers import read
from keras_s4.importers.whole_models import assemble


@dataclass(frozen=True)
class Imported:
    """What was recognised in a checkpoint.

    Args:
        source: the kind of file.
        model: what it is, in words.
        modules: what stands under each path.
        assumed: what the checkpoint does not say and nobody said.
    """

    source: str
    model: str
    modules: dict[str, str]
    assumed: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"Recognised: {self.source}, {self.model}"]
        lines += [f"  {path or '(whole)'}: {title}" for path, title in self.modules.items()]
        lines += [f"Assumed: {text}" for text in self.assumed]
        return "\n".join(lines)


@dataclass(frozen=True)
class Blueprint:
    """A network, the steps of its sequences, and what is said about it."""

    network: Network
    length: int | None
    imported: Imported


def draw(
    path: str | Path | Checkpoint,
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
) -> Blueprint:
    """The network of a checkpoint; for the arguments see `keras_s4.importers.load`.

    Raises:
        ValueError: what is wrong or missing, by name.
    """
    if length is not None:
        whole_number(length, "length")
    checkpoint = path if isinstance(path, Checkpoint) else read(Path(path), entry)
    options = {
        "norm_order": norm_order,
        "pooling": pooling,
        "activation": activation,
        "training_length": training_length,
        "outputs": outputs,
        "unstable": unstable,
    }
    answers = Answers(options, settings or {})
    answers.option("unstable", "refuse", ("refuse", "clip"))
    try:
        modules = recognize(checkpoint.arrays, answers)
    except CheckpointError:
        raise
    except (ValueError, IndexError, ZeroDivisionError, np.linalg.LinAlgError) as error:
        raise CheckpointError(f"The arrays of the checkpoint do not fit together: {error}.") from error
    if layers is not None:
        network = compose(layers, modules)
        model = f"layers in the order {layers if isinstance(layers, str) else ' '.join(layers)}"
    else:
        network, model = assemble(modules, answers)
    answers.finish(model)
    titles = {path: module.title for path, module in modules.items()}
    return Blueprint(network, length, Imported(checkpoint.format, model, titles, tuple(answers.notes)))
