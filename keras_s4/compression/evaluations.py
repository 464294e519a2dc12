"""The metric of a model at ranks, evaluated once for each and kept in a file."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_s4.compression.fingerprints import differing
from keras_s4.compression.part import Part, Ranks
from keras_s4.files import read_object, write_json


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one model with all parts at certain ranks is worth.

    Attributes:
        ranks: of every part.
        metric: higher is better; -inf where the model gave no finite number.
        flash: bytes of constants.
    """

    ranks: Ranks
    metric: float
    flash: int

    def figures(self) -> dict[str, Any]:
        """JSON-ready; a metric that is not finite is None."""
        return {"ranks": self.ranks, "metric": _json_ready(self.metric), "flash": self.flash}


class Evaluations:
    """Evaluates a model at ranks, each combination once, also across runs.

    Args:
        measure: the metric of the model with all parts at the ranks given.
        parts: by name.
        outside: bytes of constants outside of the parts.
        path: of a JSON file, written whole after every evaluation; None to forget. One that cannot be read is set
            aside, with a warning, and everything is evaluated again.
        fingerprint: what the metrics depend on besides the ranks, JSON-ready, by name.
        report: called with each new evaluation.

    Attributes:
        history: what was asked for, in order, each once; from the file or not.
        computed: number of calls of `measure`.

    Raises:
        ValueError: the file holds evaluations with another fingerprint.
    """

    def __init__(
        self,
        measure: Callable[[Ranks], float],
        parts: Mapping[str, Part],
        outside: int = 0,
        path: Path | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        report: Callable[[Evaluation], None] = lambda evaluation: None,
    ):
        self._measure = measure
        self._parts = parts
        self._outside = outside
        self._path = None if path is None else Path(path)
        self._fingerprint = dict(fingerprint or {})
        self._report = report
        self._metrics = {} if self._path is None or not self._path.is_file() else self._read()
        self._asked: dict[tuple[int, ...], Evaluation] = {}
        self.computed = 0

    @property
    def history(self) -> tuple[Evaluation, ...]:
        """All that was asked for, in the order of the first time."""
        return tuple(self._asked.values())

    def __call__(self, ranks: Ranks) -> Evaluation:
        """The evaluation at the ranks of all parts."""
        key = tuple(ranks[name] for name in self._parts)
        if key not in self._metrics:
            metric = float(self._measure(ranks))
            self._metrics[key] = metric if math.isfinite(metric) else -math.inf
            self.computed += 1
            self._write()
        if key not in self._asked:
            ranks = dict(zip(self._parts, key, strict=True))
            self._asked[key] = Evaluation(ranks, self._metrics[key], self.flash(ranks))
            self._report(self._asked[key])
        return self._asked[key]

    def flash(self, ranks: Ranks) -> int:
        """Bytes of the constants of the whole model at the ranks of all parts."""
        return self._outside + sum(part.cost(ranks[name]).flash for name, part in self._parts.items())

    def _write(self) -> None:
        if self._path is None:
            return
        known = [[list(key), _json_ready(metric)] for key, metric in self._metrics.items()]
        content = {"fingerprint": self._fingerprint, "parts": list(self._parts), "evaluations": known}
        write_json(self._path, content, indent=None)

    def _read(self) -> dict[tuple[int, ...], float]:
        try:
            content = read_object(self._path, "Delete it.")
            fingerprint, names = dict(content["fingerprint"]), list(content["parts"])
            metrics = {tuple(map(int, key)): _read_metric(value) for key, value in content["evaluations"]}
        except (ValueError, TypeError, KeyError) as error:
            self._set_aside(error.__cause__ or error)
            return {}
        asked = {**self._fingerprint, "parts": list(self._parts)}
        found = {**fingerprint, "parts": names}
        others = differing(asked, found)
        if others:
            raise ValueError(
                f"{self._path} holds evaluations with other {', '.join(others)}, so their metrics do not hold here. "
                "Choose another file, or delete this one."
            )
        return metrics

    def _set_aside(self, error: BaseException) -> None:
        """Takes a file that cannot be read out of the way; what it holds is kept, since it may be another's."""
        kept = self._path.with_name(f"{self._path.name}.damaged")
        self._path.replace(kept)
        warnings.warn(
            f"{self._path} is no cache of evaluations, or is damaged ({error}); it is set aside as {kept.name}, and "
            "everything is evaluated again.",
            stacklevel=4,
        )


def _json_ready(metric: float) -> float | None:
    return metric if math.isfinite(metric) else None


def _read_metric(value: float | None) -> float:
    if value is None:
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no metric")
    return float(value)
