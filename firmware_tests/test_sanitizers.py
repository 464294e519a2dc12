"""Generated C on this computer under AddressSanitizer and UndefinedBehaviorSanitizer: every value of the inputs, and
states with other bytes than any step would leave.
"""

import dataclasses

import pytest

from keras_s4.testing.programs import single
from keras_s4.testing.targets import from_any_state, from_reset
from keras_s4.testing.targets.sanitizers import build_hostile, run_hostile, sanitizing_compiler, with_gaps
from keras_s4.tflite.c99 import c_source

# Those that the random model and the classifier do without.
OPERATIONS = (
    "fully_connected_int8",
    "diagonal_step_real_poles",
    "modal_step",
    "modal_step_fed_back",
    "squash",
    "interpolate",
    "embed",
    "window_int16",
    "normalize",
    "depthwise_product",
)
STEPS = 20_000


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """Skips, with the reason, where there is none."""
    try:
        return sanitizing_compiler()
    except RuntimeError as error:
        pytest.skip(str(error))


def test_a_model(random_program, tmp_path):
    result = run_hostile(build_hostile(random_program, from_reset(random_program), tmp_path), STEPS)
    assert result == {"wrong": 0, "patterns": 2 * 2**16, "steps": STEPS, "refused": 0}


def test_a_classifier(classifier, tmp_path):
    result = run_hostile(build_hostile(classifier, from_reset(classifier), tmp_path), STEPS, patterns=False)
    assert result == {"wrong": 0, "patterns": 0, "steps": STEPS, "refused": 0}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, tmp_path):
    program = single(name, 1, lowered=True)
    result = run_hostile(build_hostile(program, from_reset(program), tmp_path), STEPS)
    assert (result["wrong"], result["steps"]) == (0, STEPS)
    assert result["patterns"] == 2 ** (9 if program.inputs[0].type == "int8" else 17) * len(program.inputs)
    assert bool(result["refused"]) == (name == "embed")


def test_states_of_all_32_bits(random_program, tmp_path):
    assert run_hostile(build_hostile(random_program, from_any_state(random_program), tmp_path), 0)["wrong"] == 0


class TestErrorsInTheCode:
    """They are found."""

    def run(self, program, folder, statement):
        sources = c_source(program, "model")
        before, end, after = sources["model.c"].rpartition("\n}\n")
        sources["model.c"] = f"{before}\n    {statement}{end}{after}"
        return run_hostile(build_hostile(program, from_reset(program), folder, sources), 10)

    @pytest.mark.parametrize(
        "statement",
        [
            "(&state->sum_56[0])[8] = 0;",
            "activation_59[0] = (int8_t)state->sum_56[state->sum_56[0]];",
            "activation_59[5] = 0;",
        ],
        ids=["write behind an array of the state", "index from a state", "write behind the outputs"],
    )
    def test_outside_of_an_array(self, statement, random_program, tmp_path):
        with pytest.raises(RuntimeError, match=r"AddressSanitizer|runtime error: index"):
            self.run(random_program, tmp_path, statement)

    def test_sums_that_overflow(self, random_program, tmp_path):
        with pytest.raises(RuntimeError, match="runtime error: signed integer overflow"):
            self.run(random_program, tmp_path, "state->sum_56[0] = INT32_MAX + x_1[0] * x_1[0];")

    def test_another_result(self, random_program, tmp_path):
        vectors = from_reset(random_program)
        outputs = vectors.outputs[0].copy()
        outputs[-1, -1, -1] ^= 1
        executable = build_hostile(random_program, dataclasses.replace(vectors, outputs=(outputs,)), tmp_path)
        assert run_hostile(executable, 0)["wrong"] == 1


def test_gaps_are_behind_every_array_of_the_state(random_program):
    header = c_source(random_program, "model")["model.h"]
    gapped, fields = with_gaps(header)
    assert len(fields) == gapped.count("gap_") == header.count("];")
    assert fields[: len(random_program.states)] == ["state_8", "state_33", "sum_56"]
