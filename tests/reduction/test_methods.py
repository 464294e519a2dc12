"""One call for all methods."""

import numpy as np
import pytest
from random_systems import benign_system, check_promises

from keras_s4.reduction import METHODS, balanced_truncation, finite_horizon_truncation, reduce

OPTIONS = {"finite_horizon": {"horizon": 30}, "input_weighted": {"power_spectrum": np.ones(17)}}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_promises_under_its_own_name(method):
    system = benign_system()
    reduction = reduce(system, 2, method, **OPTIONS.get(method, {}))
    assert reduction.method == method
    assert reduction.original is system
    check_promises(reduction, 2)


def test_balanced_truncation_is_what_is_done_unless_told():
    system = benign_system()
    np.testing.assert_array_equal(reduce(system, 2).system.poles, balanced_truncation(system, 2).system.poles)


def test_options_reach_the_method():
    system = benign_system()
    expected = finite_horizon_truncation(system, 2, horizon=9)
    np.testing.assert_array_equal(reduce(system, 2, "finite_horizon", horizon=9).spectrum, expected.spectrum)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("hankel", {}, "method='hankel'; expected one of 'balanced', 'finite_horizon'"),
        ("balanced", {"horizon": 3}, "Received horizon for method 'balanced'; it has no options"),
        ("finite_horizon", {"horizons": 3}, "Received horizons for method 'finite_horizon'; its options are horizon"),
        ("finite_horizon", {}, "Method 'finite_horizon' needs horizon; pass horizon=..."),
        ("input_weighted", {}, "Method 'input_weighted' needs power_spectrum"),
    ],
)
def test_refusals_name_methods_and_options(method, options, message):
    with pytest.raises(ValueError, match=message):
        reduce(benign_system(), 2, method, **options)
