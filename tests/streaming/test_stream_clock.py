"""When values are due, against counting by hand."""

import keras
import numpy as np
import pytest

from keras_s4.streaming.clock import Clock, always, updated
from keras_s4.streaming.plan import EVERY_STEP, Timing


def due_steps(timing, steps):
    return [t for t in range(steps) if t >= timing.phase and (t - timing.phase) % timing.period == 0]


def test_a_clock_goes_round_unnoticed():
    timings = [EVERY_STEP, Timing(2, 1), Timing(6, 11), Timing(4)]
    clock = Clock(timings)
    count, counts = clock.initial_state(3), set()
    for t in range(100):
        due = clock.due(count)
        for timing in timings[1:]:
            expected = t in due_steps(timing, t + 1)
            assert keras.ops.convert_to_numpy(due(timing)).tolist() == [expected] * 3
        assert due(EVERY_STEP) is None
        counts.add(int(count[0]))
        count = clock.next(count)
    assert len(counts) == 11 + 12, "the largest phase, and once around"


def test_a_clock_that_could_not_count_is_refused():
    with pytest.raises(ValueError, match=r"repeats after \d+ steps; expected at most 16777216. Use smaller strides"):
        Clock([Timing(4099), Timing(4111)])


def test_updated():
    old = {"a": np.zeros((3, 2)), "b": (np.zeros(3),)}
    new = {"a": np.ones((3, 2)), "b": [np.ones(3)]}
    result = updated(np.array([True, False, True]), new, old)
    np.testing.assert_array_equal(result["a"], [[1, 1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(result["b"][0], [1, 0, 1])
    assert updated(always(EVERY_STEP), new, old) is new
