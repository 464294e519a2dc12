"""Layers of PyTorch and Flax that are no state space models: matrices, convolutions, normalisations, GRU and LSTM."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules.module import Module, Scope

# Layers of keras, by the rows of weight_ih for each unit.
RECURRENT = {3: "gru", 4: "lstm"}
TORCH_EPSILON, FLAX_EPSILON = 1e-5, 1e-6


def layer_at(scope: Scope, answers: Answers) -> Module | None:
    """The layer whose parameters stand directly under a path, if it is known."""
    if scope.has("weight_ih_l0") or scope.has("weight_hh_l0"):
        return _recurrent(scope)
    if scope.first("running_mean", "running_var"):
        return _batch_normalization(scope, ("weight", "bias", "running_mean", "running_var"), TORCH_EPSILON, answers)
    if scope.first("mean", "var") and scope.first("scale", "bias", "var"):
        return _batch_normalization(scope, ("scale", "bias", "mean", "var"), TORCH_EPSILON, answers)
    if scope.has("scale"):
        return _layer_normalization(scope, "scale", FLAX_EPSILON, answers)
    if scope.has("embedding"):
        return _embedding(scope, "embedding")
    if scope.has("kernel"):
        kernel = scope.take("kernel")
        return {2: _dense, 3: _convolution}.get(kernel.ndim, _unknown)(scope, "kernel", kernel)
    if scope.has("weight"):
        weight = scope.take("weight")
        if weight.ndim == 1:
            return _layer_normalization(scope, "weight", TORCH_EPSILON, answers)
        kernel = weight.T if weight.ndim == 2 else weight.transpose(2, 1, 0) if weight.ndim == 3 else weight
        return {2: _dense, 3: _convolution}.get(weight.ndim, _unknown)(scope, "weight", kernel)
    return None


def plain_weights(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays with weights in place of their norms and directions, into which PyTorch's weight normalisation splits."""
    found = dict(arrays)
    for pattern in (("{}_g", "{}_v"), ("parametrizations.{}.original0", "parametrizations.{}.original1")):
        ending = pattern[0].format("weight")
        for name in [name for name in found if name == ending or name.endswith(f".{ending}")]:
            root = name.removesuffix(ending)
            other = root + pattern[1].format("weight")
            if other not in found:
                raise CheckpointError(f"The checkpoint has {name!r}, but lacks {other!r}.")
            norm, direction = found.pop(name), found.pop(other)
            axes = tuple(range(1, direction.ndim))
            if norm.shape != (len(direction), *(1 for _ in axes)):
                raise CheckpointError(f"{name!r} has the shape {list(norm.shape)}; expected a norm for each row.")
            lengths = np.sqrt((direction**2).sum(axis=axes, keepdims=True))
            found[f"{root}weight"] = norm * direction / np.where(lengths == 0.0, 1.0, lengths)
    return found


def _unknown(scope: Scope, name: str, weight: np.ndarray) -> Module:
    raise CheckpointError(
        f"{scope.whole(name)!r} has the shape {list(weight.shape)}; expected 2 axes of a matrix or 3 of a convolution "
        "over time."
    )


def _bias(scope: Scope, outputs: int) -> np.ndarray | None:
    return scope.take("bias", outputs) if scope.has("bias") else None


def _dense(scope: Scope, name: str, kernel: np.ndarray) -> Module:
    inputs, outputs = kernel.shape
    bias = _bias(scope, outputs)
    title = f"Linear, {inputs} to {outputs}" + ", without bias" * (bias is None)
    path = scope.path or "dense"
    return Module(
        scope.path, title, "linear", inputs, lambda net, place, _: net.dense(path, place, kernel, bias), outputs
    )


def _convolution(scope: Scope, name: str, kernel: np.ndarray) -> Module:
    """`[taps, inputs of a group, outputs]`; stride and padding are no parameters."""
    taps, inputs, outputs = kernel.shape
    bias = _bias(scope, outputs)
    path = scope.path or "convolution"

    def build(net, place, given):
        known = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        said = {key: _count(path, key, value) for key, value in given.items() if key in known}
        if unknown := given.keys() - known.keys():
            raise CheckpointError(f"{path} got {min(unknown)!r}; expected {', '.join(known)}.")
        if taps > 1 and not {"stride", "padding"} <= said.keys():
            raise CheckpointError(
                f"{path} is a convolution of {taps} taps, whose stride and padding the checkpoint does not say. Give "
                f"layers='... {path}(stride=1,padding=0) ...', with dilation= and groups= if they are not 1."
            )
        values = known | said
        net.expect(place, inputs * values["groups"], path)
        return net.add("convolution", path, place, outputs, kernel=kernel, bias=bias, **values)

    title = f"Conv1d, {inputs} to {outputs}, {taps} taps" + ", without bias" * (bias is None)
    return Module(scope.path, title, "convolution", inputs, build, outputs)


def _count(path: str, key: str, value: str) -> int | str:
    if key == "padding" and value in ("same", "causal"):
        return value
    if not value.isdecimal() or (key != "padding" and int(value) < 1):
        raise CheckpointError(f"{path}({key}={value}): expected a whole number.")
    return int(value)


def _layer_normalization(scope: Scope, name: str, epsilon: float, answers: Answers) -> Module:
    gamma = scope.take(name, None)
    if len(gamma) == 1 and not scope.has("bias"):
        raise CheckpointError(f"{scope.whole(name)!r} is a single number, as of PReLU; no layer of that kind is read.")
    beta = _bias(scope, len(gamma))
    if beta is None:
        raise CheckpointError(
            f"{scope.whole(name)!r} stands without a bias: a LayerNorm without one, an RMSNorm or PReLU, which their "
            "parameters do not tell apart."
        )
    epsilon = answers.default("eps", epsilon, "LayerNorm")
    path = scope.path or "normalization"
    answers.note(f"{path}: one gain and offset a channel, taken for LayerNorm")

    def build(net, place, _):
        net.expect(place, len(gamma), path)
        return net.add("layer_normalization", path, place, gamma=gamma, beta=beta, epsilon=epsilon)

    return Module(scope.path, f"LayerNorm, {len(gamma)}", "normalization", len(gamma), build, len(gamma))


def _batch_normalization(scope: Scope, names: tuple[str, ...], epsilon: float, answers: Answers) -> Module:
    gain, offset, mean, variance = names
    means = scope.take(mean, None)
    count = len(means)
    values = {"mean": means, "variance": scope.take(variance, count), "gamma": None, "beta": None}
    if scope.has(gain) or scope.has(offset):
        values |= {"gamma": scope.take(gain, count), "beta": scope.take(offset, count)}
    if scope.has("num_batches_tracked"):
        scope.take("num_batches_tracked")
    values["epsilon"] = answers.default("eps", epsilon, "BatchNorm")
    path = scope.path or "normalization"

    def build(net, place, _):
        net.expect(place, count, path)
        return net.add("batch_normalization", path, place, **values)

    return Module(scope.path, f"BatchNorm1d, {count}", "normalization", count, build, count)


def _embedding(scope: Scope, name: str) -> Module:
    table = scope.take(name, None, None)
    path = scope.path or "embedding"
    return Module(
        scope.path,
        f"Embedding, {table.shape[0]} tokens",
        "embedding",
        table.shape[0],
        lambda net, place, _: net.add("embedding", path, place, table.shape[1], table=table),
        table.shape[1],
    )


def _recurrent(scope: Scope) -> Module:
    """All layers of a GRU or LSTM, in one or both directions."""
    first = scope.take("weight_ih_l0", None, None)
    units = scope.take("weight_hh_l0", len(first), None).shape[1]
    gates, rest = divmod(len(first), units)
    if rest or gates not in RECURRENT:
        kind = "an RNN, whose activation the checkpoint does not say" if gates == 1 and not rest else "no GRU or LSTM"
        raise CheckpointError(f"{scope.path or 'The checkpoint'} is {kind}: weight_ih_l0 has {list(first.shape)}.")
    if any(name.startswith(scope.whole("weight_hr_l")) for name in scope.arrays):
        raise CheckpointError(f"{scope.path} is an LSTM with projections (proj_size), which is not read.")
    both = scope.has("weight_ih_l0_reverse") or scope.has("weight_hh_l0_reverse")
    pattern = re.compile(re.escape(scope.whole("weight_ih_l")) + r"(\d+)\Z")
    layers = 1 + max(int(found[1]) for name in scope.arrays if (found := pattern.match(name)))
    width, stacked = first.shape[1], []
    for layer in range(layers):
        directions = [_cell(scope, f"l{layer}{end}", gates, units, width) for end in ("", "_reverse")[: 1 + both]]
        stacked.append(directions)
        width = units * len(directions)
    path, kind = scope.path or RECURRENT[gates], RECURRENT[gates]

    def build(net, place, _):
        net.expect(place, first.shape[1], path)
        for number, directions in enumerate(stacked):
            name = path if layers == 1 else f"{path}.l{number}"
            place = net.add(kind, name, place, units * len(directions), directions=directions, units=units)
        return place

    title = f"{kind.upper()}, {layers} of {units} units" + ", both directions" * both
    return Module(scope.path, title, "recurrent", first.shape[1], build, width)


def _cell(scope: Scope, end: str, gates: int, units: int, width: int) -> dict[str, np.ndarray]:
    """Kernels and offsets of a direction, in the order of Keras' gates."""
    inputs = scope.take(f"weight_ih_{end}", gates * units, width)
    recurrent = scope.take(f"weight_hh_{end}", gates * units, units)
    offsets = [np.zeros(gates * units)] * 2
    if any(name.startswith(scope.whole("bias_")) for name in scope.arrays):
        offsets = [scope.take(f"bias_{part}_{end}", gates * units) for part in ("ih", "hh")]
    if gates == 3:  # reset, update, new; Keras has the update first
        order = np.r_[units : 2 * units, :units, 2 * units : 3 * units]
        inputs, recurrent, offsets = inputs[order], recurrent[order], [each[order] for each in offsets]
        bias = np.stack(offsets)
    else:  # input, forget, cell, output, as in Keras
        bias = offsets[0] + offsets[1]
    return {"kernel": inputs.T, "recurrent_kernel": recurrent.T, "bias": bias}
