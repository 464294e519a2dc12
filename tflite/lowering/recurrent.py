"""Recurrent layers: products, gates and what the layer gives in int16, memory that must last in int32.

A step is two dense products (input and state), which share one power of two as their scale, so that their sum is
exact; activations; and an update of the state. Gates come out of one product and are cut apart behind the activation;
the candidate has a product of its own, whose weights and range are then its own.

What was chosen, and what it is worth in signal-to-noise ratio of the outputs, in a numpy model of the roundings of a
GRU of 24 units over 300 steps with random weights: once with lively gates, once with a slow memory (update biases 1
to 6).

- Sigmoid and tanh run on int16 (`operations.Squash`): 41 and 41 dB. From tables, which take int8, 39 and 24 dB: near
  the end of a gate's range `1 - z` has a handful of values then. Tables also take 7 more operators (37 for 30, where
  scales have to be matched as well) and 512 bytes. They are what all other activations get, unless the
  layer is converted with int16 activations: then those are straight lines (`operations.Interpolate`).
- Products read int16. An int8 view of input and state has the same bytes of weights, but int8 products, so tables
  behind them: 36 and 24 dB. What limits the 41 dB is the rounding of the weights to int8: with exact weights, 81 and
  74 dB.
- The memories of GRU and LSTM are int32 in delta form, `x <- x + w (c - round(x))` with `w = 1 - z`: only the
  rounding inside is lost, and it enters times w. In signal-to-noise an int16 state is as good, but it stops decaying
  at half a unit over w. `1 - z` is the sigmoid of the negated sum, from negated weights, with full resolution near 0.
- A GRU's state lies between its candidates and cannot overflow. An LSTM's cell can grow by 1 each step; it saturates
  at twice what calibration saw, or more. The hidden state of an LSTM, and that of a SimpleRNN, are int16 as they are
  given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_s4.layers import (
    LowRankGRU,
    LowRankGRUCell,
    LowRankLSTM,
    LowRankLSTMCell,
    LowRankSimpleRNN,
    LowRankSimpleRNNCell,
)
from keras_s4.tflite.lowering.activation import in_float64
from keras_s4.tflite.lowering.calibration import power_of_two_scale
from keras_s4.tflite.lowering.recurrent_cell import CellBuilder
from keras_s4.tflite.lowering.registry import register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.operations import Maximum, Minimum, Requantize

# Of the largest cell state of an LSTM in calibration.
CELL_HEADROOM = 2.0


@register(
    keras.layers.RNN,
    keras.layers.SimpleRNN,
    keras.layers.GRU,
    keras.layers.LSTM,
    LowRankSimpleRNN,
    LowRankGRU,
    LowRankLSTM,
    takes="both",
)
def lower_recurrent(layer, inputs, builder):
    """The cell, or one after the other of a stack; without `return_sequences` too, each step gives the latest state."""
    cells = layer.cell.cells if isinstance(layer.cell, keras.layers.StackedRNNCells) else [layer.cell]
    _check_layer(layer, cells)
    signal = inputs[0]
    if signal.tensor.type == "int8":
        wide = builder.tensor(f"{layer.name}/input", signal.tensor.shape, "int16", signal.tensor.scale)
        builder.add(Requantize(signal.tensor, wide))
        signal = Signal(wide, signal.values)
    for index, cell in enumerate(cells):
        name = layer.name if len(cells) == 1 else f"{layer.name}/{index}"
        under_construction = CellBuilder(cell, name, builder)
        signal = _CELLS[type(cell)](under_construction, under_construction.absorb(signal))
    return signal


def _lower_simple_rnn(cell: CellBuilder, inputs: Signal) -> Signal:
    """`h <- activation(W u + U h + b)`."""

    def step(product, states):
        return (cell.activate(product + cell.affine("recurrent_kernel", states[0])),)

    ((before, after),) = _trajectories(step, cell.affine("kernel", inputs.values), cell.units, 1)
    scale = cell.activation_scale(cell.builder.peak(after))
    state = cell.state("state", scale, "int16")
    hidden = cell.rounded("hidden", Signal(state.before, before), scale)
    output = cell.candidate(*cell.products("candidate", inputs, hidden, cell.columns(0)), scale)
    if output.tensor.type == "int8":
        output = cell.rounded("output", output, scale)
    cell.builder.add(Requantize(output.tensor, state.after))
    return output


def _lower_gru(cell: CellBuilder, inputs: Signal) -> Signal:
    """`h <- h + w (c - h)` with `w = 1 - z` and the candidate `c`."""
    reset_after, gates = cell.cell.reset_after, slice(2 * cell.units)
    last = cell.columns(2)

    def update_and_candidate(product, hidden):
        recurrent = cell.affine("recurrent_kernel", hidden)
        update, reset = np.split(cell.gate(product[..., gates] + recurrent[..., gates]), 2, axis=-1)
        if reset_after:
            recurrent = reset * recurrent[..., last]
        else:
            recurrent = cell.affine("recurrent_kernel", reset * hidden, last)
        return update, cell.activate(product[..., last] + recurrent)

    def step(product, states):
        update, candidate = update_and_candidate(product, states[0])
        return (states[0] + (1.0 - update) * (candidate - states[0]),)

    product = cell.affine("kernel", inputs.values)
    ((before, _),) = _trajectories(step, product, cell.units, 1)
    scale = cell.activation_scale(cell.builder.peak(update_and_candidate(product, before)[1]))
    state = cell.state("state", scale * cell.gate_scale, "int32")
    memory = Signal(state.before, before)
    hidden = cell.rounded("hidden", memory, scale)

    signs = np.repeat([-1.0, 1.0], cell.units)
    both = cell.gates(*cell.products("gates", inputs, hidden, cell.columns(0, 1), signs))
    write, reset = cell.part("write", both, 0), cell.part("reset", both, 1)
    if reset_after:
        direct, recurrent = cell.products("candidate", inputs, hidden, last)
        recurrent = cell.multiply("recurrent", reset, recurrent)
    else:
        kept = cell.rounded("kept", cell.multiply("reset_hidden", reset, hidden), scale)
        direct, recurrent = cell.products("candidate", inputs, kept, last)
    candidate = cell.candidate(direct, recurrent, scale)
    change = cell.multiply("change", write, cell.add("difference", candidate, hidden, -1))
    return cell.rounded("output", cell.add("", memory, change, into=state.after), scale)


def _lower_lstm(cell: CellBuilder, inputs: Signal) -> Signal:
    """`c <- c - v c + i g` with `v = 1 - f`, saturated; `h = o activation(c)`."""

    def step(product, states):
        hidden, memory = states
        write, forget, candidate, read = np.split(product + cell.affine("recurrent_kernel", hidden), 4, axis=-1)
        memory = cell.gate(forget) * memory + cell.gate(write) * cell.activate(candidate)
        return cell.gate(read) * cell.activate(memory), memory

    product = cell.affine("kernel", inputs.values)
    (hidden_before, _), (memory_before, memory_after) = _trajectories(step, product, cell.units, 2)
    candidates = cell.activate((product + cell.affine("recurrent_kernel", hidden_before))[..., cell.columns(2)])
    written_scale = cell.activation_scale(cell.builder.peak(candidates))
    output_scale = cell.activation_scale(cell.builder.peak(cell.activate(memory_after)))
    view_scale = max(power_of_two_scale(cell.builder.peak(memory_after), 16, CELL_HEADROOM), written_scale)
    memory_scale = view_scale * cell.gate_scale
    hidden_state = cell.state("hidden", output_scale, "int16")
    memory_state = cell.state("memory", memory_scale, "int32")
    hidden = cell.rounded("hidden/view", Signal(hidden_state.before, hidden_before), output_scale)
    memory = Signal(memory_state.before, memory_before)

    signs = np.repeat([-1.0, 1.0, 1.0], cell.units)
    gates = cell.gates(*cell.products("gates", inputs, hidden, cell.columns(1, 0, 3), signs))
    lose, write, read = (cell.part(name, gates, index) for index, name in enumerate(("lose", "write", "read")))
    candidate = cell.candidate(*cell.products("candidate", inputs, hidden, cell.columns(2)), written_scale)
    written = cell.multiply("write_candidate", write, candidate)
    written = cell.rounded("written", written, max(written_scale, memory_scale))
    lost = cell.multiply("lost", lose, cell.rounded("memory/view", memory, view_scale))
    total = cell.add("total", memory, cell.add("change", written, lost, -1))

    # Half of what 32 bits hold: the sum above, before it is limited, then fits them.
    bound = round(2.0**15 / cell.gate_scale)
    at_least = cell.tensor("total/at_least", cell.units, "int32", memory_scale)
    low, high = (
        cell.builder.constant(f"{cell.name}/{name}", np.array([value]), "int32", memory_scale)
        for name, value in (("low", -bound), ("high", bound))
    )
    cell.builder.add(Maximum(total.tensor, low, at_least))
    cell.builder.add(Minimum(at_least, high, memory_state.after))

    shown = cell.activated("shown", Signal(memory_state.after, memory_after), output_scale)
    output = cell.rounded("output", cell.multiply("read_shown", read, shown), output_scale)
    cell.builder.add(Requantize(output.tensor, hidden_state.after))
    return output


_CELLS = {
    keras.layers.SimpleRNNCell: _lower_simple_rnn,
    keras.layers.GRUCell: _lower_gru,
    keras.layers.LSTMCell: _lower_lstm,
    LowRankSimpleRNNCell: _lower_simple_rnn,
    LowRankGRUCell: _lower_gru,
    LowRankLSTMCell: _lower_lstm,
}


def _trajectories(step: Callable, product: np.ndarray, units: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each state before and after every step, `[B, L, H]`, from zeros; `product` is the input's, `[B, L, ..]`."""
    batch, length = product.shape[:2]
    states: Sequence[np.ndarray] = [np.zeros((batch, units))] * count
    trajectories = np.zeros((count, batch, length + 1, units))
    for index in range(length):
        states = step(product[:, index], states)
        trajectories[:, :, index + 1] = states
    return [(values[:, :-1], values[:, 1:]) for values in trajectories]


def _check_layer(layer: keras.layers.RNN, cells: Sequence[keras.layers.Layer]) -> None:
    """Refuse what a stream cannot do, and cells without a lowering."""
    if layer.stateful:
        raise ValueError(
            f"Layer {layer.name!r} is stateful, so that what it gives depends on the batch before; build it with "
            "stateful=False. On a device its state lasts until a reset in any case."
        )
    for cell in cells:
        if type(cell) not in _CELLS:
            raise NotImplementedError(
                f"Layer {layer.name!r} has a cell of type {type(cell).__name__}, which cannot be exported. Supported: "
                f"{', '.join(sorted(known.__name__ for known in _CELLS))}."
            )
        if hasattr(cell, "recurrent_activation"):
            _check_gate(layer.name, cell.recurrent_activation)


def _check_gate(name: str, activation: Callable) -> None:
    """Refuse gates that do not blend: the lowerings need `0 <= f(x) <= 1` and `f(-x) = 1 - f(x)`."""
    arguments = np.linspace(-20.0, 20.0, 801)
    values = in_float64(activation, arguments)
    if values.min() < 0 or values.max() > 1 or np.abs(values + values[::-1] - 1.0).max() > 1e-6:
        raise NotImplementedError(
            f"Layer {name!r} has the recurrent activation {getattr(activation, '__name__', activation)!r}; gates can "
            "be exported that lie between 0 and 1 with f(-x) = 1 - f(x), as those of sigmoid and hard_sigmoid do."
        )
