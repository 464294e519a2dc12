import itertools
import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_parts import MadeUpPart, total

from keras_s4 import ranks
from keras_s4.compression import budgets
from keras_s4.compression.parts import other_flash_bytes, parts_of


@st.composite
def made_up_parts(draw):
    """One to four parts with spectra of any units, gaps between their choices, and costs that rise unevenly."""
    parts = {}
    for index in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 8))
        values = sorted(draw(st.lists(st.floats(0.0, 1.0), min_size=size, max_size=size)), reverse=True)
        unit = draw(st.sampled_from([1e-6, 1.0, 1e6]))
        lower = draw(st.sets(st.integers(1, size - 1))) if size > 1 else set()
        choices = (*sorted(lower), size)
        rising = st.lists(st.integers(0, 30), min_size=len(choices), max_size=len(choices))
        flash, ram = (tuple(np.cumsum(draw(rising)).tolist()) for _ in range(2))
        parts[f"part {index}"] = MadeUpPart(tuple(unit * value for value in values), choices, flash, ram)
    return parts


def kept_energy(parts, chosen):
    return sum(part.energy(chosen[name]) for name, part in parts.items())


def best_energy(parts, limit):
    """The most energy that fits into a budget of flash, by trying all ranks."""
    combinations = itertools.product(*(part.choices for part in parts.values()))
    every = (dict(zip(parts, combination, strict=True)) for combination in combinations)
    return max(kept_energy(parts, chosen) for chosen in every if total(parts, chosen, "flash") <= limit)


def test_uniform_by_rank_and_by_fraction(trained_classifier):
    assert ranks.uniform(trained_classifier, rank=2) == {"block_1/dss": 2, "block_2/dss": 2}
    assert ranks.uniform(trained_classifier, fraction=0.25) == {"block_1/dss": 2, "block_2/dss": 2}
    assert ranks.uniform(trained_classifier, fraction=1.0) == {"block_1/dss": 6, "block_2/dss": 6}


def test_uniform_rounds_up_to_a_choice_and_leaves_small_parts_whole():
    parts = {"gaps": MadeUpPart((1.0,) * 30, (1, 2, 3, 9, 30)), "small": MadeUpPart((1.0,) * 4)}
    assert ranks.uniform(None, rank=4, parts=parts) == {"gaps": 9, "small": 4}
    assert ranks.uniform(None, rank=20, parts=parts) == {"gaps": 30, "small": 4}
    # 0.1 * 30 is 3.0000000000000004 in floating point.
    assert ranks.uniform(None, fraction=0.1, parts=parts) == {"gaps": 3, "small": 1}


@settings(deadline=None)
@given(made_up_parts(), st.floats(0.01, 1.0))
def test_every_chooser_picks_among_the_choices_of_the_parts_given(parts, share):
    limit = total(parts, {name: part.max_rank for name, part in parts.items()}, "flash")
    for chosen in (
        ranks.uniform(None, fraction=share, parts=parts),
        ranks.uniform(None, rank=1, parts=parts),
        ranks.energy(None, share, parts=parts),
        ranks.scores(None, share, parts=parts),
        budgets.fill_budgets(parts, {"flash": limit}, {}),
    ):
        assert chosen.keys() == parts.keys()
        assert all(rank in parts[name].choices for name, rank in chosen.items())


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
        ValueError, match=r"No reduction of part 'block_1/dss' promises a relative error of 1e-12: 5 of the 6 modes"
    ):
        ranks.tolerance(trained_classifier, 1e-12)


def test_tolerance_speaks_of_the_largest_rank_of_a_matrix_that_saves_anything():
    parts = {"kernel": MadeUpPart((1.0, 0.9, 0.8, 0.7), (1, 2, 4))}
    with pytest.raises(ValueError, match=r"2 of the 4 singular values promise 0\.8"):
        ranks.tolerance(None, 0.75, parts=parts)
    assert ranks.tolerance(None, 0.8, parts=parts) == {"kernel": 2}
    assert ranks.tolerance(None, 0.1, parts={"whole": MadeUpPart((1.0, 0.9), (2,))}) == {"whole": 2}


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


@settings(deadline=None)
@given(made_up_parts(), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(0, 100))
def test_budgets_are_never_exceeded_and_nothing_useful_is_left_undone(parts, flash_share, ram_share, outside):
    lowest = {name: part.choices[0] for name, part in parts.items()}
    highest = {name: part.max_rank for name, part in parts.items()}
    limits = {}
    for kind, share in (("flash", flash_share), ("ram", ram_share)):
        least, most = total(parts, lowest, kind), total(parts, highest, kind)
        limits[kind] = int(least + share * (most - least)) + (outside if kind == "flash" else 0)

    chosen = budgets.fill_budgets(parts, limits, {"flash": outside})

    def fits(ranks_):
        spent = {"flash": outside + total(parts, ranks_, "flash"), "ram": total(parts, ranks_, "ram")}
        return all(spent[kind] <= limits[kind] for kind in limits)

    assert fits(chosen)
    for name, part in parts.items():
        for choice in part.choices:
            if choice > chosen[name] and np.any(part.spectrum[chosen[name] : choice] ** 2 > 1e-300):
                assert not fits({**chosen, name: choice})


def test_budget_looks_beyond_a_poor_step_to_a_good_one_behind_it():
    # The first step of `steps` costs 8 and gains as much as the second, which costs 1: 0.4 for 9 is better than the
    # 0.03 for 1 of `smooth`, 0.2 for 8 is worse.
    steps = MadeUpPart(tuple(np.sqrt([0.6, 0.2, 0.2])), flash=(1, 9, 10))
    smooth = MadeUpPart(tuple(np.sqrt([0.7] + [0.03] * 10)), flash=tuple(range(1, 12)))
    parts = {"steps": steps, "smooth": smooth}
    chosen = budgets.fill_budgets(parts, {"flash": 11}, {})
    assert chosen == {"steps": 3, "smooth": 1}
    assert kept_energy(parts, chosen) == best_energy(parts, 11)
    by_single_steps = {"steps": 1, "smooth": 10}
    assert total(parts, by_single_steps, "flash") <= 11
    assert kept_energy(parts, chosen) > kept_energy(parts, by_single_steps) + 0.1


@pytest.mark.parametrize("limit", [4, 11, 18, 24])
def test_budget_finds_the_optimum_of_concave_parts_with_equal_steps(limit):
    generator = np.random.default_rng(limit)
    parts = {
        name: MadeUpPart(tuple(np.sort(generator.uniform(size=6))[::-1]), flash=tuple(range(1, 7))) for name in "abcd"
    }
    chosen = budgets.fill_budgets(parts, {"flash": limit}, {})
    assert total(parts, chosen, "flash") == limit
    assert kept_energy(parts, chosen) == pytest.approx(best_energy(parts, limit), rel=1e-12)


def test_budget_saves_what_is_scarce():
    alike = (1.0, 0.5, 0.5, 0.5, 0.5, 0.5)
    parts = {
        "flash": MadeUpPart(alike, flash=(1, 11, 21, 31, 41, 51), ram=(1, 2, 3, 4, 5, 6)),
        "ram": MadeUpPart(alike, flash=(1, 2, 3, 4, 5, 6), ram=(1, 11, 21, 31, 41, 51)),
    }
    assert budgets.fill_budgets(parts, {"flash": 17, "ram": 1000}, {}) == {"flash": 2, "ram": 6}
    assert budgets.fill_budgets(parts, {"flash": 1000, "ram": 17}, {}) == {"flash": 6, "ram": 2}


def test_budget_does_not_mind_the_units_of_a_spectrum():
    values = np.array([1.0, 0.7, 0.4, 0.2, 0.1])
    parts = {"a": MadeUpPart(tuple(values)), "b": MadeUpPart(tuple(1e9 * values))}
    assert budgets.fill_budgets(parts, {"flash": 60}, {}) == {"a": 3, "b": 3}


def test_budget_pays_nothing_for_what_gains_nothing():
    parts = {"zeros": MadeUpPart((1.0, 0.5, 0.0, 0.0))}
    assert budgets.fill_budgets(parts, {"flash": 1000}, {}) == {"zeros": 2}


def test_budget_counts_what_lies_outside_of_the_parts_given(trained_classifier):
    parts = parts_of(trained_classifier)
    first = {"block_1/dss": parts["block_1/dss"]}
    whole = other_flash_bytes(trained_classifier) + total(parts, dict.fromkeys(parts, 6), "flash")
    one_mode = first["block_1/dss"].cost(1).flash
    assert ranks.budget(trained_classifier, flash=whole, parts=first) == {"block_1/dss": 6}
    assert ranks.budget(trained_classifier, flash=whole - 2 * one_mode, parts=first) == {"block_1/dss": 4}


def test_budget_of_matrices_counts_biases_and_whole_layers_outside():
    model = keras.Sequential([keras.Input((5, 20)), keras.layers.GRU(10, name="gru"), keras.layers.Dense(1)])
    parts = parts_of(model, kinds=("matrix",))
    # The kernel of the head saves nothing at any rank, so it is no part.
    assert list(parts) == ["gru/kernel", "gru/recurrent_kernel"]
    outside = 4 * 2 * 30 + 10 + 4
    assert ranks.budget(model, flash=outside + 20 * 30 + 10 * 30, parts=parts) == {
        "gru/kernel": 20,
        "gru/recurrent_kernel": 10,
    }
    assert ranks.budget(model, flash=outside + 50 + 40, parts=parts) == {"gru/kernel": 1, "gru/recurrent_kernel": 1}
    with pytest.raises(ValueError, match=f"already takes {outside + 90}"):
        ranks.budget(model, flash=outside + 89, parts=parts)


def last_scores(norms):
    """By the definition: each mode over those of its layer that are no smaller."""
    return [norm**2 / sum(other**2 for other in norms[: index + 1]) for index, norm in enumerate(norms)]


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.8, 1.0])
def test_scores_keep_what_is_above_one_threshold(fraction):
    norms = {"alike": (5.0, 5.0, 4.9, 4.8), "steep": (1e3, 1e2, 1e1, 1.0), "between": (0.1, 0.07, 0.05, 0.01)}
    parts = {name: MadeUpPart(values) for name, values in norms.items()}
    chosen = ranks.scores(None, fraction, parts=parts)
    assert sum(chosen.values()) == max(int(np.ceil(12 * fraction)), 3)
    kept = [score for name, rank in chosen.items() for score in last_scores(norms[name])[:rank]]
    dropped = [score for name, rank in chosen.items() for score in last_scores(norms[name])[rank:]]
    assert min(kept) >= max(dropped, default=0.0)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.75])
def test_scores_of_states_sort_the_modes_of_every_channel_by_their_peaks(trained_classifier, fraction):
    parts = parts_of(trained_classifier)
    norms = {}
    circle = np.exp(1j * np.linspace(0.0, np.pi, 4001))
    for name, part in parts.items():
        p, r = part.system.poles[..., None], part.system.residues[..., None]
        gains = np.abs(r * circle / (circle - p) + r.conj() * circle / (circle - p.conj())).max(axis=-1)
        norms[name] = np.linalg.norm(-np.sort(-gains, axis=1), axis=0)
    chosen = ranks.scores(trained_classifier, fraction)
    assert sum(chosen.values()) == max(int(np.ceil(12 * fraction)), 2)
    kept = [score for name, rank in chosen.items() for score in last_scores(norms[name])[:rank]]
    dropped = [score for name, rank in chosen.items() for score in last_scores(norms[name])[rank:]]
    assert min(kept) >= max(dropped)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: ranks.uniform(model), "give exactly one"),
        (lambda model: ranks.uniform(model, rank=0), "got rank 0; expected a whole number from 1 to 6"),
        (lambda model: ranks.uniform(model, rank=7), "got rank 7; expected a whole number from 1 to 6"),
        (lambda model: ranks.uniform(model, fraction=1.5), "fraction=1.5; expected a number above 0"),
        (lambda model: ranks.uniform(model, rank=1, parts={}), "`parts` is empty"),
        (lambda model: ranks.energy(model, 0.0), "keep=0.0"),
        (lambda model: ranks.scores(model, 1.1), "fraction=1.1"),
        (lambda model: ranks.tolerance(model, 0.0), "relative=0.0"),
        (lambda model: ranks.budget(model), "got no limit"),
        (lambda model: ranks.budget(model, flash=10), "one mode per channel already takes"),
        (
            lambda model: ranks.budget(model, flash=10_000, ram=255),
            "ram=255, but one mode per channel already takes 256",
        ),
    ],
)
def test_refusals(trained_classifier, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(trained_classifier)
