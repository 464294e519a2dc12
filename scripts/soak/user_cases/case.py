"""What a case is, and how one is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

# Pages of arguments are no message; nor is a word.
LONGEST_MESSAGE, SHORTEST_MESSAGE = 900, 30
REFUSALS = (ValueError, TypeError, NotImplementedError)


class Wrong(Exception):  # noqa: N818 - a verdict
    """The library gave a result, and it is wrong."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Something a user does.

    Args:
        kind: the entry of the list of kinds, as in "A1".
        title: what the user does.
        run: does it; raises `Wrong` where the result is.
        may_refuse: a refusal that says what to do is right as well.
    """

    kind: str
    title: str
    run: Callable[[], None]
    may_refuse: bool


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a case: "right", "refused", "wrong" or "crashed", and a sentence."""

    verdict: str
    detail: str = ""


CASES: list[Case] = []


def case(kind: str, title: str, may_refuse: bool = False) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Decorator: this function is a case."""

    def add(run: Callable[[], None]) -> Callable[[], None]:
        CASES.append(Case(kind, title, run, may_refuse))
        return run

    return add


def judge(case: Case) -> Outcome:
    """Runs a case."""
    try:
        case.run()
    except Wrong as wrong:
        return Outcome("wrong", str(wrong))
    except REFUSALS as error:
        if case.may_refuse and not flaw_of(error):
            return Outcome("refused", str(error))
        return Outcome("crashed", f"{type(error).__name__}: {error}")
    except Exception as error:  # every other one is a finding
        return Outcome("crashed", f"{type(error).__name__}: {error}")
    return Outcome("right")


def flaw_of(error: Exception) -> str:
    """Why a refusal does not help, or an empty string."""
    text = str(error)
    if "Exception encountered" in text or "Traceback" in text:
        return "pages of another library"
    if not SHORTEST_MESSAGE <= len(text) <= LONGEST_MESSAGE:
        return f"a message of {len(text)} characters"
    return ""


def expect_refusal(act: Callable[[], Any], about: str) -> None:
    """Demands that an act is refused with a message that names what it is about.

    Raises:
        Wrong: it gives a result, or the message does not say it.
    """
    try:
        result = act()
    except REFUSALS as error:
        if flaw := flaw_of(error):
            raise Wrong(f"refused with {flaw}: {str(error)[:200]}") from None
        if about.lower() not in str(error).lower():
            raise Wrong(f"the refusal does not name {about!r}: {error}") from None
        return
    raise Wrong(f"accepted, and gave {str(result)[:100]}")


def decibels(reference: Any, received: Any) -> float:
    """Signal to noise ratio of what was received, the reference's mean taken away."""
    reference, received = np.asarray(reference, np.float64), np.asarray(received, np.float64)
    if reference.shape != received.shape:
        raise Wrong(f"shape {received.shape} in place of {reference.shape}")
    signal = np.sum((reference - reference.mean(axis=0)) ** 2)
    noise = np.sum((reference - received) ** 2)
    return float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)))


def expect_near(reference: Any, received: Any, least: float = 20.0) -> None:
    """Demands a signal to noise ratio of at least so many dB.

    Raises:
        Wrong: it is less, or shapes differ.
    """
    ratio = decibels(reference, received)
    if not ratio >= least:
        raise Wrong(f"{ratio:.1f} dB against the reference; expected at least {least:g}")


def expect_equal(reference: Any, received: Any, tolerance: float = 1e-4) -> None:
    """Demands equal numbers, up to rounding.

    Raises:
        Wrong: they differ.
    """
    reference, received = np.asarray(reference, np.float64), np.asarray(received, np.float64)
    if reference.shape != received.shape:
        raise Wrong(f"shape {received.shape} in place of {reference.shape}")
    worst = float(np.abs(reference - received).max())
    if not worst <= tolerance:
        raise Wrong(f"differs by {worst:.3g}")
