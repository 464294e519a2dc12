"""Metrics of models on validation data, for searches that evaluate many: higher is better."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_s4.brief import Brief
from keras_s4.checks import check_model, whole_number
from keras_s4.compression.fingerprints import digest
from keras_s4.samples import as_list, check_examples, is_several
from keras_s4.scoring.heads import MULTI_LABEL, Head
from keras_s4.scoring.outputs import by_output, heads_of, outputs_by_name
from keras_s4.scoring.scores import against_targets
from keras_s4.scoring.tokens import check_tokens_of
from keras_s4.surgery.padding import mask_at, may_mask

LABELS, QUANTITIES = "labels", "quantities"
_WHO = {LABELS: "accuracy_on", QUANTITIES: "error_on", None: "score_on"}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ScoreOn(Brief):
    """How good a model is on validation data, by what its outputs mean; see `accuracy_on` and `error_on`.

    Args:
        x: inputs.
        y: targets.
        batch_size: examples at a time.
        task: the meaning of the outputs, None to read it from the model.
        wanted: outputs that may be scored, `LABELS` or `QUANTITIES`; None for both.
        heads: heads of the outputs of the models that are scored, by name; None to read them from each model.
        masks: masks of outputs that are padded sequences, bool `[B, L]`, False at steps that do not count.
        shapes: shapes of all outputs, by name.
    """

    x: Any
    y: Any
    batch_size: int
    task: Any = None
    wanted: str | None = LABELS
    heads: dict[str, Head] | None = None
    masks: Mapping[str, np.ndarray | None] = dataclasses.field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What the metric depends on besides the model."""
        name = {LABELS: "accuracy", QUANTITIES: "error", None: "score"}[self.wanted]
        return digest(name, self.x, self.y, *([] if self.task is None else [repr(self.task)]))

    def for_model(self, model: keras.Model) -> ScoreOn:
        """The same for copies of a model, whose outputs mean what its own do; the targets are checked.

        Raises:
            TypeError, ValueError: targets that do not fit the outputs; outputs of another kind than wanted; tokens that
                an Embedding does not have.
        """
        check_model(model, self.x, _WHO[self.wanted])
        check_tokens_of(model, self.x)
        outputs = model.predict_on_batch(next(self._batches))
        names = list(heads_of(model, None, None, outputs))
        masks = self._masks(model, names)
        given = {name: _fill_padding(y, masks[name]) for name, y in by_output(names, self.y, "y", partial=True).items()}
        if all(y is None for y in given.values()):
            raise ValueError(f"{_WHO[self.wanted]} got no targets; give those of at least one of the outputs: {names}.")
        y = self.y if all(mask is None for mask in masks.values()) else given
        shapes = {name: (self._count, *values.shape[1:]) for name, values in outputs_by_name(outputs, names).items()}
        heads = heads_of(model, y, self.task, outputs)
        scored = dataclasses.replace(self, y=y, heads=heads, masks=masks, shapes=shapes)
        for name, head in scored._scored.items():
            if self.wanted and head.has_labels != (self.wanted == LABELS):
                other = "error_on" if self.wanted == LABELS else "accuracy_on"
                raise ValueError(
                    f"{_WHO[self.wanted]} got a model whose output {name!r} means {head.task}; use {other}, or "
                    "say what it means: task= 'classes', 'binary', 'multi_label' or 'regression'."
                )
            scored._targets_of(name, shapes[name])
        return scored

    def __call__(self, model: keras.Model) -> float:
        """The score of a model, higher is better; NaN if its outputs are."""
        if self.heads is None:
            return self.for_model(model)(model)
        batches = [self._outputs(model, x) for x in self._batches]
        found = {name: np.concatenate([batch[name] for batch in batches]) for name in self._scored}
        scores = [self._score(name, head, found[name]) for name, head in self._scored.items()]
        return float(np.mean(scores))

    @functools.cached_property
    def blind(self) -> float:
        """The score of always giving the same answer, the best that there is; known once `for_model` was called."""
        scores = []
        for name, head in self._scored.items():
            targets, mask = self._targets_of(name, self.shapes[name]), self.masks.get(name)
            targets = targets if mask is None else targets[mask]
            if not head.has_labels:
                scores.append(-float(np.sqrt(np.mean(np.var(targets.reshape(-1, targets.shape[-1]), axis=0)))))
            elif head.task == MULTI_LABEL:
                shares = targets.reshape(-1, targets.shape[-1]).mean(axis=0)
                scores.append(float(np.mean(np.maximum(shares, 1.0 - shares))))
            else:
                scores.append(float(np.unique(targets, return_counts=True)[1].max() / targets.size))
        return float(np.mean(scores))

    def _score(self, name: str, head: Head, outputs: np.ndarray) -> float:
        targets, mask = self._targets_of(name, outputs.shape), self.masks.get(name)
        if mask is not None:
            outputs, targets = outputs[mask], targets[mask]
        if not np.isfinite(outputs).all():
            return math.nan
        figures = against_targets(head, outputs, targets)
        return figures["accuracy"] if head.has_labels else -figures["rmse"]

    def _targets_of(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return self.heads[name].targets(self._given[name], shape, f"{_WHO[self.wanted]}, output {name!r},")

    @property
    def _given(self) -> dict[str, Any]:
        """The targets of each output; None for those without."""
        return by_output(list(self.heads), self.y, "y", partial=True)

    @property
    def _scored(self) -> dict[str, Head]:
        """The outputs that have targets."""
        return {name: self.heads[name] for name, targets in self._given.items() if targets is not None}

    def _masks(self, model: keras.Model, names: list[str]) -> dict[str, np.ndarray | None]:
        """The steps of each output that count, as Keras' own metrics have it; None where all do.

        Raises:
            ValueError: none does.
        """
        if not may_mask(model):
            return dict.fromkeys(names)
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for x in self._batches:
            outputs = model(keras.tree.map_structure(ops.convert_to_tensor, x))
            named = outputs if isinstance(outputs, Mapping) else dict(zip(names, as_list(outputs), strict=True))
            masks = {name: mask_at(tensor) for name, tensor in named.items() if len(tensor.shape) > 2}
            masks = {name: mask for name, mask in masks.items() if mask is not None and len(mask.shape) == 2}
            if not masks:
                return dict.fromkeys(names)
            for name, mask in masks.items():
                found[name].append(ops.convert_to_numpy(mask).astype(bool))
        for name, parts in found.items():
            if parts and not any(part.any() for part in parts):
                raise ValueError(
                    f"{_WHO[self.wanted]} got sequences that are padding throughout: output {name!r} has no step that "
                    "counts. Give sequences with real steps."
                )
        return {name: np.concatenate(parts) if parts else None for name, parts in found.items()}

    def _outputs(self, model: keras.Model, x: Any) -> dict[str, np.ndarray]:
        return outputs_by_name(model.predict_on_batch(x), list(self.heads))

    @property
    def _count(self) -> int:
        return len(keras.tree.flatten(self.x)[0])

    @property
    def _batches(self) -> Iterator[Any]:
        for start in range(0, self._count, self.batch_size):
            part = slice(start, min(start + self.batch_size, self._count))
            yield keras.tree.map_structure(lambda array, part=part: array[part], self.x)


def _fill_padding(y: Any, mask: np.ndarray | None) -> Any:
    """Targets of a padded sequence, with one of a real step at all steps that do not count."""
    if y is None or mask is None:
        return y
    array = np.asarray(y)
    if array.shape[:2] != mask.shape:
        return y
    first = array[tuple(np.argwhere(mask)[0])]
    return np.where(mask.reshape(*mask.shape, *[1] * (array.ndim - 2)), array, first)


def accuracy_on(x: Any, y: Any, batch_size: int = 256, task: Any = None) -> ScoreOn:
    """The accuracy of classifiers on validation data, as a function of a model.

    It calls the model's own compiled prediction batch by batch, without what `predict` and `evaluate` set up at each
    call: for small models that is most of the time.

    Args:
        x: inputs `[B, ...]`, or a nest of them for a model with several.
        y: classes, `[B]` or `[B, 1]`, of every step `[B, L]` or `[B, L, 1]`, or one-hot rows of the shape of the
            outputs; of a model with a single output 0 or 1; several labels as the model gives them. For several
            outputs a list, or a dict by name: the result is the mean over those that are given. Padded steps do not
            count where the model's outputs carry a mask, as in Keras' metrics, and their targets may be anything.
        batch_size: examples at a time.
        task: the meaning of the outputs, where model, loss and labels say it wrongly: "classes", "binary" or
            "multi_label", or a `keras_s4.scoring.heads.Head`.

    Returns:
        `evaluate(model) -> float` from 0 to 1. A model with a single output gives a probability, and class 1 above 0.5,
        or a logit, and class 1 above 0, if it has no sigmoid.

    Raises:
        TypeError: inputs that are no numbers.
        ValueError: no example is given, x and y differ in number, or x holds NaN. The function raises it for labels
            that do not fit the model's outputs.
    """
    return _score_on(x, y, batch_size, task, LABELS)


def error_on(x: Any, y: Any, batch_size: int = 256, task: Any = None) -> ScoreOn:
    """The root mean square error of quantities on validation data, negative, as a function of a model.

    Args:
        x: inputs as for `accuracy_on`.
        y: targets of the shape of the outputs; `[B]` will do for outputs `[B, 1]`. For several outputs a list, or a
            dict by name: the result is the mean over those that are given.
        batch_size: examples at a time.
        task: a word as for `accuracy_on`: "regression".

    Returns:
        `evaluate(model) -> float`, at most 0, in the units of the targets.

    Raises:
        TypeError, ValueError: see `accuracy_on`.
    """
    return _score_on(x, y, batch_size, task, QUANTITIES)


def score_on(x: Any, y: Any, batch_size: int = 256, task: Any = None) -> ScoreOn:
    """`accuracy_on` or `error_on`, whichever fits the outputs of the model; arguments as there."""
    return _score_on(x, y, batch_size, task, None)


def _score_on(x: Any, y: Any, batch_size: int, task: Any, wanted: str | None) -> ScoreOn:
    check_examples(x, y, _WHO[wanted])
    batch_size = whole_number(batch_size, f"{_WHO[wanted]} got batch_size=")
    arrays = keras.tree.map_structure(np.asarray, x) if isinstance(x, Mapping) or is_several(x) else np.asarray(x)
    if not (isinstance(y, Mapping) or is_several(y)):
        y = np.asarray(y)
    return ScoreOn(arrays, y, batch_size, task, wanted)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MetricOn(Brief):
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
        y: targets that `model.evaluate` takes.
        name: the name of the metric, such as "accuracy" or "loss".
        lower_is_better: whether less of the metric is better, as of a loss; its negative is returned.
        batch_size: examples at a time.

    Returns:
        `evaluate(model) -> float`, higher is better.
    """
    return MetricOn(x, y, name, lower_is_better, batch_size)
