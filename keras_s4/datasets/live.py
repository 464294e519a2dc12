"""What a decision is in a live stream, where nobody knows when an event begins."""

from __future__ import annotations

import dataclasses

from keras_s4.checks import choice, number

RECENT, SLIDING = POOLINGS = ("recent", "sliding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Live:
    """How a model decides in a stream, and how its decisions are judged.

    Args:
        pooling: over time: "recent" (`keras_s4.layers.RecentAverage`) or "sliding" (`keras_s4.layers.SlidingAverage`).
        seconds: the time constant of the one, the window of the other.
        every: seconds from one decision to the next.
        tolerance: seconds after a change of the true class whose decisions are not judged: nobody could know so soon.
        background: the class that means that nothing happens, by its name; None if something always does.

    Raises:
        ValueError: another pooling, or times that are not above 0.
    """

    pooling: str = RECENT
    seconds: float = 2.0
    every: float = 0.5
    tolerance: float = 2.0
    background: str | None = None

    def __post_init__(self):
        choice(self.pooling, "Live got pooling=", POOLINGS)
        for name in ("seconds", "every"):
            if not number(getattr(self, name), f"Live got {name}=", 0.0):
                raise ValueError(f"Live got {name}=0; expected a time above 0, in seconds.")
        number(self.tolerance, "Live got tolerance=", 0.0)
