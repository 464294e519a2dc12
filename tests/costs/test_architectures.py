"""What an architecture costs before it is trained: figures of the program that a model of it would have."""

import random
import time

import keras
import numpy as np
import pytest

from keras_s4.architectures import KINDS, Architecture, build
from keras_s4.costs import architecture_cost, model, model_cost
from keras_s4.costs.untrained import own_weights
from keras_s4.tflite import convert

MOST_DRAWS = 8


@pytest.mark.parametrize("kind", KINDS)
def test_costs_what_the_program_of_a_model_of_it_costs(kind):
    architecture = Architecture(kind, width=12, blocks=1, front=(4, 2))
    found = architecture_cost(architecture, (200, 3), 5)
    with own_weights():
        built = build(architecture, (200, 3), 5)
    # Ranges of the data decide which tables are equal, and of a small RNN which kernel a product takes: of a few draws
    # one takes the same.
    programs = (
        convert(built, np.random.default_rng(seed).normal(size=(3, 200, 3))).program for seed in range(1, MOST_DRAWS)
    )
    for program in programs:
        expected = model.predict(program, "m4")
        assert found.samples == program.steps == 2
        assert found.ram_bytes == expected.ram_bytes
        assert found.constant_bytes == pytest.approx(expected.constant_bytes, abs=256)
        if found.instructions == pytest.approx(expected.instructions, rel=0.1):
            break
    else:
        pytest.fail(f"{found.instructions} instructions, of no draw; the last has {expected.instructions}")
    assert found.instructions_a_run == 2 * found.instructions


def test_a_stride_costs_less_a_sample_and_a_stack_at_a_lower_rate_too():
    def instructions(**fields):
        return architecture_cost(Architecture("gru", width=16, blocks=2, **fields), (64, 3), 5).instructions

    whole, strided, slower = instructions(), instructions(front=(4, 4)), instructions(front=(4, 4), downsample=2)
    assert slower < strided < whole / 2


def test_is_quick_the_same_each_time_and_leaves_the_callers_random_numbers():
    architecture = Architecture("dss", width=16, states=4, pooling_arguments=None)
    state = random.getstate()
    first = architecture_cost(architecture, (8000, 1), 10)
    assert random.getstate() == state
    keras.utils.set_random_seed(5)
    begun = time.process_time()
    assert architecture_cost(architecture, (16_000, 1), 10) == first
    middle = time.process_time()
    assert architecture_cost(architecture, [16_000, 1], 10) == first
    assert middle - begun < 5 and time.process_time() - middle < 0.05


def test_every_core_of_the_cost_model_is_known_and_others_are_refused():
    architecture = Architecture("rnn", width=8, blocks=1)
    costs = [architecture_cost(architecture, (32, 2), 3, core) for core in model.coefficients()["cores"]]
    assert all(cost.likely_cycles > 0 and cost.flash_bytes > 0 and cost.ram_bytes > 0 for cost in costs)
    with pytest.raises(ValueError, match="received core 'm99'"):
        architecture_cost(architecture, (32, 2), 3, "m99")


def test_a_model_costs_what_its_architecture_does_and_int16_takes_more():
    architecture = Architecture("cnn", width=12, blocks=2)
    built = build(architecture, (96, 3), 5)
    small, wide = model_cost(built), model_cost(built, activations="int16")
    assert small.instructions == pytest.approx(architecture_cost(architecture, (96, 3), 5).instructions, rel=0.05)
    assert wide.ram_bytes > small.ram_bytes
