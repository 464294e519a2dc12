"""Programs on boards: what is derived from cycles, what is refused, and what is said where nothing can be counted."""

import dataclasses
import importlib
import json

import numpy as np
import pytest

from keras_s4 import tflite
from keras_s4.costs import Board, boards, estimate, estimate_boards, estimates_table, features, model
from keras_s4.costs.boards import FACTS, Source
from keras_s4.costs.estimate import UNKNOWN, Estimate, notes
from keras_s4.costs.ranges import Range
from keras_s4.costs.step_cost import COUNTED, StepCost
from keras_s4.costs.timings import TIMINGS
from keras_s4.testing import programs

BOARD = Board(
    "mine", "Mine", "chip", "m4", 100.0, 20_000, 2_000, "slow flash", Range(1.0, 1.5), 3.0, 9.0, sleep_microamperes=5.0
)
COST = StepCost("m4", COUNTED, "cc 1", 8_000.0, Range(10_000, 12_000), 10_400.0, 3_000, 9_000, 1_500, 200)


@pytest.fixture(scope="module")
def program():
    return programs.model(lowered=True)


def test_time_load_and_energy_are_derived():
    found = Estimate(BOARD, COST, 50.0)
    assert found.microseconds == Range(100, 180)
    assert found.likely_microseconds == pytest.approx(130)
    assert found.load.low == pytest.approx(0.005) and found.load.high == pytest.approx(0.009)
    # 13,000 cycles of 9 mA at 3 V and 100 MHz: 0.27 nJ each.
    assert found.microjoules == pytest.approx(3.51)
    # 50 of these a second at 3 V, and 5 uA in the rest of the time.
    assert found.average_microamperes == pytest.approx(50 * 3.51 / 3 + (1 - 0.0065) * 5)
    assert found.fits and found.keeps_up
    assert json.loads(json.dumps(found.to_json()))["estimated_cycles"] == [10_000, 18_000]
    assert "estimated" in str(found)


def test_what_does_not_fit_or_keep_up_is_said():
    small = Board("s", "Small", "chip", "m4", 1.0, 11_000, 2_000, "", Range(1.0, 1.0))
    found = Estimate(small, COST, 200.0)
    assert not found.fits and not found.keeps_up
    assert found.microjoules is None and found.average_microamperes is None
    said = notes([found])
    assert any("does not fit" in note for note in said) and any("may not keep up with 200" in note for note in said)


def test_unknown_energy_is_said():
    board = Board("s", "Small", "chip", "m4", 100.0, 20_000, 2_000, "", Range(1.0, 1.0))
    found = Estimate(board, COST, 50.0)
    assert "Small: its energy is not known, for want of a source for its current." in notes([found])
    energy, current = list(estimates_table([found]).columns[1].cells)[-2:]
    assert energy == current == UNKNOWN
    awake = Estimate(dataclasses.replace(BOARD, sleep_microamperes=None), COST, 50.0)
    assert "Mine: its average current is not known, for want of a source for its sleep." in notes([awake])
    assert list(estimates_table([awake]).columns[1].cells)[-2:] == ["3.51", UNKNOWN]
    assert not any("not known" in note for note in notes([Estimate(BOARD, COST, 50.0)]))


def test_assumptions_are_called_so():
    source = Source(("volts", "run_milliamperes"), "of USB", assumed=True)
    found = Estimate(dataclasses.replace(BOARD, sources=("a datasheet", source)), COST, 50.0)
    said = notes([found, Estimate(dataclasses.replace(BOARD, name="other"), COST, 50.0)])
    assert "Mine: voltage, run current, assumed: of USB." in said
    assert "Mine: slow flash, assumed to cost up to 1.5 times the cycles." in said
    assert [note for note in said if note.startswith("Cycles of M4, assumed: ")] == said[-1:]
    written = found.to_json()
    assert written["sources"] == ["a datasheet", "voltage, run current, assumed: of USB"]
    assert written["assumed"] == [written["sources"][1], f"cycles, assumed: {TIMINGS['m4'].assumed}"]


def test_every_core_without_a_table_of_arms_says_what_is_assumed():
    for core, timing in TIMINGS.items():
        assert len(timing.source) > 20 and timing.assumed, core
        assert ("no table of Arm's" in timing.source) == bool(timing.latencies), core


def test_without_a_rate_there_is_no_load():
    found = Estimate(BOARD, COST)
    assert found.load is None and found.keeps_up is None and found.average_microamperes is None
    assert "load" not in str(found)


class TestBoards:
    def test_each_has_a_timed_core_and_sources(self):
        assert len(boards()) >= 15
        for board in boards().values():
            assert board.core in (*TIMINGS, "avr", "rv32"), board.name
            assert 1 <= board.wait_states.low <= board.wait_states.high < 3
            assert board.flash_bytes >= 32 * 1024 and board.ram_bytes >= 2 * 1024 and 16 <= board.clock_mhz <= 1000
            energy = board.nanojoules_a_cycle
            assert energy is None or 0.02 < energy < 10

    def test_each_figure_has_one_source_and_no_source_tells_of_a_figure_that_is_not_stated(self):
        for board in boards().values():
            told = [fact for source in board.sources for fact in source.facts]
            assert sorted(told) == sorted(fact for fact in FACTS if getattr(board, fact) is not None), board.name
            assert all(len(source.text) > 20 or source.assumed for source in board.sources), board.name

    def test_a_factor_for_slow_memory_is_assumed(self):
        for board in boards().values():
            (source,) = (source for source in board.sources if "wait_states" in source.facts)
            assert source.assumed or board.wait_states == Range(1, 1), board.name

    def test_energy_is_that_of_the_sources(self):
        def picojoules(name):
            return 1000 * boards()[name].nanojoules_a_cycle

        # MLPerf Tiny: microjoules an inference, inferences a second, megahertz.
        assert picojoules("nucleo-l4r5zi") == pytest.approx(5481.633 * 13.744 / 120, rel=0.005)
        assert picojoules("b-u585i-iot02a") == pytest.approx(664.424 * 34.49 / 160, rel=0.005)
        # Datasheets: microamperes a megahertz, volts.
        assert picojoules("metro-m4") == pytest.approx(137 * 3.3, rel=0.005)
        assert picojoules("nucleo-f411re") == pytest.approx(100 * 3.3, rel=0.005)
        # Milliamperes at megahertz.
        assert picojoules("nrf54l15-dk") == pytest.approx(2.6 / 128 * 3e3, rel=0.005)
        assert picojoules("arduino-uno") == pytest.approx(5.2 / 8 * 5e3, rel=0.005)

    def test_all_cores_have_one(self):
        assert {board.core for board in boards().values()} >= {"m0+", "m3", "m4", "m7", "m33", "m55", "avr", "rv32"}

    def test_an_unknown_one_is_refused_with_the_list(self, program):
        with pytest.raises(ValueError, match=r"Received board 'nano-34'; expected one of .*teensy-4\.1"):
            estimate(program, "nano-34")

    def test_names_may_be_written_otherwise(self, program):
        assert estimate(program, "Teensy 4.1", method="modelled").board.name == "teensy-4.1"


class TestCounted:
    def test_is_what_the_emulators_say(self, program):
        targets = pytest.importorskip("keras_s4.testing.targets")
        inputs = [np.zeros((1, 6, *tensor.shape), tensor.type) for tensor in program.inputs]
        found = tflite.estimate(program, "nucleo-l4r5zi", 50, "counted", inputs)
        image = targets.build(program, targets.CORES["m4"], "gcc" if "gcc" in found.cost.compiler else "zig")
        run = targets.run(image, inputs)
        assert found.cost.instructions == run.instructions_per_step
        assert found.cost.stack_bytes == run.stack_bytes
        assert (found.cost.code_bytes, found.cost.ram_bytes) == (image.code_bytes, image.state_bytes)
        # A Cortex-M4 issues one instruction a cycle at most, and takes two on the average of none of ours.
        assert found.cost.instructions < found.cost.likely_cycles < 2 * found.cost.instructions

    def test_without_tools_the_cost_model_answers_and_says_so(self, program, monkeypatch):
        def missing(name, package=None):
            raise ModuleNotFoundError("No module named 'unicorn'", name="unicorn")

        monkeypatch.setattr(importlib, "import_module", missing)
        found = estimate(program, "nucleo-l4r5zi", 50)
        assert found.is_modelled
        assert "No module named 'unicorn'; pip install 'keras-s4[bench]'" in found.note
        with pytest.raises(RuntimeError, match="cannot be counted: No module named 'unicorn'"):
            estimate(program, "nucleo-l4r5zi", method="counted")

    def test_cores_are_counted_once(self, program, monkeypatch):
        counted = []
        monkeypatch.setattr(
            importlib,
            "import_module",
            lambda name: type(
                "C", (), {"measure_on_cortex_m": staticmethod(lambda *a, **k: counted.append(a) or COST)}
            ),
        )
        found = estimate_boards(program, ["nucleo-l4r5zi", "microbit-v2"], 50)
        assert len(counted) == 1 and len(found) == 2
        assert len(estimates_table(found).columns) == 3


class TestRefused:
    def test_something_else_than_a_program(self):
        with pytest.raises(TypeError, match="estimate got str; expected an integer program"):
            estimate("model.keras", "teensy-4.1")

    @pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "50"])
    def test_a_rate_that_is_none(self, program, rate):
        with pytest.raises(ValueError, match="expected steps a second, above 0"):
            estimate(program, "teensy-4.1", rate)

    def test_a_board_with_an_unknown_core(self, program):
        with pytest.raises(ValueError, match=r"board mine has core='m85'; expected one of 'm0', .*'rv32'"):
            estimate(program, dataclasses.replace(BOARD, core="m85"))

    def test_an_unknown_method(self, program):
        with pytest.raises(ValueError, match="method='guessed'; expected one of 'auto', 'counted', 'modelled'"):
            estimate(program, "teensy-4.1", method="guessed")


class TestCostModel:
    def test_knows_all_cores_and_its_errors(self):
        for core in (*TIMINGS, "avr", "rv32"):
            found = [row for row in model.coefficients()["cores"][core]["errors"].values() if row]
            assert found
            for median, worst, count in found:
                assert count >= 2 and 0 <= median <= worst < 1
                assert f"{median:.1%}" in model.expected_error(core)

    def test_more_work_costs_more(self):
        small, large = (programs.model(blocks=blocks, lowered=True) for blocks in (1, 3))
        for core in TIMINGS:
            one, three = model.predict(small, core), model.predict(large, core)
            assert one.instructions < three.instructions and one.cycles.low < three.cycles.low
            assert one.cycles.low <= one.likely_cycles <= one.cycles.high

    def test_least_squares_of_relative_errors(self):
        rows = [{"a": 1, "b": 2}, {"a": 3, "b": 1}, {"a": 2, "b": 5}]
        values = [10 * row["a"] + 3 * row["b"] for row in rows]
        found = model.fit(rows, values, lambda name: 1.0, trust=1e-9)
        assert found == pytest.approx({"a": 10, "b": 3}, rel=1e-3)

    def test_what_is_always_together_is_told_apart_by_what_is_expected(self):
        rows = [{"a": size, "b": 2 * size} for size in (1, 2, 5)]
        found = model.fit(rows, [7 * row["a"] for row in rows], {"a": 5.0, "b": 10.0}.get)
        assert found == pytest.approx({"a": 1.4, "b": 2.8}, rel=0.01)

    def test_a_value_may_be_explained_in_part_with_errors_relative_to_the_whole(self):
        rows, values = [{"a": 1}, {"a": 2}], [1.0, 4.0]
        found = model.fit(rows, values, lambda name: 1.0, whole=[1.0, 1e6], trust=1e-9)
        assert found == pytest.approx({"a": 1.0}, rel=1e-3)

    def test_statements_that_were_never_seen_cost_what_their_words_do(self):
        known = model.Coefficients({"w16[i] = s4_add(w16[i], N)": 9.0}, {"w16": 2.0, "s4_add": 3.0, "s4_halve": 4.0})
        assert known.of("w16[i] = s4_add(w16[i], N)") == 9
        assert known.of("w16[i] = s4_halve(s4_add(w16[i], w16[i]), N)") == 3 * 2 + 3 + 4

    def test_what_few_values_do_not_tell_is_as_on_another_core(self):
        there = model.Coefficients(
            {"run": 1.0, "w8[i] = s4_add(w8[i], N)": 10.0, "w8[i] = s4_halve(w8[i], N)": 20.0},
            {"run": 1.0, "w8": 2.0, "s4_add": 5.0, "s4_halve": 5.0},
        )
        rows = [
            {"run": 1, "w8[i] = s4_add(w8[i], N)": size, "w8[i] = s4_halve(w8[i], N)": size} for size in (900, 9000)
        ]
        values = [2 + 60 * size for size in (900, 9000)]
        found = model.fit_figure(rows, values, lambda name: 1.0, like=there)
        # Alone, both would be told to cost the same.
        assert found.known["w8[i] = s4_halve(w8[i], N)"] == pytest.approx(40, rel=0.05)
        assert found.known["w8[i] = s4_add(w8[i], N)"] == pytest.approx(20, rel=0.05)

    def test_a_kernel_that_the_model_was_not_fitted_to_is_refused(self, program, monkeypatch):
        source = features.source_of(program)
        source["model.c"] = source["model.c"].replace(" s4_dense_", " s4_sparse_")
        monkeypatch.setattr(model, "source_of", lambda program: source)
        with pytest.raises(NotImplementedError, match="not fitted to s4_sparse_int"):
            model.predict(program, "m4")

    def test_an_unknown_core_is_refused(self, program):
        with pytest.raises(ValueError, match="received core 'm99'; it knows m0"):
            model.predict(program, "m99")
