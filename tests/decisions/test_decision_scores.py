"""Outputs as levels: exact where they decide as they are, and a softmax by table close to that of float64."""

import numpy as np
import pytest
from scipy.special import softmax

from keras_s4.decisions import Scores
from keras_s4.decisions.scores import reciprocals


@pytest.mark.parametrize("count", [2, 7, 300])
@pytest.mark.parametrize(
    ("kind", "scale"),
    [("int8", 0.1), ("int8", 0.01), ("int8", 3.0), ("int16", 5e-4), ("int16", 2e-5), ("int16", 0.02)],
)
def test_the_softmax_by_table_is_that_of_floating_point(kind, scale, count):
    """Entries of the table are right to 2**-16, of int16 the rounded product of two to three times that.

    At worst the errors of all classes add up; those of ten stay below 1e-4.
    """
    limits = np.iinfo(kind)
    random = np.random.default_rng(0)
    integers = random.integers(limits.min, limits.max, (3000, count), endpoint=True)
    integers[:1000] >>= random.integers(0, 8, (1000, 1))
    integers[:3] = [[limits.min], [limits.max], [0]]
    integers[2, 0] = limits.max
    found = Scores(count=count, type=kind, scale=scale, zero_point=3).levels(integers)
    assert found.min() >= 0 and found.max() <= 2**30
    bound = 1e-4 if count < 10 else (count + 1) * 2.0**-16 * (1 if kind == "int8" else 3)
    np.testing.assert_allclose(found * 2.0**-30, softmax(integers * scale, axis=-1), rtol=0, atol=bound)
    np.testing.assert_allclose(found.sum(axis=-1), 2**30, rtol=1e-6)


def test_likelier_classes_have_no_lower_level():
    integers = np.arange(-128, 128)
    levels = Scores(count=256, type="int8", scale=0.07).levels(integers)
    assert (np.diff(levels) >= 0).all() and levels.argmax() == 255


def test_reciprocals_are_right_to_a_unit_of_the_level():
    random = np.random.default_rng(1)
    sums = np.unique(
        np.concatenate([2 ** np.arange(15, 31), 2 ** np.arange(16, 31) - 1, random.integers(2**15, 2**30, 9999)])
    )
    entries = np.minimum(sums, random.integers(0, 2**15, len(sums), endpoint=True))
    r, shift = reciprocals(sums)
    found = (entries * r) >> shift
    exact = entries * 2**30 / sums
    assert (shift >= 16).all() and (shift < 32).all() and (r < 2**32).all()
    assert np.abs(found - exact).max() <= 3.0 and found.max() <= 2**30


@pytest.mark.parametrize(("kind", "shift", "zero_point"), [("int8", 22, -128), ("int16", 14, 0)])
def test_integers_that_decide_themselves_are_exact(kind, shift, zero_point):
    limits = np.iinfo(kind)
    scores = Scores(count=1, softmax=False, type=kind, scale=1 / 256, zero_point=zero_point)
    integers = np.arange(limits.min, limits.max + 1)
    levels = scores.levels(integers)
    np.testing.assert_array_equal(levels[:, 0], (integers - zero_point) * 2**shift)
    assert np.abs(levels).max() <= 2**30
    np.testing.assert_array_equal(scores.real(levels)[:, 0], (integers - zero_point) / 256)


def test_a_level_is_above_a_threshold_where_the_real_number_is():
    scores = Scores(count=1, softmax=False, type="int8", scale=1 / 256, zero_point=-128)
    integers = np.arange(-128, 128)
    for threshold in (0.5, 0.25, 0.3, -0.1, 0.999, 7.0, -1e12, 1e12):
        above = scores.levels(integers)[:, 0] > scores.level(threshold)
        np.testing.assert_array_equal(above, (integers + 128) / 256 > threshold)


def test_probabilities_of_keras_become_multiples_of_2_to_the_minus_30():
    values = np.array([[0.25, 0.75], [1.0, 0.0], [1e-9, 1 - 1e-9]], np.float32)
    np.testing.assert_array_equal(Scores(count=2).levels(values), np.rint(values.astype(float) * 2**30))


def test_other_numbers_of_keras_become_the_integers_of_the_program():
    scores = Scores(count=2, softmax=False, type="int8", scale=0.5, zero_point=10)
    np.testing.assert_array_equal(scores.levels(np.array([0.3, -900.0])), np.array([1, -138]) << 22)
    np.testing.assert_array_equal(scores.levels(np.array([0.3, -900.0])), scores.levels(np.array([11, -128])))


def test_numbers_of_any_size_have_a_unit():
    scores = Scores(count=1, softmax=False, scale=100 * 2.0**-30)
    np.testing.assert_array_equal(scores.levels(np.array([50.0, 1e9, -1e9])), [[2**29], [2**30], [-(2**30)]])
    assert scores.level(25.0) == 2**28


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros((3, 4)), ValueError, r"shape \[3, 4\]; expected \[..., 2\]"),
        (np.array([True, False]), TypeError, "type bool"),
        (np.array(["a", "b"]), TypeError, "type <U1"),
        (np.array([0.5, np.nan]), ValueError, "NaN"),
        (np.array([0.5, 1.5]), ValueError, "expected probabilities"),
        (np.array([0, 128]), ValueError, "from 0 to 128; expected int8"),
    ],
)
def test_what_is_no_score_is_refused(values, error, message):
    with pytest.raises(error, match=message):
        Scores(count=2, type="int8", scale=0.1).levels(values)


def test_integers_without_a_type_are_refused():
    with pytest.raises(ValueError, match="Give type, scale and zero point"):
        Scores(count=2).levels(np.array([0, 1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count=0"),
        ({"count": 40000}, "between 32767 classes at most"),
        ({"count": 2, "scale": 0.0}, "scale=0"),
        ({"count": 2, "type": "int32"}, "type='int32'"),
        ({"count": 2, "type": "int8", "zero_point": 200}, "zero_point=200; expected an int8"),
    ],
)
def test_scores_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Scores(**arguments)
