import numpy as np
import pytest

from keras_s4.samples import check_examples, real_array

X = np.zeros((4, 5, 2), "float32")


@pytest.mark.parametrize("values", [X, X.astype("float16"), X.astype(int), X.tolist(), X.astype("uint8")])
def test_real_numbers_are_taken_as_they_are(values):
    np.testing.assert_array_equal(real_array(values, "x"), X)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (X + 1j, TypeError, r"complex64; expected real numbers. The imaginary part would be lost"),
        (X > 0, TypeError, r"type bool; expected real numbers. Say that they are numbers: x.astype"),
        (X.astype(object), TypeError, "type object"),
        (np.array([["a", "b"]]), TypeError, "type <U1; expected real numbers. Turn texts into numbers"),
        (X.astype("datetime64[s]"), TypeError, "Give times as seconds"),
        ((x for x in X), TypeError, "generator; expected an array of numbers. Gather the batches"),
        ("data.npz", TypeError, "str; expected an array"),
        ({"x": X}, TypeError, "dict; expected an array"),
        (None, TypeError, "NoneType; expected an array"),
        ([[1.0], [1.0, 2.0]], ValueError, "rows of different lengths"),
        (np.where(np.arange(10).reshape(2, 5) == 7, np.nan, 0.0), ValueError, r"1 NaN .* the first at \[1, 2\]"),
        (X.astype("float16") + np.float16(np.inf), ValueError, "40 NaN or infinite values"),
    ],
)
def test_all_else_is_refused(values, error, message):
    with pytest.raises(error, match=message):
        real_array(values, "got x")


def test_as_many_targets_as_inputs():
    check_examples(X, np.zeros(4), "test")
    check_examples([X, X], {"a": np.zeros((4, 1))}, "test")
    check_examples(X, None, "test")
    check_examples(X.tolist(), [0, 1, 2, 3], "test")
    check_examples(X, list(np.arange(4)), "test")
    check_examples(X, list(np.eye(4)[:, :3]), "test")
    with pytest.raises(ValueError, match="test got 4 of x, 3 of y; expected as many of each"):
        check_examples(X, np.zeros(3), "test")
    with pytest.raises(ValueError, match=r"test got 4 of x\['a'\], 3 of x\['b'\], 4 of y; expected"):
        check_examples({"a": X, "b": X[:3]}, np.zeros(4), "test")
    with pytest.raises(ValueError, match=r"test got 0 of x, 0 of y; expected .*, at least one"):
        check_examples(X[:0], np.zeros(0), "test")
