"""The C of decisions: settings and tables of `keras_s4.decisions` as constants, and what must come out of it."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.brief import Brief
from keras_s4.decisions import CLASS, WAKE_WORD, Decider, Decision, Decisions, Scores
from keras_s4.decisions.scores import ROUNDS, SLOPE, START
from keras_s4.tflite.application.c_arrays import INTEGERS_A_LINE, lines_of, struct
from keras_s4.tflite.application.ends import End, ends_of
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.program.program import Program

TEMPLATES = Path(__file__).parent / "templates"
FILES = ("decisions.h", "decisions.c")
# Known scores: so many classes are favoured one after the other, for some decisions in a row each, and those behind a
# pause; at most so many in all.
STRETCHES, PAUSE, MOST_KNOWN = 8, 2, 512
# Characters of the name of a class in a constant: C promises to tell names apart by 63.
LONGEST_NAME = 40


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProgramDecision(Brief):
    """A decision from the outputs of a program.

    Args:
        decider: makes it.
        output: the output that it is made from.
        place: the number of that output.
    """

    decider: Decider
    output: End
    place: int

    def scores_of(self, values: np.ndarray) -> np.ndarray:
        """Of integers of the output `[..., *shape]` those that decide, `[..., C]`: of a block the last row."""
        rows = values.reshape(*values.shape[: values.ndim - len(self.output.tensor.shape)], self.output.rows, -1)
        return rows[..., -1, :]

    @property
    def c_scores(self) -> str:
        """Where these begin in an array of C with the integers of the output, behind its name."""
        behind = self.output.size - self.decider.integers.count
        return f" + {behind}" if behind else ""


def decision_of(program: Program, length: int | None, decision: Decision, phase: int = 0) -> ProgramDecision:
    """A decision from the outputs of a program.

    Args:
        program: the integer program.
        length: steps of a window, None where there are no windows.
        decision: the settings.
        phase: the first value of the outputs that means something.

    Raises:
        TypeError: no `Decision`.
        ValueError: settings that do not fit the program.
    """
    if not isinstance(decision, Decision):
        raise TypeError(
            f"Received decision={type(decision).__name__}; expected a keras_s4.decisions.Decision, such as "
            "Decision.from_dict gives it."
        )
    output, place = _output_of(program, decision)
    if output.tensor.type not in ("int8", "int16"):
        raise ValueError(f"Output {output.field!r} of {output.tensor.type} cannot decide; expected int8 or int16.")
    window = length if length and program.sums_over_time else 0
    _check_period(program, window, decision)
    tensor = output.tensor
    scores = Scores(
        count=output.size // output.rows,
        softmax=output.activation == "softmax",
        type=tensor.type,
        scale=float(tensor.scale),
        zero_point=tensor.zero_point,
    )
    # Outputs of an invoke; of a sequence in blocks the last row of each.
    first = (phase // output.rows + 1) * program.steps
    unready = 0 if window else -(-first // decision.every) - 1
    return ProgramDecision(Decider(decision, scores, unready), output, place)


def facts_of_decision(made: ProgramDecision) -> dict[str, Any]:
    """Settings, and the integers that they have become, for the manifest."""
    return {
        "output": made.output.tensor.name,
        "settings": made.decider.decision.to_dict(),
        "integers": dataclasses.asdict(made.decider.integers),
    }


def render_decisions(program: Program, made: ProgramDecision) -> dict[str, str]:
    """The text of every file of `FILES`, by name; `decisions.c` is C++ as well."""
    decider, integers = made.decider, made.decider.integers
    tables = decider.scores.tables if decider.scores.softmax else ()
    names = ("exponentials",) if len(tables) == 1 else ("high_exponentials", "low_exponentials")
    context = {
        "name": printable(program.name),
        "decision": decider.decision,
        "integers": integers,
        "scores": decider.scores,
        "output": made.output,
        "class_names": macros_of(decider.decision.classes),
        "tables": [
            {"name": name, "size": len(table), "lines": lines_of(list(map(str, table.tolist())), INTEGERS_A_LINE)}
            for name, table in zip(names, tables, strict=False)
        ],
        "start": START,
        "slope": SLOPE,
        "rounds": ROUNDS,
        "thresholds": list(map(_literal, integers.thresholds)),
        "releases": list(map(_literal, integers.releases)),
        "one_threshold": len(set(integers.thresholds)) == 1,
        "one_release": len(set(integers.releases)) == 1,
        "uses_releases": integers.kind != CLASS or integers.holds or integers.background >= 0,
    }
    return {name: render(TEMPLATES / f"{name}.jinja", **context) for name in FILES}


def golden_decisions(made: ProgramDecision) -> tuple[list[str], list[str]]:
    """Initialisers of known scores, and of the decisions that must come from them, one after the other."""
    scores = known_scores(made.decider)
    return [struct([row])[1:-1] for row in scores], initializers(made.decider.run(scores))


def initializers(decisions: Decisions) -> list[str]:
    """Initialisers of `decision_result`."""
    if decisions.kind == CLASS:
        changes = decisions.fired.any(axis=-1).astype(int).tolist()
        return [f"{{{said}, {change}}}" for said, change in zip(decisions.classes.tolist(), changes, strict=True)]
    if decisions.kind == WAKE_WORD:
        return [f"{{{fired}}}" for fired in decisions.classes.tolist()]
    return [
        struct([on.astype(int), fired.astype(int)]) for on, fired in zip(decisions.on, decisions.fired, strict=True)
    ]


def _output_of(program: Program, decision: Decision) -> tuple[End, int]:
    """The output that decides, and its number."""
    outputs = ends_of(program)[1]
    names = [{end.field, end.tensor.name, program.layer_of(end.tensor.name)} for end in outputs]
    known = ", ".join(repr(end.field) for end in outputs)
    if decision.output is None:
        if len(outputs) > 1:
            raise ValueError(
                f"Program {program.name!r} has the outputs {known}; say which decides: Decision(output=...)."
            )
        return outputs[0], 0
    found = [index for index, each in enumerate(names) if decision.output in each]
    if len(found) != 1:
        raise ValueError(
            f"The decision has output={decision.output!r}, which program {program.name!r} has not; it has {known}."
        )
    return outputs[found[0]], found[0]


def _check_period(program: Program, window: int, decision: Decision) -> None:
    """Refuse decisions at times at which the program gives nothing.

    Raises:
        ValueError: says at which it does.
    """
    if window and decision.every != window:
        raise ValueError(
            f"The decision has every={decision.every}; program {program.name!r} averages over windows of {window} "
            f"steps and gives a result at the end of each: every={window}. To decide at any time pool with "
            "keras_s4.layers.RecentAverage or SlidingAverage."
        )
    if decision.every % program.steps:
        raise ValueError(
            f"The decision has every={decision.every}; program {program.name!r} takes {program.steps} steps at once: "
            f"expected a multiple of {program.steps}."
        )


def known_scores(decider: Decider) -> np.ndarray:
    """Integers `[D, C]` that favour one class until it is said, then another; always the same."""
    random = np.random.default_rng(0)
    scores = decider.scores
    limits = np.iinfo(scores.type)
    # So far above others that a softmax is sure of it.
    high = min(int(limits.max), round(6.0 / scores.scale)) if scores.softmax else int(limits.max)
    smoothing = decider.decision.in_decisions(decider.decision.smoothing)
    stretch = math.ceil(min(4 + PAUSE + decider.integers.confirmations + 3 * smoothing, MOST_KNOWN / STRETCHES))
    stretch = max(stretch, 2 * PAUSE)
    count = min(decider.integers.settling, MOST_KNOWN) + STRETCHES * stretch
    values = random.uniform(-high / 2 if scores.softmax else limits.min, high / 3, (count, scores.count))
    favoured = np.repeat(random.integers(0, scores.count, -(-count // stretch)), stretch)[:count]
    present = np.flatnonzero(np.arange(count) % stretch < stretch - PAUSE)
    values[present, favoured[present]] = random.uniform(0.7 * high, high, len(present))
    return np.clip(np.rint(values), limits.min, limits.max).astype(scores.type)


def macros_of(classes: tuple[str, ...]) -> list[str]:
    """Names of constants of C for the numbers of classes."""
    stems = [re.sub(r"[^0-9A-Z]+", "_", name.upper()).strip("_")[:LONGEST_NAME] for name in classes]
    names = [
        f"DECISION_CLASS_{stem}"
        if stem and stems.count(stem) == 1
        else f"DECISION_CLASS_{stem}_{index}".replace("__", "_")
        for index, stem in enumerate(stems)
    ]
    if len(set(names)) == len(names):
        return names
    # Such as "+", "-", "0": the number that one got is another's name.
    return [f"DECISION_CLASS_{index}_{stem}".rstrip("_") for index, stem in enumerate(stems)]


def _literal(value: int) -> str:
    """An int32 in C, whose least one is no literal."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)
