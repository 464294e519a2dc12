"""Ranks by the error of the whole model: what they are measured by, and that nothing within the budget is better."""

import itertools

import keras
import numpy as np
import pytest
from conformance import shake
from made_up_parts import MadeUpPart

import keras_s4
from keras_s4 import models, ranks
from keras_s4.compression import parts_of
from keras_s4.compression.budgets import Budgets
from keras_s4.compression.output_error import OutputError
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.sensitivities import exchange_ranks, losses_of, measured_loss

RAM = 16 * 8 * 7  # of seven modes of eight channels, of which there are twelve


@pytest.fixture(scope="module")
def windows():
    return np.cumsum(np.random.default_rng(1).normal(size=(24, 40, 3)), axis=1).astype("float32") * 0.3


@pytest.fixture(scope="module")
def uneven():
    """A classifier whose second block hardly reaches the outputs, though its energy is spread as that of the first."""
    keras.utils.set_random_seed(0)
    model = shake(models.classifier((40, 3), classes=4, channels=8, states=6, blocks=2))
    value = model.get_layer("block_2").value
    for weight in value.weights:
        weight.assign(0.02 * weight)
    return model


def every_choice(parts, limit):
    """All ranks within a budget of RAM."""
    for found in itertools.product(*(part.choices for part in parts.values())):
        chosen = dict(zip(parts, found, strict=True))
        if sum(part.cost(chosen[name]).ram for name, part in parts.items()) <= limit:
            yield chosen


def test_no_ranks_within_the_budget_have_less_error(uneven, windows):
    """Of all 21 pairs; energy alone does not know which block matters."""
    parts = parts_of(uneven)
    padded = PaddedModel(uneven, parts)
    error = OutputError(uneven, windows)
    errors = {tuple(chosen.values()): error(padded.at(chosen)) for chosen in every_choice(parts, RAM)}
    found = ranks.least_error(uneven, windows, ram=RAM, parts=parts)
    assert errors[tuple(found.values())] == min(errors.values())
    assert found["block_1/dss"] == 6
    by_energy = ranks.budget(uneven, ram=RAM, parts=parts)
    assert errors[tuple(found.values())] < 0.5 * errors[tuple(by_energy.values())]


def test_bounds_know_too_which_block_matters(uneven, windows):
    assert ranks.least_error(uneven, windows, ram=RAM, of="bound") == {"block_1/dss": 6, "block_2/dss": 1}


def test_matrices_compete_with_states(uneven, windows):
    parts = parts_of(uneven, ("states", "matrix"), windows)
    flash = 0.6 * sum(part.cost(part.max_rank).flash for part in parts.values())
    flash += ranks.flash_outside(uneven, parts)
    found = ranks.least_error(uneven, windows, flash=flash, parts=parts)
    error = OutputError(uneven, windows)
    least, other = (
        error(keras_s4.reduce(uneven, chosen, data=windows))
        for chosen in (found, ranks.budget(uneven, flash=flash, parts=parts))
    )
    assert least <= other
    assert found.keys() == parts.keys() and all(rank in parts[name].choices for name, rank in found.items())
    assert ranks.flash_outside(uneven, parts) + sum(p.cost(found[name]).flash for name, p in parts.items()) <= flash


def test_losses_are_those_of_the_reduced_models(uneven, windows):
    parts = parts_of(uneven)
    part = parts["block_1/dss"]
    losses = losses_of(part, parts, measured_loss(uneven, parts, windows, "balanced", {}))
    assert losses[-1] == 0.0 and np.all(np.diff(losses) <= 0.0)
    expected, found = (
        np.log(np.asarray(model(windows), np.float64))
        for model in (uneven, keras_s4.reduce(uneven, {"block_1/dss": 2}))
    )
    expected, found = (each - each.mean(axis=1, keepdims=True) for each in (expected, found))
    assert losses[1] == pytest.approx(np.sum((found - expected) ** 2) / np.sum(expected**2), rel=1e-3)


def test_losses_between_those_measured_are_interpolated():
    """Twelve models for a part of 64 ranks, whose loss is a power of the rank."""
    part = MadeUpPart(tuple(np.arange(64.0, 0.0, -1.0)))
    asked = []

    def loss(chosen):
        asked.append(chosen["made up"])
        return float(chosen["made up"]) ** -3

    losses = losses_of(part, {"made up": part}, loss)
    assert len(asked) <= 12 and {1, 63} <= set(asked)
    between = np.interp(np.log(np.arange(1, 64)), np.log(sorted(asked)), -3 * np.log(sorted(asked)))
    np.testing.assert_allclose(losses, [*np.exp(between), 0.0])


def test_exchanges_find_what_single_losses_do_not_tell():
    """Alone the parts lose alike; together only "a" matters."""
    parts = {name: MadeUpPart((1.0,) * 16, name=name) for name in "ab"}
    alone = {name: np.append(np.arange(15.0, 0.0, -1.0), 0.0) for name in parts}
    budgets = Budgets(parts, {"flash": 160}, {}, alone)
    found = exchange_ranks({"a": 8, "b": 8}, parts, budgets, lambda chosen: 1.0 / chosen["a"])
    assert found == {"a": 15, "b": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "least_error got no limit; give flash, ram or multiply_accumulates"),
        ({"ram": -1}, "least_error got ram=-1; expected a positive number"),
        ({"ram": 200}, "ram=200, but one mode per channel already takes 256"),
        ({"ram": RAM, "of": "energy"}, "of='energy'; expected one of 'outputs', 'bound'"),
        ({"ram": RAM, "method": "best"}, "method='best'; expected one of"),
        ({"ram": RAM, "method": "h2", "order": 3}, "Received order for method 'h2'"),
        ({"ram": RAM, "parts": {}}, "`parts` is empty"),
    ],
)
def test_refusals(uneven, windows, arguments, message):
    with pytest.raises(ValueError, match=message):
        ranks.least_error(uneven, windows, **arguments)


def test_data_that_the_model_does_not_take_are_refused(uneven, windows):
    with pytest.raises(ValueError, match=r"takes data of shape \[B, 40, 3\]"):
        ranks.least_error(uneven, windows[:, 1:], ram=RAM)
    with pytest.raises(TypeError, match="wrong order"):
        ranks.least_error(windows, uneven, ram=RAM)
