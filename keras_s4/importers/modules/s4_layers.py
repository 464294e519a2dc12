"""S4 layers of PyTorch as they stand in models: a bank of systems, an activation, and a matrix that mixes channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import Bank
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules import dss, state_spaces
from keras_s4.importers.modules.module import Module, Scope
from keras_s4.importers.network import ACTIVATIONS

# Parameters of a kernel by which its family is known, the most telling first; and how the family is called.
FAMILIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("log_A_real",), "S4D of s4d.py"),
    (("W", "Lambda"), "DSS of ag1988/dss"),
    (("W", "Lambda_log_neg_re"), "DSS of ag1988/dss"),
    (("inv_dt",), "S4 of models/s4, version 4"),
    (("A_real", "B", "C"), "S4 of models/s4, version 4"),
    (("inv_w_real",), "S4 of models/s4, version 3"),
    (("log_w_real",), "S4 of models/s4, version 3"),
    (("w_imag",), "S4 of models/s4, version 3"),
    (("w", "B", "C", "log_dt"), "S4 of models/s4, version 2"),
    (("log_dt", "A_imag"), "S4D of s4d.py"),
    (("log_dt", "W"), "DSS of ag1988/dss"),
    (("Lambda_log_neg_re",), "DSS of ag1988/dss"),
)
MIXING = ("input_linear", "input_gate", "output_gate")
HYPER = ("linear", "identity", "tanh", "sigmoid", "gelu", "relu", "silu")


def family_of(scope: Scope) -> str | None:
    """The family that the parameters of a kernel are of, if any."""
    return next((title for marks, title in FAMILIES if scope.has(*marks)), None)


def s4_layer(kernel: Scope, answers: Answers) -> Module:
    """The layer around a kernel; claims what stands beside it."""
    title = family_of(kernel) or ""
    around = _around(kernel)
    D = None if around is None else around.take("D")
    if D is not None and D.ndim == 1:
        D = D[None]
    bank = _bank(kernel, title, D, answers)
    heads = bank.channels // (D.shape[1] if D is not None else bank.channels)
    channels = bank.channels // heads
    path = kernel.path if around is None else _module_path(around)
    about = f"{title}, {channels} channels of {bank.state_size} modes" + (", bidirectional" * bank.bidirectional)
    if around is None:
        answers.note(f"{path or 'the kernel'} stands alone: no feedthrough, no activation")
        return Module(
            path, about, "bank", channels, lambda net, place, _: net.bank(f"{path}.dss", place, bank), channels
        )
    behind = _behind(Scope(kernel.arrays, path, kernel.used), title, bank.channels, channels, answers)
    return Module(path, about, "s4", channels, _build(path, bank, *behind), channels)


def _bank(kernel: Scope, title: str, D: np.ndarray | None, answers: Answers) -> Bank:
    if title.startswith("S4D"):
        return state_spaces.minimal(kernel, D, answers)
    if title.startswith("DSS"):
        if D is None:
            raise CheckpointError(f"The checkpoint lacks D beside {kernel.path or 'the kernel'}.")
        return dss.kernel(kernel, D, answers)
    return state_spaces.full(kernel, D, answers)


def _around(kernel: Scope) -> Scope | None:
    """The scope that has D; None for a kernel that stands alone."""
    path = kernel.path
    if path.split(".")[-1] != "kernel":
        return None
    while path.split(".")[-1] == "kernel":
        path = path.rpartition(".")[0]
    return Scope(kernel.arrays, path, kernel.used)


def _module_path(around: Scope) -> str:
    """The path of the whole layer: version 4 has its convolution one level below."""
    path, _, last = around.path.rpartition(".")
    return path if last == "layer" and not around.has("output_linear.weight") else around.path


def _behind(scope: Scope, title: str, width: int, channels: int, answers: Answers) -> tuple[str, str | None, Callable]:
    """The activation behind the bank, the one between its two halves if it has them, and what mixes the channels."""
    for name in MIXING:
        if scope.has(f"{name}.weight") or scope.has(f"{name}.0.weight"):
            raise CheckpointError(f"{scope.whole(name)} is not known: layers with a bottleneck or a gate are not read.")
    activation = "gelu"
    if title.startswith("S4D"):
        answers.note("activation gelu, as in s4d.py")
    else:
        what = f"behind the kernel of {scope.path or 'the layer'}"
        choices = ACTIVATIONS if title.startswith("DSS") else (*ACTIVATIONS, "glu")
        activation = answers.ask("activation", what, choices)
    name = scope.first("output_linear.0.weight", "output_linear.weight")
    if name is None and _is_convolution_alone(scope, title):
        return activation, None, lambda net, place: place
    weight = scope.take(name or ("output_linear.weight" if title.startswith("DSS") else "output_linear.0.weight"))
    weight = weight.reshape(weight.shape[:2])
    inputs = weight.shape[1]
    hyper = None
    if inputs * 2 == width and activation != "glu" and title.startswith("DSS"):
        hyper = answers.setting("hyper_act", f"of DSS {scope.path}", HYPER)
    read = inputs * 2 if (hyper or activation == "glu") else inputs
    if read != width or weight.shape[0] not in (channels, 2 * channels):
        raise CheckpointError(
            f"{scope.whole(name)!r} has the shape {list(weight.shape)}; expected {channels} or {2 * channels} rows and "
            f"{width} columns."
        )
    bias = (name or "output_linear.0.weight").replace("weight", "bias")
    offset = scope.take(bias).reshape(-1)
    if len(offset) != weight.shape[0]:
        raise CheckpointError(f"{scope.whole(bias)!r} has {len(offset)} numbers; expected {weight.shape[0]}.")
    last = "glu"
    if weight.shape[0] == channels:
        last = "identity"
        if not title.startswith("DSS") or name == "output_linear.0.weight":
            what = f"behind the matrix of {scope.path or 'the layer'}"
            last = answers.setting("postact" if title.startswith("DSS") else "final_act", what, ACTIVATIONS)
    path = scope.path

    def mix(net, place):
        place = net.dense(f"{path}.output_linear", place, weight.T, offset)
        return net.glu(f"{path}.glu", place) if last == "glu" else net.activation(f"{path}.{last}", place, last)

    return activation, hyper, mix


def _is_convolution_alone(scope: Scope, title: str) -> bool:
    """Whether it is version 4's convolution without the block around it."""
    return "version 4" in title and scope.has("kernel.inv_dt") and scope.has("D")


def _build(path: str, bank: Bank, activation: str, hyper: str | None, mix: Callable):
    def build(net, place, _):
        if hyper is None:
            place = net.bank(f"{path}.dss", place, bank)
        else:  # the second half of the systems opens gates for the first
            half = bank.channels // 2
            value = net.bank(f"{path}.dss", place, bank.select(np.arange(half)))
            gate = net.bank(f"{path}.gate", place, bank.select(np.arange(half, 2 * half)))
            function = "identity" if hyper == "linear" else hyper
            place = net.add("multiply", f"{path}.product", (net.activation(f"{path}.opening", gate, function), value))
        if activation == "glu":
            return mix(net, net.glu(f"{path}.activation", place))
        return mix(net, net.activation(f"{path}.activation", place, activation))

    return build
