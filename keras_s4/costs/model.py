"""The cost model: what a step costs where no compiler is installed, from coefficients that were fitted to counts.

`coefficients.json` has them, with the errors on programs that they were not fitted to; `scripts/bench/costs_model.py
--rerun` writes it anew.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize

from keras_s4.costs.features import count_bytes, count_code, count_work, source_of
from keras_s4.costs.ranges import Range
from keras_s4.costs.step_cost import MODELLED, StepCost
from keras_s4.tflite.program.program import Program

TABLE = Path(__file__).parent / "coefficients.json"
FIGURES = ("instructions", "low", "high", "likely")
TRUST = 1e-4  # this and SMALL were chosen with other networks held out than those that the stated errors are of
SMALL = 1000.0  # instructions, cycles or bytes: of what is smaller, relative errors matter less
_WORD = re.compile(r"[A-Za-z]\w*")
_PLAIN = {"N", "accumulator", "const", "entry", "i", "int32_t", "largest", "partial", "x"}
_VECTOR = re.compile(r" \(by \d+\)$")


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """What a figure is made of on a core.

    Args:
        known: by the names of `count_work` or `count_code`.
        words: by the words of statements: what forms of them cost that are not known.
    """

    known: Mapping[str, float]
    words: Mapping[str, float]

    def of(self, name: str) -> float:
        """The coefficient of a name, known or not."""
        if name in self.known:
            return self.known[name]
        return sum(self.words.get(word, 0.0) * count for word, count in words_of(name).items())

    def apply(self, row: Mapping[str, float]) -> float:
        """The figure for what it depends on."""
        return sum(self.of(name) * count for name, count in row.items())


@functools.cache
def coefficients() -> dict[str, Any]:
    """The table: for each core the coefficients by figure, and the errors."""
    return json.loads(TABLE.read_text())


@functools.cache
def coefficients_of(core: str) -> dict[str, Coefficients]:
    """The coefficients of a core by figure, those of `FIGURES` that it has and "code".

    Raises:
        ValueError: the model has no such core.
    """
    table = coefficients()
    if core not in table["cores"]:
        raise ValueError(f"The cost model received core {core!r}; it knows {', '.join(table['cores'])}.")

    def named(names: Sequence[str], values: Sequence[float | None]) -> dict[str, float]:
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    found = {}
    for figure, row in table["cores"][core]["coefficients"].items():
        kind = "code" if figure == "code" else "work"
        found[figure] = Coefficients(
            named(table["names"][kind], row["known"]), named(table["names"][f"words of {kind}"], row["words"])
        )
    return found


def predict(program: Program, core: str) -> StepCost:
    """What the cost model says of a program.

    Args:
        program: the integer program.
        core: one of the table.

    Raises:
        ValueError: the model has no such core.
        NotImplementedError: the C calls a kernel that the model was not fitted to.
    """
    weights, source = coefficients_of(core), source_of(program)
    work = count_work(source, core)
    _check_kernels(work)
    found = {figure: weights[figure].apply(work) / program.steps for figure in FIGURES if figure in weights}
    low, high = found.get("low", found["likely"]), found.get("high", found["likely"])
    constants, ram = count_bytes(source, core)
    return StepCost(
        core=core,
        method=MODELLED,
        compiler=coefficients()["cores"][core]["compiler"],
        instructions=found.get("instructions"),
        cycles=Range(min(low, found["likely"]), max(high, found["likely"])),
        likely_cycles=found["likely"],
        code_bytes=round(weights["code"].apply(count_code(source, core))),
        constant_bytes=constants,
        ram_bytes=ram if core != "avr" else ram + constants,
        stack_bytes=None,
        samples=program.steps,
    )


def _check_kernels(work: Mapping[str, float]) -> None:
    """Refuse kernels that are younger than the coefficients, which would be told to cost nothing.

    Raises:
        NotImplementedError: see `predict`.
    """
    known = {name.removesuffix(", kernel") for name in coefficients()["names"]["code"]}
    called = {name.partition(", ")[0] for name in work if name.endswith(", calls")}
    if unknown := sorted(called - known):
        raise NotImplementedError(
            f"The cost model was not fitted to {', '.join(unknown)}. Count instead (method='counted'), or fit it anew: "
            "scripts/bench/costs_model.py --rerun."
        )


def expected_error(core: str) -> str:
    """What is known of the errors for a core, as the end of a sentence that begins with "The cost model"."""
    errors = coefficients()["cores"][core]["errors"]
    parts = [
        f"by {found[0]:.1%} (median; worst {found[1]:.1%}) for {found[2]} {kind}"
        for kind, found in errors.items()
        if found
    ]
    return f"was off {', '.join(parts)} that it was not fitted to."


def fit_figure(
    rows: Sequence[Mapping[str, float]],
    values: Sequence[float],
    guess: Callable[[str], float],
    least: Mapping[str, float] | None = None,
    like: Coefficients | None = None,
) -> Coefficients:
    """The coefficients of a figure: first of words, from which those of forms of statements are expected.

    Args:
        rows: what the values depend on, by the names of `count_work` or `count_code`.
        values: above 0.
        guess: function from a name or a word to about what its coefficient is.
        least: of some names, what their coefficient is at least, and about: bytes of kernels are measured alone.
        like: coefficients of another core, to expect the like of where the values say nothing.
    """
    given, whole = Coefficients(least or {}, {}), [value + SMALL for value in values]
    rest = [value - given.apply(row) for row, value in zip(rows, values, strict=True)]
    wanted = like or Coefficients({}, {})
    words = fit([in_words(row) for row in rows], rest, lambda word: wanted.words.get(word) or guess(word), whole)
    found, smallest = Coefficients({}, words), min(filter(None, words.values())) / 10

    def expected(name: str) -> float:
        told, there = found.of(name), Coefficients({}, wanted.words).of(name)
        is_form = name not in words and there and wanted.known.get(name)
        return max(smallest, told * wanted.known[name] / there if is_form else told)

    known = fit(rows, rest, expected, whole)
    return Coefficients({name: value + given.of(name) for name, value in known.items()}, words)


def fit(
    rows: Sequence[Mapping[str, float]],
    values: Sequence[float],
    expected: Callable[[str], float],
    whole: Sequence[float] | None = None,
    trust: float = TRUST,
) -> dict[str, float]:
    """Coefficients, none below 0, with the least sum of squared relative errors.

    What programs always have together can be told apart only by what is expected of it, which so decides where the
    values say nothing.

    Args:
        rows: what the values depend on.
        values: that they explain.
        expected: function from a name to about what its coefficient is, up to a factor that all have.
        whole: what errors are relative to; the values when omitted.
        trust: in what is expected, beside one value.
    """
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0) for name in names] for row in rows], float)
    size = np.asarray(values if whole is None else whole, float)
    scaled, wanted = matrix / size[:, None], np.asarray(values, float) / size
    guess = np.array([expected(name) for name in names], float)
    told = scaled @ guess
    guess *= (told @ wanted) / (told @ told)
    strength = np.sqrt(trust)
    system = np.concatenate([scaled * guess, strength * np.eye(len(names))])
    found, _ = scipy.optimize.nnls(system, np.concatenate([wanted, np.full(len(names), strength)]))
    return {name: float(weight) for name, weight in zip(names, found * guess, strict=True)}


def words_of(name: str) -> Counter[str]:
    """What a name stands for: of a statement the words that cost something, else the name itself."""
    if "=" not in name:
        return Counter({name: 1})
    vector = _VECTOR.search(name)
    suffix = vector[0] if vector else ""
    words = Counter(word for word in _WORD.findall(name.removesuffix(suffix)) if word not in _PLAIN)
    return Counter({f"{word}{suffix}": count for word, count in words.items()})


def in_words(row: Mapping[str, float]) -> Counter[str]:
    """What a figure depends on, with the words of statements in their place."""
    found: Counter[str] = Counter()
    for name, count in row.items():
        for word, times in words_of(name).items():
            found[word] += count * times
    return found


def guess_of_work(name: str) -> float:
    """Some instructions for a name of `count_work`, or a word."""
    return {"run": 60.0, "loops": 5.0, "copies": 15.0, "copied bytes": 1.0}.get(name, 3.0)


def guess_of_code(name: str) -> float:
    """Some bytes for a name of `count_code`, or a word."""
    if name.endswith(", kernel"):
        return 150.0
    return {"run": 60.0, "loops": 10.0, "memcpy": 100.0, "calls": 8.0}.get(name, 4.0)
