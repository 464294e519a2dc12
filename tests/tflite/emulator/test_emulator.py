"""The emulator against the formulas in `program`, written out a second time with Python's own integers and floats."""

import dataclasses

import numpy as np
import pytest

from keras_s4.testing.programs import SINGLE, Builder, model, random_inputs, single
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import Accumulate, Affine, DiagonalStep, ModalStep, SlidingSum
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor


def stream(program: Program, batch: int = 3, length: int = 40, seed: int = 0) -> np.ndarray:
    return random_inputs(program, batch, length, seed)


def operation_of(program: Program, kind: type):
    return next(operation for operation in program.operations if isinstance(operation, kind))


def real(tensor: Tensor, q: np.ndarray) -> np.ndarray:
    return (q.astype(np.float64) - tensor.zero_point) * tensor.scale


def assert_rounded(tensor: Tensor, q: np.ndarray, exact: np.ndarray, units: float = 0.76):
    """The integers are near the real numbers, clamped. Rounding twice costs up to 0.75 units (a shift by one bit)."""
    limits = np.iinfo(tensor.type)
    expected = np.clip(exact / tensor.scale + tensor.zero_point, limits.min, limits.max)
    assert np.abs(q - expected).max() <= units


class TestOperations:
    """Each operation computes the real function that it stands for, within its rounding."""

    @pytest.mark.parametrize(("kind", "units"), [("int8", 0.76), ("int16", 2.0)])
    def test_fully_connected(self, kind, units):
        # A 15-bit mantissa moves large int16 results by up to 2**-15 of their value.
        program = single(f"fully_connected_{kind}")
        (operation,) = program.operations
        x = stream(program)
        weights = operation.weights.data * operation.weights.scale
        exact = real(operation.input, x) @ weights.T + operation.bias.data * operation.bias.scale
        assert_rounded(operation.output, Emulator(program).run(x), exact, units)

    @pytest.mark.parametrize("kind", ["int8", "int16"])
    def test_affine(self, kind):
        program = single(f"affine_{kind}")
        x = stream(program)
        for operation, q in zip(program.operations, Emulator(program).run(x), strict=True):
            centred = x.astype(np.float64) - operation.input.zero_point
            exact = (centred * operation.gain.data + operation.offset.data) * operation.accumulator_scale
            assert_rounded(operation.output, q, exact)

    def test_lookup(self):
        program = single("lookup")
        table = program.operations[0].table.data
        x = stream(program)
        expected = [table[int(value) + 128] for value in x.ravel()]
        assert Emulator(program).run(x).ravel().tolist() == expected

    def test_multiply_and_requantize(self):
        program = single("multiply")
        trace = Emulator(program).trace(stream(program), record=None)
        product = program.operations[2]
        a, b = (trace.tensors[tensor.name].astype(int) - tensor.zero_point for tensor in (product.a, product.b))
        np.testing.assert_array_equal(trace.outputs[0], a * b)
        for operation, q in zip(program.operations[3:], trace.outputs[1:], strict=True):
            assert_rounded(operation.output, q, real(operation.input, trace.outputs[0]))

    def test_add(self):
        program = single("add")
        trace = Emulator(program).trace(stream(program), record=None)
        add = program.operations[1]
        a, b = (trace.tensors[tensor.name].astype(int) - tensor.zero_point for tensor in (add.a, add.b))
        exact = (a * add.gain_a + b * add.gain_b) * add.accumulator_scale
        assert_rounded(add.output, trace.tensors[add.output.name], exact)

    def test_accumulate(self):
        program = single("accumulate")
        operation = operation_of(program, Accumulate)
        x = stream(program)
        trace = Emulator(program).trace(x, record=[operation.next_state.name])
        expected = np.cumsum(x.astype(int) - operation.input.zero_point, axis=1)
        np.testing.assert_array_equal(trace.tensors[operation.next_state.name], expected)

    @pytest.mark.parametrize("kind", ["requantize_int8", "requantize_int16"])
    def test_requantize(self, kind):
        program = single(kind)
        x = stream(program)
        for operation, q in zip(program.operations, Emulator(program).run(x), strict=False):
            assert_rounded(operation.output, q, real(operation.input, x))


class TestDiagonalStep:
    def test_state_in_unbounded_integers(self):
        program = single("diagonal_step", seed=2)
        step = operation_of(program, DiagonalStep)
        x = stream(program, batch=1, length=60)
        trace = Emulator(program).trace(x, record=[step.hidden.name, step.next_state.name])
        hidden = trace.tensors[step.hidden.name][0].astype(object)
        decay, rotation = step.decay.data.astype(object), step.rotation.data.astype(object)
        state = np.zeros(step.state.shape, object)
        for index, u in enumerate(x[0].astype(object)):
            re, im = hidden[index]
            gain = step.input_gain.data.astype(object) * u
            state = state + gain + np.stack([decay * re - rotation * im, decay * im + rotation * re])
            np.testing.assert_array_equal(trace.tensors[step.next_state.name][0, index], state.astype(np.int64))

    def test_follows_the_complex_recurrence(self):
        """Against complex128: the state's only error is the rounding of `h`, which enters times `pole - 1`."""
        program = single("diagonal_step", seed=2)
        step = operation_of(program, DiagonalStep)
        x = stream(program, batch=1, length=200)
        states = Emulator(program).trace(x, record=[step.next_state.name]).tensors[step.next_state.name][0]
        pole = 1 + (step.decay.data + 1j * step.rotation.data) * 2.0**-15
        gain = step.input_gain.data[0] + 1j * step.input_gain.data[1]
        exact = np.zeros(pole.shape, complex)
        for index, u in enumerate(x[0].astype(np.float64)):
            exact = pole * exact + gain * u
            error = states[index, 0] + 1j * states[index, 1] - exact
            bound = 2.0**15 * np.sqrt(0.5) * np.abs(pole - 1) / (1 - np.abs(pole))
            assert np.all(np.abs(error) <= bound + 1)

    def test_output(self):
        program = single("diagonal_step", seed=3)
        step = operation_of(program, DiagonalStep)
        x = stream(program)
        trace = Emulator(program).trace(x, record=[step.hidden.name, step.partial.name])
        hidden, partial = (trace.tensors[tensor.name].astype(np.float64) for tensor in (step.hidden, step.partial))
        sums = (hidden * step.readout.data).sum(axis=(2, 3)) * step.hidden.scale * step.readout.scale
        # The readout's multiplier has 15 bits: half a unit, and 2**-16 of the value.
        assert_rounded(step.partial, partial, sums, 1.0)
        exact = (partial * step.partial_gain + x * step.feedthrough.data.astype(float)) * step.accumulator_scale
        assert_rounded(step.output, trace.outputs[0], exact)

    def test_reads_the_old_state(self):
        program = single("diagonal_step")
        step = operation_of(program, DiagonalStep)
        x = stream(program, length=1)
        partial = Emulator(program).trace(x, record=[step.partial.name]).tensors[step.partial.name]
        assert not partial.any()


class TestModalStep:
    @pytest.mark.parametrize("name", ["modal_step", "modal_step_fed_back"])
    def test_state_in_unbounded_integers(self, name):
        program = single(name, seed=2)
        step = operation_of(program, ModalStep)
        x = stream(program, batch=1, length=60)
        names = [tensor.name for tensor in (step.input, step.hidden, step.next_state, step.output)]
        trace = Emulator(program).trace(x, record=names).tensors
        inputs, hidden, after, output = (trace[name][0].astype(object) for name in names)
        decay, rotation = step.decay.data.astype(object), step.rotation.data.astype(object)
        modes = len(decay)
        fed = np.arange(modes) >= modes - step.feedback
        state = np.zeros(step.state.shape, object)
        for index, (u, (re, im)) in enumerate(zip(inputs, hidden, strict=True)):
            r_re, r_im = np.clip(state - 2**15 * hidden[index], -(2**15), 2**15 - 1) * fed
            turned = np.stack(
                [(decay >> 1) * r_re - (rotation >> 1) * r_im, (decay >> 1) * r_im + (rotation >> 1) * r_re]
            )
            gain = step.input_gain.data.astype(object) * u.reshape(2, modes)
            state = state + gain + np.stack([decay * re - rotation * im, decay * im + rotation * re])
            state = state + 2 * rounded(turned)
            if step.limit:
                state = np.clip(state, -step.limit, step.limit - 1)
            np.testing.assert_array_equal(after[index], state)
            np.testing.assert_array_equal(output[index].reshape(2, modes), rounded(state))

    def test_reads_the_new_state(self):
        """Each step's output is what the next step calls the hidden state."""
        program = single("modal_step")
        step = operation_of(program, ModalStep)
        trace = Emulator(program).trace(stream(program), record=[step.hidden.name, step.output.name]).tensors
        hidden, output = trace[step.hidden.name], trace[step.output.name]
        assert output[:, 0].any() and not hidden[:, 0].any()
        np.testing.assert_array_equal(hidden[:, 1:].reshape(output[:, 1:].shape), output[:, :-1])

    def test_a_mode_that_is_fed_back_falls_silent(self):
        """Radius 0.999 at a third of a turn: without feedback it rings on."""
        left = {}
        for feedback in (0, 1):
            program = Program("mode", *mode_of(0.999 * np.exp(2.1j), feedback))
            start = [np.full((1, 2, 1), 2**21, np.int32)]
            outputs = Emulator(program).trace(np.zeros((1, 5_000, 2), np.int16), states=start).outputs[0]
            left[feedback] = np.abs(outputs[0, -100:]).max()
        assert left[1] <= 1 < 20 < left[0]


def rounded(state: np.ndarray) -> np.ndarray:
    """Exact integers by 2**-15: ties upwards at the first bit, then away from zero, and saturated."""
    half = [int(value) + 1 >> 1 for value in state.ravel()]
    away = [(1 if value >= 0 else -1) * ((2 * abs(value) + 2**14) // 2**15) for value in half]
    return np.clip(np.array(away, object), -(2**15), 2**15 - 1).reshape(state.shape)


def mode_of(pole: complex, feedback: int):
    """Inputs, outputs, states and operations of a program of one mode."""

    def constant(name, *values, scale=2.0**-15):
        values = np.array(values, np.int32)
        return Tensor(name, values.shape, "int32", scale, data=values)

    u, y = (Tensor(name, (2,), "int16", 2.0**-15) for name in "uy")
    before, after = (Tensor(name, (2, 1), "int32", 2.0**-30) for name in ("before", "after"))
    delta = np.rint((pole - 1) * 2**15)
    constants = constant("decay", delta.real), constant("rotation", delta.imag), constant("gain", [1], [1])
    hidden = Tensor("hidden", (2, 1), "int16", 2.0**-15)
    return (u,), (y,), (State(before, after),), (ModalStep(u, before, after, *constants, hidden, y, 2**30, feedback),)


class TestStreams:
    @pytest.mark.parametrize("name", SINGLE)
    def test_streams_of_a_batch_do_not_meet(self, name):
        program = single(name)
        x = stream(program)
        together = Emulator(program).trace(x).outputs
        alone = [Emulator(program).trace(x[index : index + 1]).outputs for index in range(len(x))]
        for index, output in enumerate(together):
            np.testing.assert_array_equal(output, np.concatenate([outputs[index] for outputs in alone]))

    def test_run_is_step_after_step(self):
        program = model()
        emulator, x = Emulator(program), stream(program)
        outputs, states = [], emulator.initial_states(len(x))
        for index in range(x.shape[1]):
            (output,), states = emulator.step(x[:, index], states)
            outputs.append(output)
        np.testing.assert_array_equal(emulator.run(x), np.stack(outputs, axis=1))

    def test_resumes_from_states(self):
        program = model()
        emulator, x = Emulator(program), stream(program)
        first = emulator.trace(x[:, :15])
        second = emulator.trace(x[:, 15:], states=first.final_states)
        whole = emulator.trace(x)
        np.testing.assert_array_equal(np.concatenate([first.outputs[0], second.outputs[0]], axis=1), whole.outputs[0])
        for ours, theirs in zip(second.final_states, whole.final_states, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_records_every_tensor_with_its_type(self):
        program = model()
        trace = Emulator(program).trace(stream(program, batch=2, length=5), record=None)
        computed = [tensor for tensor in program.tensors() if tensor.data is None]
        assert set(trace.tensors) == {tensor.name for tensor in computed}
        for tensor in computed:
            assert trace.tensors[tensor.name].dtype == tensor.type
            assert trace.tensors[tensor.name].shape == (2, 5, *tensor.shape)

    def test_reports_progress(self):
        program, calls = single("lookup"), []
        Emulator(program).trace(stream(program, length=3), progress=lambda done, total: calls.append((done, total)))
        assert calls == [(1, 3), (2, 3), (3, 3)]


class TestOverflow:
    @pytest.mark.parametrize("name", SINGLE)
    def test_checking_changes_nothing(self, name):
        program = single(name)
        x = stream(program)
        checked = Emulator(program, check_overflow=True).trace(x)
        for ours, theirs in zip(checked.outputs, Emulator(program).trace(x).outputs, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_names_the_sum_and_the_step(self):
        program = single("sliding_sum")
        operation = operation_of(program, SlidingSum)
        emulator = Emulator(program, check_overflow=True)
        states = emulator.initial_states(1)
        channels = operation.output.shape[0]
        states[0][:, operation.hops * channels :][:, :channels] = 2**31 - 400
        x = np.full((1, 5, *operation.input.shape), 127, np.int8)
        with pytest.raises(
            OverflowError, match=rf"Step 2: {operation.output.name} \(partial\) is 2147483680 at \[0, 0\]"
        ):
            emulator.trace(x, states=states)

    def test_names_the_accumulator(self):
        x = Tensor("x", (2,), "int16", 1.0)
        gain = Tensor("gain", (2,), "int32", data=np.array([1, 2**17], np.int32))
        offset = Tensor("offset", (2,), "int32", data=np.zeros(2, np.int32))
        y = Tensor("y", (2,), "int16", 2.0**17)
        program = Program("wide", (x,), (y,), (), (Affine(x, gain, offset, 1.0, y),))
        with pytest.raises(OverflowError, match=r"y \(accumulator\) is -4294967296 at \[0, 1\]"):
            Emulator(program, check_overflow=True).run(np.full((1, 1, 2), -(2**15), np.int16))
        # Without the check it wraps, as 32-bit hardware does.
        assert Emulator(program).run(np.full((1, 1, 2), -(2**15), np.int16)).tolist() == [[[0, 0]]]

    def test_keeps_peaks(self):
        program = single("accumulate")
        operation = operation_of(program, Accumulate)
        emulator = Emulator(program, check_overflow=True)
        total = emulator.trace(stream(program), record=[operation.next_state.name]).tensors[operation.next_state.name]
        assert emulator.peaks[operation.next_state.name] == np.abs(total).max()


class TestRefusals:
    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.zeros((1, 2, 99), np.int16), "received shape"),
            (np.zeros((1, 2, 3), np.float32), "expected integers"),
            (np.full((1, 2, 3), 40_000), "int16 holds"),
            (np.zeros((1, 0, 3), np.int16), "at least one step"),
            ([np.zeros((1, 2, 3), np.int16)] * 2, "Received 2 inputs"),
        ],
    )
    def test_inputs(self, x, message):
        with pytest.raises(ValueError, match=message):
            Emulator(model()).run(x)

    def test_unknown_names_and_states(self):
        program = single("accumulate")
        with pytest.raises(ValueError, match="No tensor named nothing"):
            Emulator(program).trace(stream(program), record=["nothing"])
        with pytest.raises(ValueError, match="Received 0 states"):
            Emulator(program).step(stream(program)[:, 0], [])
        with pytest.raises(ValueError, match="expected"):
            Emulator(program).step(stream(program)[:, 0], [np.zeros((1, 99), np.int32)] * 2)

    def test_programs_that_do_not_hold_together(self):
        program = model()
        swapped = dataclasses.replace(program, operations=program.operations[::-1])
        with pytest.raises(ValueError, match="before it is written"):
            Emulator(swapped)
        with pytest.raises(ValueError, match="No operation"):
            Emulator(dataclasses.replace(program, outputs=(Tensor("elsewhere", (1,), "int8"),)))
        ends = [State(s.before, dataclasses.replace(s.after, scale=s.after.scale * 1.05)) for s in program.states]
        with pytest.raises(ValueError, match="starts a step as"):
            Emulator(dataclasses.replace(program, states=tuple(ends)))
        builder = Builder(0)
        x = builder.activation(2, "int8", 1.0)
        builder.lookup(x)
        builder.count = 1
        builder.lookup(x)
        with pytest.raises(ValueError, match="names must be unique"):
            Emulator(builder.program(x))


def test_the_state_at_a_long_memory_decays_as_in_floating_point():
    """Radius 0.9999: the delta form decays like float; a rounded int16 state would stick."""
    decay, H = -3, 1
    pole = 1 + decay * 2.0**-15
    shape = (2, 1, H)

    def constant(name, values, type="int32", scale=1.0):
        return Tensor(name, values.shape, type, scale, data=values.astype(type))

    u, y = Tensor("u", (H,), "int16", 2.0**-15), Tensor("y", (H,), "int16", 2.0**-15)
    before, after = (Tensor(name, shape, "int32", 2.0**-30) for name in ("before", "after"))
    step = DiagonalStep(
        input=u,
        state=before,
        next_state=after,
        decay=constant("decay", np.full((1, H), decay), scale=2.0**-15),
        rotation=constant("rotation", np.zeros((1, H)), scale=2.0**-15),
        input_gain=constant("gain", np.zeros(shape), scale=2.0**-15),
        hidden=Tensor("hidden", shape, "int16", 2.0**-15),
        readout=constant("readout", np.ones(shape), "int8", np.ones(H)),
        partial=Tensor("partial", (H,), "int16", 2.0**-15),
        partial_gain=1,
        feedthrough=constant("feedthrough", np.zeros(H)),
        accumulator_scale=2.0**-15,
        output=y,
    )
    emulator = Emulator(Program("memory", (u,), (y,), (State(before, after),), (step,)))
    start, steps = 2**29, 4_000
    final = emulator.trace(np.zeros((1, steps, H), np.int16), states=[np.full((1, *shape), start, np.int32)])
    assert final.final_states[0][0, 0, 0, 0] / start == pytest.approx(pole**steps, abs=2e-4)
    assert fixed_point.rescale_multiplier(2.0**-30, 2.0**-15) == (2**30, -14)
