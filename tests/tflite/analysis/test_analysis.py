"""The analysis against what the emulator really does."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from conformance import shake
from rich.console import Console

from keras_s4 import models
from keras_s4.layers import DSS
from keras_s4.testing.programs import SINGLE, single
from keras_s4.tflite import analyse, convert
from keras_s4.tflite.analysis.noise_model import NoiseModel
from keras_s4.tflite.analysis.real_arithmetic import RUNS
from keras_s4.tflite.analysis.realised import realised_kernel
from keras_s4.tflite.analysis.states import kernel_error, l1_norms, zero_input_decay
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.operations import Add, DiagonalStep, FullyConnected
from keras_s4.tflite.program.program import Program, State, limits
from keras_s4.tflite.program.tensors import Tensor

LENGTH, CHANNELS, MODES = 300, 3, 3
RADII = (0.9, 0.99, 0.999, 0.9999)
DECAY_STEPS = 1500


def dss_model(radius, length=LENGTH):
    """One DSS layer whose modes have one radius and random frequencies, and data for it."""
    layer = DSS(MODES, per_channel_poles=True, name="dss")
    model = keras.Sequential([keras.Input((length, CHANNELS)), layer])
    random = np.random.default_rng(5)
    layer.log_decay.assign(np.log(np.full((CHANNELS, MODES), -np.log(radius))))
    layer.frequency.assign(random.uniform(0.01, 1.0, (CHANNELS, MODES)))
    layer.log_time_step.assign(np.zeros(CHANNELS))
    return model, random.normal(size=(4, length, CHANNELS))


@pytest.fixture(scope="module", params=RADII)
def layer(request):
    """A converted DSS layer, its data, its step, and the analysis."""
    model, x = dss_model(request.param)
    converted = convert(model, x)
    (step,) = (operation for operation in converted.program.operations if isinstance(operation, DiagonalStep))
    return model, converted, x, step, analyse(converted, x, model, steps=DECAY_STEPS)


def small_models():
    random = np.random.default_rng(0)
    noise = random.normal(size=(24, 60, 3))
    yield models.classifier((60, 3), 4, channels=8, states=6, blocks=2), noise
    walks = np.cumsum(random.normal(size=(24, 120, 2)), axis=1) / 5
    yield models.classifier((120, 2), 3, channels=6, states=4, blocks=2), walks
    yield models.sequence_to_sequence((60, 3), 2, channels=6, states=4, blocks=1), noise


@pytest.fixture(scope="module")
def shaken():
    keras.utils.set_random_seed(0)
    pairs = [(shake(model), x) for model, x in small_models()]
    return [(model, x, convert(model, x)) for model, x in pairs]


@pytest.fixture(scope="module")
def analysed(shaken):
    return [analyse(converted, x, model, steps=200) for model, x, converted in shaken]


def without_tail(program, index, **changes):
    """A program with one operation changed."""
    operations = list(program.operations)
    operations[index] = dataclasses.replace(operations[index], **changes)
    return dataclasses.replace(program, operations=tuple(operations))


class TestStates:
    def test_peaks_are_those_that_the_emulator_reaches(self, layer):
        _, converted, x, step, analysis = layer
        states = analysis.layers[0].states
        trace = Emulator(converted.program).trace(converted.quantize(x), record=[step.next_state.name])
        recorded = np.abs(trace.tensors[step.next_state.name].astype(np.int64)).max(axis=(0, 1, 2)).T
        # The emulator's states differ by their rounding alone.
        np.testing.assert_allclose(states.peaks["data"], recorded, rtol=0.01)
        np.testing.assert_allclose(states.headroom("data", "int32"), np.log2(2.0**31 / recorded), atol=0.02)
        np.testing.assert_allclose(states.headroom("data"), np.log2(2.0**30 / recorded), atol=0.02)

    def test_worst_case_is_reached_by_the_input_that_it_stands_for(self, layer):
        """Signs of the reversed impulse response, at full range, drive a state near its bound and never beyond."""
        _, _, _, step, analysis = layer
        states = analysis.layers[0].states
        gain = complex(*step.input_gain.data[:, 0, 0])
        response = gain * states.poles[0, 0] ** np.arange(200_000)
        sums = [np.abs(part).sum() for part in (response.real, response.imag)]
        assert max(sums) * 2**15 <= states.peaks["worst"][0, 0] * (1 + 1e-9)
        assert states.peaks["worst"][0, 0] <= max(sums) * 2**15 * np.pi / 2
        assert np.all(states.peaks["data"] <= states.peaks["range"] * (1 + 1e-9))
        assert np.all(states.peaks["range"] <= states.peaks["worst"])

    def test_norm_of_a_real_pole_is_a_geometric_series(self):
        poles, gains = np.array([[0.99999 + 0j, 0.5 + 0j]]), np.array([[3.0 - 1.0j, 2.0 + 5.0j]])
        np.testing.assert_allclose(l1_norms(poles, gains), [[3e5, 10.0]], rtol=1e-4)

    def test_decay_is_that_of_the_emulator_fed_with_zeros(self, layer):
        _, converted, _, _, analysis = layer
        states = analysis.layers[0].states
        start = np.rint(states.peaks["data"]).astype(np.int32)
        state = np.zeros((1, 2, MODES, CHANNELS), np.int32)
        state[0, 0] = start.T
        silence = np.zeros((1, DECAY_STEPS, CHANNELS), np.int16)
        (final,) = Emulator(converted.program).trace(silence, states=(state,)).final_states
        left = np.hypot(*final[0].astype(float)).T / start
        np.testing.assert_array_equal(states.decay, left)
        assert np.all(states.decay_steps == DECAY_STEPS)

    def test_rounding_keeps_no_more_than_its_bound(self, layer):
        *_, analysis = layer
        states = analysis.layers[0].states
        kept = (states.decay - np.abs(states.poles) ** DECAY_STEPS) * states.peaks["data"]
        assert np.all(kept <= states.cycle_bound)
        np.testing.assert_allclose(states.dead_part * states.peaks["data"], states.dead_zone)

    def test_dead_zone_is_where_the_emulator_stands_still(self, layer):
        """But where rounding errors are fed back: there states go on until they are a few units."""
        _, converted, _, step, analysis = layer
        fed = np.zeros((MODES, CHANNELS), bool) if step.feedback is None else step.feedback
        dead = analysis.layers[0].states.dead_zone
        silence = np.zeros((1, 1, CHANNELS), np.int16)
        emulator = Emulator(converted.program)
        for value, stands_still in ((dead, True), (-dead, True), (dead + 2, False), (-dead - 2, False)):
            state = np.full((1, 2, MODES, CHANNELS), value, np.int32)
            (after,) = emulator.trace(silence, states=(state,)).final_states
            assert fed.all() or np.all((after == state)[..., ~fed]) == stands_still
        rounded_to_zero = np.full((1, 2, MODES, CHANNELS), 2**13, np.int32)
        (after,) = emulator.trace(silence, states=(rounded_to_zero,)).final_states
        np.testing.assert_array_equal((after != rounded_to_zero).any(axis=(0, 1)), fed)

    def test_poles_and_kernel_are_compared_with_the_trained_ones(self, layer):
        model, converted, x, step, analysis = layer
        states = analysis.layers[0].states
        system = model.layers[0].system()
        # The program has the modes of a channel in another order.
        nearest = np.abs(states.poles[:, :, None] - system.poles[:, None]).min(axis=2)
        np.testing.assert_allclose(states.pole_error, nearest)
        assert 0 < states.pole_error.max() < 3 * 2.0**-15
        # The impulse response that the integers stand for, by an impulse into the emulator.
        impulse = np.zeros((1, LENGTH, CHANNELS))
        size = float(np.abs(x).max())
        impulse[:, 0] = size
        tensor = converted.program.outputs[0]
        received = Emulator(converted.program).run(converted.quantize(impulse))[0].T * tensor.scale / size
        kernel = realised_kernel(step, LENGTH)
        assert np.abs(received - kernel).max() < 0.02 * np.abs(kernel).max()
        target = system.impulse_response(LENGTH)
        expected = np.linalg.norm(kernel - target, axis=1) / np.linalg.norm(target, axis=1)
        np.testing.assert_allclose(states.kernel_error, expected)
        assert expected.max() < 0.02

    def test_following_stops_when_the_ideal_state_has_nearly_gone(self):
        model, x = dss_model(0.9, length=50)
        states = analyse(convert(model, x), x).layers[0].states
        assert states.pole_error is None
        np.testing.assert_allclose(states.ideal_decay, 1e-3, rtol=0.11)
        np.testing.assert_allclose(states.decay_steps, np.log(1e-3) / np.log(0.9), atol=1)

    def test_states_that_start_at_zero_have_no_decay(self, layer):
        step = layer[3]
        shape = (CHANNELS, MODES)
        assert not zero_input_decay(step, np.zeros(shape), np.full(shape, 3)).any()


class TestSignalToNoise:
    def test_of_single_layers(self, layer):
        *_, analysis = layer
        assert analysis.predicted == pytest.approx(analysis.measured, abs=3)
        assert analysis.layers[0].predicted == pytest.approx(analysis.predicted, abs=0.01)

    @pytest.mark.parametrize("index", range(3))
    def test_of_models(self, analysed, index):
        analysis = analysed[index]
        assert analysis.predicted == pytest.approx(analysis.measured, abs=6)
        assert 20 < analysis.predicted < 70
        for layer in analysis.layers:
            assert layer.predicted == pytest.approx(layer.measured, abs=3)

    def test_measured_is_that_of_the_probabilities_logarithms(self, shaken, analysed):
        model, x, converted = shaken[0]
        expected, received = (np.log(predict(x)) for predict in (model.predict, converted.predict))
        expected, received = (values - values.mean(axis=1, keepdims=True) for values in (expected, received))
        ratio = 10 * np.log10(np.mean(expected**2) / np.mean((received - expected) ** 2))
        assert analysed[0].measured == pytest.approx(ratio, abs=0.1)

    def test_noise_is_shared_out_among_stages(self, shaken, analysed):
        noise = analysed[0].noise
        assert sum(noise.values()) == pytest.approx(1.0)
        assert list(noise.values()) == sorted(noise.values(), reverse=True)
        assert set(noise) == {"coefficients", *NoiseModel(shaken[0][2].program).stages}

    def test_without_the_model_coefficients_are_taken_as_right(self, shaken, analysed):
        _, x, converted = shaken[0]
        analysis = analyse(converted, x, steps=10)
        assert analysis.noise["coefficients"] == 0.0
        assert analysis.predicted > analysed[0].predicted
        assert analysis.predicted == pytest.approx(analysis.measured, abs=6)
        assert analysis.layers[0].states.kernel_error is None

    def test_recurrences_have_no_noise_model(self):
        x = Tensor("x", (2,), "int16", 2.0**-12)
        before, after = (Tensor(name, (2,), "int16", 2.0**-12) for name in ("before", "after"))
        add = Add(before, x, 1, 1, 2.0**-12, after)
        with pytest.raises(NotImplementedError, match="Add reads a state: a recurrence"):
            NoiseModel(Program("recurrent", (x,), (after,), (State(before, after),), (add,)))

    @pytest.mark.parametrize("name", [name for name in SINGLE if name != "state_int16"])
    def test_real_arithmetic_is_what_the_emulator_rounds(self, name):
        """Every operation, on samples within its range, differs from the emulator by the rounding that is foreseen."""
        program = single(name)
        (source,) = program.inputs
        low, high = limits(program, source)
        x = np.random.default_rng(1).integers(low // 2, high // 2, (8, 40, *source.shape), source.type)
        signal = (x.astype(np.float64) - source.zero_point) * source.scale
        noise_model = NoiseModel(program)
        # The input comes without error: what is compared is what the operations add.
        stages = [stage for stage in noise_model.stages if stage != source.name]
        exact, noisy = noise_model.run([signal]), noise_model.run([signal], stages)
        trace = Emulator(program).trace(x)
        for tensor, integers in zip(program.outputs, trace.outputs, strict=True):
            received = (integers.astype(np.float64) - tensor.zero_point) * tensor.scale
            error, foreseen = (np.sqrt(np.mean((v - exact[tensor.name]) ** 2)) for v in (received, noisy[tensor.name]))
            size = np.sqrt(np.mean(exact[tensor.name] ** 2))
            assert error <= 2.0 * foreseen + 1e-9 * size, tensor.name
            # Few different sums may all happen to be whole, as those of int8 numbers.
            if name.startswith(("fully_connected", "diagonal_step", "depthwise")):
                assert foreseen <= 2.0 * error, tensor.name

    def test_what_has_no_noise_model_is_named(self, shaken, monkeypatch):
        _, x, converted = shaken[0]
        monkeypatch.delitem(RUNS, FullyConnected)
        analysis = analyse(converted, x, steps=10)
        assert analysis.predicted is None
        assert analysis.layers[0].predicted is None
        assert analysis.noise == {}
        assert analysis.warnings[-1] == (
            "No signal-to-noise ratio is predicted: there is no real arithmetic for FullyConnected."
        )
        assert analysis.layers[0].states.peaks["data"].max() > 0
        json.dumps(analysis.figures(), allow_nan=False)


class TestVerdict:
    def test_good_models_are_not_refused(self, analysed):
        assert [analysis.refusals for analysis in analysed] == [[], [], []]

    def test_a_coarse_output_is_refused_with_its_number_and_stage(self, shaken):
        model, x, converted = shaken[0]
        index = len(converted.program.operations) - 1
        head = converted.program.operations[index]
        coarse = dataclasses.replace(head.output, scale=head.output.scale * 10_000, type="int16")
        program = dataclasses.replace(without_tail(converted.program, index, output=coarse), outputs=(coarse,))
        analysis = analyse(program, x, model, steps=10)
        assert analysis.predicted < 10
        assert analysis.measured == pytest.approx(analysis.predicted, abs=6)
        (refusal,) = analysis.refusals
        assert f"signal-to-noise ratio is {analysis.predicted:.1f} dB; it needs 10 dB" in refusal
        assert "of the noise comes from head/product. int16 activations would work" in refusal

    def test_wrong_poles_are_refused_with_the_error_of_the_kernel(self):
        model, x = dss_model(0.99)
        converted = convert(model, x)
        index = len(converted.program.operations) - 1
        step = converted.program.operations[index]
        decay = dataclasses.replace(step.decay, data=step.decay.data - 3000)
        analysis = analyse(without_tail(converted.program, index, decay=decay), x, model, steps=10)
        (refusal,) = analysis.refusals
        error = analysis.layers[0].states.kernel_error.max()
        assert f"which change an impulse response by {error:.0%}. Faster modes would work" in refusal

    def test_states_that_overflow_on_the_data_are_refused(self):
        model, x = dss_model(0.999)
        converted = convert(model, x / 64)
        # Samples beyond the calibrated range saturate at the input; so the gain is what is wrong here.
        index = len(converted.program.operations) - 1
        step = converted.program.operations[index]
        for factor, kinds in ((10, ["lacks"]), (64, ["32-bit accumulator wraps", "lacks"])):
            gain = dataclasses.replace(step.input_gain, data=step.input_gain.data * factor)
            analysis = analyse(without_tail(converted.program, index, input_gain=gain), x / 64, steps=10)
            assert len(analysis.refusals) >= len(kinds)
            for refusal, kind in zip(analysis.refusals, kinds, strict=False):
                assert kind in refusal
            lacking = -analysis.layers[0].states.headroom("data").min()
            assert lacking == pytest.approx(np.log2(factor) - 3, abs=0.5)
            assert any(f"lacks {lacking:.1f} bits and saturates" in refusal for refusal in analysis.refusals)

    def test_worst_inputs_are_warnings(self):
        """Memories of modes that turn fast are none: their rounding errors are fed back."""
        model, x = dss_model(0.999)
        analysis = analyse(convert(model, x), x / 16, model, steps=7000)
        assert analysis.refusals == []
        (wrap,) = analysis.warnings
        assert "worst input of the full int16 range would wrap the state of mode" in wrap

    def test_long_memories_without_feedback_are_warnings(self):
        model, x = dss_model(0.999)
        converted = convert(model, x)
        index = len(converted.program.operations) - 1
        analysis = analyse(without_tail(converted.program, index, feedback=None), x / 16, model, steps=7000)
        assert any("after 7,000 steps without input, the state of mode" in warning for warning in analysis.warnings)


class TestReport:
    def test_tables_fit_80_columns(self, analysed):
        console = Console(width=1000)
        analysis = analysed[0]
        for table in (analysis.table(), analysis.states_table("block_1/dss"), analysis.noise_table()):
            assert console.measure(table).maximum <= 80
        assert len(analysis.table().rows) == 3
        assert len(analysis.states_table("block_2/dss").rows) == 8 * 6
        assert "block_1/dss" in str(analysis)

    def test_figures_are_json(self, analysed):
        for analysis in analysed:
            figures = json.loads(json.dumps(analysis.figures(), allow_nan=False))
            states = figures["layers"]["block_1/dss"]
            assert np.shape(states["headroom_int16"]["data"]) == np.shape(states["decay"])
            assert figures["predicted_db"] == analysis.predicted

    def test_unknown_layers_are_refused(self, analysed):
        with pytest.raises(ValueError, match="no DSS layer 'block_7'; there are block_1/dss, block_2/dss"):
            analysed[0].states_table("block_7")


class TestOtherPrograms:
    def test_of_blocks_is_measured_as_single_steps(self, shaken, analysed):
        """All but the prediction: the numbers of a block are those of its steps."""
        for index in (0, 2):  # one that pools over time, one that gives sequences
            model, x, _ = shaken[index]
            blocks, single = (
                analyse(convert(model, x, steps=4), x, model, steps=200).figures(),
                analysed[index].figures(),
            )
            assert blocks["predicted_db"] is None
            assert "takes 4 steps at once" in blocks["warnings"][-1]
            assert blocks["measured_db"] == single["measured_db"]
            for name, layer in single["layers"].items():
                assert blocks["layers"][name] == {**layer, "predicted_db": None}

    def test_behind_layers_that_drop_steps(self):
        """A DSS layer has half the steps: its kernel is compared over as many, its output with that of the model."""
        layer = DSS(MODES, name="dss")
        model = shake(keras.Sequential([keras.Input((60, CHANNELS)), keras.layers.AveragePooling1D(2), layer]))
        x = np.random.default_rng(0).normal(size=(8, 60, CHANNELS))
        converted = convert(model, x)
        (step,) = (operation for operation in converted.program.operations if isinstance(operation, DiagonalStep))
        analysis = analyse(converted, x, model, steps=100)
        assert analysis.measured == pytest.approx(analysis.layers[0].measured, abs=0.01)
        assert analysis.measured > 30
        over_half = kernel_error(step, layer.system(), 30)
        np.testing.assert_array_equal(analysis.layers[0].states.kernel_error, over_half)
        assert np.all(over_half != kernel_error(step, layer.system(), 60))

    def test_several_inputs(self):
        """Zeros at the second input, which is added, leave what the model of the first alone has."""
        random = np.random.default_rng(0)
        x, zeros = random.normal(size=(8, 60, CHANNELS)), np.zeros((8, 60, CHANNELS))
        a, b = keras.Input((60, CHANNELS), name="a"), keras.Input((60, CHANNELS), name="b")
        layer = DSS(MODES, name="dss")
        both = shake(keras.Model([a, b], layer(keras.layers.Add()([a, b]))))
        analysis = analyse(convert(both, [x, x]), [x, zeros], both, steps=100)
        assert analysis.predicted == pytest.approx(analysis.measured, abs=3)
        assert analysis.measured > 25
        named = analyse(convert(both, [x, x]), {"b": zeros, "a": x}, both, steps=100)
        assert named.figures() == analysis.figures()

    def test_sequences_of_which_the_model_has_no_beginning(self):
        """A convolution without padding gives fewer steps than its program, which starts with steps without meaning."""
        model = shake(keras.Sequential([keras.Input((60, CHANNELS)), keras.layers.Conv1D(2, 5)]))
        x = np.random.default_rng(0).normal(size=(8, 60, CHANNELS))
        analysis = analyse(convert(model, x), x, model)
        assert analysis.predicted == pytest.approx(analysis.measured, abs=3)
        assert analysis.measured > 30


class TestInput:
    def test_several_inputs_must_fit(self):
        a, b = keras.Input((60, 3), name="a"), keras.Input((60, 1), name="b")
        model = keras.Model([a, b], keras.layers.Multiply()([a, b]))
        x = np.random.default_rng(0).normal(size=(4, 60, 3))
        converted = convert(model, [x, x[..., :1]])
        with pytest.raises(ValueError, match="has 2 inputs"):
            analyse(converted, x)
        with pytest.raises(ValueError, match=r"input 'b' of program .* takes \[B, L, 1\]"):
            analyse(converted, [x, x])
        with pytest.raises(ValueError, match=r"shapes \[\[4, 60, 3\], \[3, 60, 1\]\]; expected as many sequences"):
            analyse(converted, [x, x[:3, :, :1]])

    def test_bad_data_is_refused(self, shaken):
        _, x, converted = shaken[0]
        with pytest.raises(ValueError, match=r"data of shape \[24, 60\]; input 'input' of .* takes \[B, L, 3\]"):
            analyse(converted, x[..., 0])
        with pytest.raises(ValueError, match=r"data of shape \[0, 60, 3\]"):
            analyse(converted, x[:0])
        with pytest.raises(ValueError, match="4320 NaN"):
            analyse(converted, x * np.nan)

    def test_another_model_is_refused(self, shaken):
        _, x, converted = shaken[0]
        with pytest.raises(ValueError, match="DSS layer 'block_1/dss' of 8 channels and 6 modes, which model"):
            analyse(converted, x, shaken[1][0])
