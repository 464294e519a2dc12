"""Metrics of models on validation data, for searches that evaluate many: higher is better."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import numpy as np

from keras_s4.compression.fingerprints import digest


@dataclasses.dataclass(frozen=True, eq=False)
class AccuracyOn:
    """The share of correct classes on validation data; see `accuracy_on`."""

    x: Any
    y: np.ndarray
    batch_size: int

    @functools.cached_property
    def fingerprint(self) -> str:
        """What the metric depends on besides the model."""
        return digest("accuracy", self.x, self.y)

    def __call__(self, model: keras.Model) -> float:
        """The accuracy of a model, from 0 to 1."""
        batches = [model.predict_on_batch(x) for x in self._batches]
        if not isinstance(batches[0], np.ndarray):
            raise ValueError(
                f"accuracy_on got a model with {len(batches[0])} outputs; expected one. Give a function of your own: "
                "evaluate(model) -> float."
            )
        found = np.concatenate(batches)
        classes = (found[..., 0] > 0.5).astype(int) if found.shape[-1] == 1 else found.argmax(axis=-1)
        labels = self.y.argmax(axis=-1) if self.y.shape == found.shape and found.shape[-1] > 1 else self.y
        if labels.size != classes.size:
            raise ValueError(
                f"accuracy_on got labels of shape {self.y.shape} for outputs of shape {found.shape}; expected a class "
                "for each output, or a row of as many ones and zeros as there are classes."
            )
        return float(np.mean(classes == labels.reshape(classes.shape)))

    @property
    def _batches(self):
        count = len(self.y)
        for start in range(0, count, self.batch_size):
            part = slice(start, min(start + self.batch_size, count))
            yield keras.tree.map_structure(lambda array, part=part: array[part], self.x)


def accuracy_on(x: Any, y: np.ndarray, batch_size: int = 256) -> AccuracyOn:
    """The accuracy of classifiers on validation data, as a function of a model.

    It calls the model's own compiled prediction batch by batch, without what `predict` and `evaluate` set up at each
    call: for small models that is most of the time.

    Args:
        x: inputs `[B, ...]`, or a nest of them for a model with several.
        y: classes, `[B]` or `[B, L]`, or one-hot rows of the shape of the outputs. A model with a single output gives a
            probability, and class 1 above 0.5.
        batch_size: examples at a time.

    Returns:
        `evaluate(model) -> float` from 0 to 1.

    Raises:
        ValueError: no example is given, or x and y differ in number.
    """
    x, y = keras.tree.map_structure(np.asarray, x), np.asarray(y)
    lengths = [len(array) for array in keras.tree.flatten(x)]
    if not len(y) or set(lengths) != {len(y)}:
        raise ValueError(
            f"accuracy_on got inputs for {lengths} examples and {len(y)} labels; expected as many of both."
        )
    return AccuracyOn(x, y, batch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class MetricOn:
    """One of the compiled metrics on validation data; see `metric_on`."""

    x: Any
    y: Any
    name: str
    lower_is_better: bool
    batch_size: int

    @functools.cached_property
    def fingerprint(self) -> str:
        """What the metric depends on besides the model."""
        return digest(self.name, self.lower_is_better, self.x, self.y)

    def __call__(self, model: keras.Model) -> float:
        """The metric of a compiled model, or its negative where lower is better."""
        if not model.compiled:
            raise ValueError(f"metric_on got model {model.name!r}, which is not compiled; compile it with its metrics.")
        found = model.evaluate(self.x, self.y, batch_size=self.batch_size, verbose=0, return_dict=True)
        if self.name not in found:
            raise ValueError(f"metric_on found no metric {self.name!r}; the model has {', '.join(found)}.")
        return -found[self.name] if self.lower_is_better else found[self.name]


def metric_on(x: Any, y: Any, name: str = "accuracy", lower_is_better: bool = False, batch_size: int = 256) -> MetricOn:
    """One of the metrics that a model is compiled with on validation data, as a function of the model.

    Args:
        x: inputs.
        y: what `model.evaluate` takes.
        name: of the metric, such as "accuracy" or "loss".
        lower_is_better: of this metric, such as a loss; its negative is returned.
        batch_size: examples at a time.

    Returns:
        `evaluate(model) -> float`, higher is better.
    """
    return MetricOn(x, y, name, lower_is_better, batch_size)
