"""The S4 block: its layers fused where an intermediate result can be read directly in the type that follows."""

from __future__ import annotations

from keras_s4.layers import DiagonalSSM, S4Block
from keras_s4.tflite.lowering.activation import OUTPUT_SCALE, add_activation, in_float64
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import AMPLE_HEADROOM, HEADROOM, power_of_two_scale
from keras_s4.tflite.lowering.dense import add_dense
from keras_s4.tflite.lowering.diagonal_ssm import add_diagonal_ssm
from keras_s4.tflite.lowering.dss import INPUT_BITS, add_dss
from keras_s4.tflite.lowering.normalization import add_batch_normalization
from keras_s4.tflite.lowering.registry import register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import add_affine, with_encoding
from keras_s4.tflite.program.operations import Add, Multiply


@register(S4Block, takes="both")
def lower_s4_block(layer, inputs, builder):
    """Normalisation, DSS, activation, gated mixing, and the residual sum in int16."""
    name, activation = layer.name, layer.activation.activation
    if inputs[0].encoding is not None and not inputs[0].encoding.unit.all():
        inputs = [builder.settle(inputs[0], "nothing")]
    hidden = _add_states(layer, inputs[0], builder)
    hidden = add_activation(f"{name}/activation", activation, hidden, builder)
    # A product of int16 values has 30 bits. With a value that is no finer than the residual, their sum has 31.
    coarser_than = inputs[0].tensor.scale * 2.0**-15 / OUTPUT_SCALE
    value = add_dense(layer.value, f"{name}/value", hidden, builder, shifts=True, coarser_than=coarser_than)
    gate = _add_gate(layer, hidden, builder)
    if inputs[0].encoding is not None:
        # The residual keeps its units, and the value gets them.
        unit, finest = inputs[0].encoding.unit, inputs[0].tensor.scale
        value = add_affine(f"{name}/value_in_units", value, 1.0 / unit, 0.0 * unit, builder, finest=finest)
    return _add_product(layer.name, inputs[0], value, gate, builder)


def _add_states(block: S4Block, signal: Signal, builder: ProgramBuilder) -> Signal:
    """Normalisation and the state space layer."""
    normalization, name = f"{block.name}/normalization", f"{block.name}/dss"
    if isinstance(block.dss, DiagonalSSM):
        normalized = add_batch_normalization(block.normalization, normalization, signal, builder)
        return add_diagonal_ssm(block.dss, name, normalized, builder)
    normalized = add_batch_normalization(block.normalization, normalization, signal, builder, bits=INPUT_BITS)
    wide = builder.activations == "int16"
    following = None if wide else lambda values: in_float64(block.activation.activation, values)
    return add_dss(block.dss, name, normalized, builder, following)


def _add_gate(block: S4Block, hidden: Signal, builder: ProgramBuilder) -> Signal | None:
    """What opens the values, from 0 to 1; None for a block without a gate."""
    name = f"{block.name}/gate"
    if block.gate_kind is None:
        return None
    if block.gate_kind == "channel":
        gate = add_batch_normalization(block.gate, name, hidden, builder)
        return add_activation(f"{block.name}/opening", block.opening.activation, gate, builder)
    return add_activation(name, block.gate.activation, add_dense(block.gate, name, hidden, builder), builder)


def _add_product(name: str, residual: Signal, value: Signal, gate: Signal | None, builder: ProgramBuilder) -> Signal:
    """`residual + value * gate`, rounded once, to int16."""
    if gate is None:
        product, values = value.tensor, residual.values + value.values
    else:
        scale = value.tensor.scale * gate.tensor.scale
        product = builder.tensor(f"{name}/product", value.tensor.shape, "int32", scale)
        builder.add(Multiply(value.tensor, gate.tensor, product))
        values = residual.values + value.values * gate.values
    headroom = AMPLE_HEADROOM if builder.activations == "int16" else HEADROOM
    scale = power_of_two_scale(builder.peak(values), 16, headroom)
    accumulator_scale = min(residual.tensor.scale, product.scale)
    output = builder.tensor(f"{name}/output", value.tensor.shape, "int16", scale)
    gains = [round(scale / accumulator_scale) for scale in (residual.tensor.scale, product.scale)]
    builder.add(Add(residual.tensor, product, *gains, accumulator_scale, output))
    return with_encoding(Signal(output, values), residual.encoding, builder)
