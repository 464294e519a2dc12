"""When values are due, against counting by hand."""

import pytest

from keras_s4.streaming.plan import EVERY_STEP, Timing
from keras_s4.streaming.plan.timing import whenever_one_is_new


def due_steps(timing, steps):
    return [t for t in range(steps) if t >= timing.phase and (t - timing.phase) % timing.period == 0]


@pytest.mark.parametrize("timing", [EVERY_STEP, Timing(3), Timing(1, 4), Timing(4, 6)])
@pytest.mark.parametrize("steps", [0, 1, 4, 6, 7, 23])
def test_count(timing, steps):
    assert timing.count(steps) == len(due_steps(timing, steps))


@pytest.mark.parametrize(("stride", "delay"), [(1, 0), (1, 3), (2, 0), (3, 2)])
def test_after_a_layer(stride, delay):
    """The layer sees the steps at which its input is due, and takes every `stride`-th from number `delay` on."""
    timing = Timing(2, 5)
    assert due_steps(timing.after(stride, delay), 60) == due_steps(timing, 60)[delay::stride]


@pytest.mark.parametrize("timing", [EVERY_STEP, Timing(3, 2), Timing(1, 4), Timing(4, 6)])
def test_rows(timing):
    """A block of `period` steps has one row; value 0 is due in the first row that means something."""
    blocks = [range(start, start + timing.period) for start in range(0, 24, timing.period)]
    assert timing.rows(24) == len(blocks)
    assert timing.first_row == next(row for row, block in enumerate(blocks) if timing.phase in block)


@pytest.mark.parametrize("timings", [[Timing(2, 1), Timing(3, 2)], [Timing(4, 3), Timing(6, 9)], [Timing(4, 2)]])
def test_latest_values_of_several(timings):
    """Every step at which one is new, once all have come, is among those at which the result is computed."""
    together = whenever_one_is_new(timings)
    first = max(timing.phase for timing in timings)
    new = sorted({step for timing in timings for step in due_steps(timing, 60) if step >= first})
    assert set(new) <= set(due_steps(together, 60))
    assert together.phase == first
