import re

import pytest

from keras_s4 import ranks
from keras_s4.compression.parts import other_flash_bytes, parts_of


def test_uniform_by_rank_and_by_fraction(trained_classifier):
    assert ranks.uniform(trained_classifier, rank=2) == {"block_1/dss": 2, "block_2/dss": 2}
    assert ranks.uniform(trained_classifier, fraction=0.25) == {"block_1/dss": 2, "block_2/dss": 2}
    assert ranks.uniform(trained_classifier, fraction=1.0) == {"block_1/dss": 6, "block_2/dss": 6}


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.999, 1.0])
def test_energy_gives_the_lowest_rank_that_keeps_it(trained_classifier, keep):
    parts = parts_of(trained_classifier)
    for name, rank in ranks.energy(trained_classifier, keep).items():
        assert parts[name].energy(rank) >= keep or rank == parts[name].max_rank
        assert rank == 1 or parts[name].energy(rank - 1) < keep


def test_tolerance_gives_the_lowest_rank_that_promises_it(trained_classifier):
    parts = parts_of(trained_classifier)
    relative = max(part.error_bound(part.max_rank - 1) for part in parts.values()) * 1.01
    for name, rank in ranks.tolerance(trained_classifier, relative).items():
        assert parts[name].error_bound(rank) <= relative
        assert rank == 1 or parts[name].error_bound(rank - 1) > relative


def test_tolerance_that_no_reduction_meets_is_said_and_not_answered_with_rank_1(trained_classifier):
    with pytest.raises(
        ValueError, match=r"No reduction of part 'block_1/dss' promises a relative error of 1e-12: 5 of"
    ):
        ranks.tolerance(trained_classifier, 1e-12)


@pytest.mark.parametrize(("kind", "limit"), [("flash", 2500), ("ram", 1000), ("multiply_accumulates", 500)])
def test_budget_is_used_up_and_never_exceeded(trained_classifier, kind, limit):
    parts = parts_of(trained_classifier)
    chosen = ranks.budget(trained_classifier, **{kind: limit})
    fixed = other_flash_bytes(trained_classifier) if kind == "flash" else 0
    spent = fixed + sum(getattr(parts[name].cost(rank), kind) for name, rank in chosen.items())
    one_more = min(getattr(part.cost(1), kind) for part in parts.values())
    assert spent <= limit < spent + one_more


def test_larger_budget_never_lowers_a_rank(trained_classifier):
    small = ranks.budget(trained_classifier, ram=700)
    large = ranks.budget(trained_classifier, ram=1200)
    assert all(small[name] <= large[name] for name in small)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: ranks.uniform(model), "give exactly one"),
        (lambda model: ranks.uniform(model, rank=0), "got rank 0; expected a whole number from 1 to 6"),
        (lambda model: ranks.uniform(model, rank=7), "got rank 7; expected a whole number from 1 to 6"),
        (lambda model: ranks.uniform(model, fraction=1.5), "fraction=1.5; expected a number above 0"),
        (lambda model: ranks.energy(model, 0.0), "keep=0.0"),
        (lambda model: ranks.tolerance(model, 0.0), "relative=0.0"),
        (lambda model: ranks.budget(model), "got no limit"),
        (lambda model: ranks.budget(model, flash=10), "one mode per channel already takes"),
    ],
)
def test_refusals(trained_classifier, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(trained_classifier)
