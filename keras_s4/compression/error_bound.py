"""How far the outputs of a reduced model can be from those of the model it was made from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from rich.table import Table

from keras_s4.activation_names import activation_name
from keras_s4.brief import Brief
from keras_s4.checks import check_model, choice
from keras_s4.classes import known_class, own_methods
from keras_s4.compression.calibrated_error import Comparison, ProbableBound, check_enough, count_groups, norm_and_mean
from keras_s4.compression.error_rules import (
    RULES,
    SLOPES,
    Deviation,
    activate,
    affine_of,
    amplify,
    gain_and_offset,
    over_time,
    refusal,
    respond,
)
from keras_s4.compression.matrices import matrices_of
from keras_s4.layers import DSS, DiagonalSSM, LowRankConv1D, LowRankDense
from keras_s4.samples import real_array
from keras_s4.scoring.outputs import last_activations
from keras_s4.surgery.graph import GRAPHS, graph_of, walk
from keras_s4.surgery.layer_inputs import check_data, windows_of
from keras_s4.surgery.layer_state import quantization_of
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tables import text_of

LOCAL_ERRORS = ("gain", "data")
CERTAIN, PROBABLE = "certain", "probable"
# Equal systems differ by less.
ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, repr=False)
class ErrorBound(Brief):
    """A bound on the error of a reduced model on some data, beside the error that was measured on it.

    Attributes:
        layers: two numbers by the name of what makes an error: the error that the layer makes of its own, and the bound
            behind it, both as the largest part of the layer's output that any sequence sees.
        bound: `[B, F]` for each output of the model; of sequences the Euclidean norm over time.
        measured: `[B, F]` the same norms of the difference, measured.
        kind: `[B]`, what the bound of each sequence is: "certain", or "probable" where it holds with `confidence`.
        confidence: probability with which a "probable" bound holds for a sequence of the same source; else 1.
        assumptions: what the bounds hold for, in words.
    """

    layers: dict[str, tuple[float, float]]
    bound: np.ndarray
    measured: np.ndarray
    kind: np.ndarray
    confidence: float = 1.0
    assumptions: str = "These sequences, whatever they are."

    @property
    def violated(self) -> np.ndarray:
        """`[B]` bool: sequences whose measured error is above its bound, by more than rounding in float32."""
        return (self.measured > self.bound * (1.0 + 1e-4) + 1e-5).any(axis=1)

    def figures(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "bound": float(self.bound.max()),
            "measured": float(self.measured.max()),
            "kinds": {str(kind): self._of_kind(kind) for kind in np.unique(self.kind)},
            "confidence": self.confidence,
            "layers": {name: {"own": own, "bound": bound} for name, (own, bound) in self.layers.items()},
        }

    def _of_kind(self, kind: str) -> dict[str, Any]:
        """How many sequences have a bound of this kind, the largest of these bounds, and the largest error."""
        of_kind = self.kind == kind
        bound, measured = (float(array[of_kind].max()) for array in (self.bound, self.measured))
        return {"sequences": int(of_kind.sum()), "bound": bound, "measured": measured}

    def table(self) -> Table:
        """A row for each layer that was reduced, and the outputs."""
        table = Table(
            "layer", "its own error", "bound behind it", "measured", title="Error bound, relative to the layers"
        )
        for name, (own, bound) in self.layers.items():
            table.add_row(name, f"{own:.3g}", f"{bound:.3g}", "")
        table.add_section()
        for kind, found in self.figures()["kinds"].items():
            text = f"{kind}, {self.confidence:.1%}" if kind == PROBABLE else kind
            table.add_row(f"outputs (absolute; {text})", "", f"{found['bound']:.3g}", f"{found['measured']:.3g}")
        return table

    def __str__(self) -> str:
        return text_of(self.table())


def error_bound(
    model: keras.Model,
    reduced: keras.Model,
    data: np.ndarray,
    local: str = "gain",
    calibration: np.ndarray | None = None,
    groups: Any = None,
) -> ErrorBound:
    """Bounds the difference of the outputs of a model and of a reduced copy of it, layer by layer.

    Where the layer G was replaced by G', the difference of their outputs is `(G' - G) u + G' e` for an input u of the
    model that is off by e in the reduced one. The first term is the layer's own error; the second passes on the
    errors made before, by the largest gain of G'. Norms are taken channel by channel, over time. In a product of
    signals, such as that of an S4 block, the model's own values on the data stand for one factor, so that the bound
    holds for these data. It grows with the depth, since every layer counts with its largest gain.

    Such a bound is certain, and on trained models far above what any data reach. With `calibration` it is probable
    instead: own errors hang on the spectra of the signals that the layers get, and what becomes of them is measured on
    the calibration. Sequences beyond it keep their certain bound; `kind` tells which. A probable bound does not hold
    against inputs that are looked for to break it.

    Args:
        model: the trained model.
        reduced: its copy by `keras_s4.reduce`, with the same layers by name.
        data: inputs of the model `[B, L, features]`; a few dozen sequences.
        local: a layer's own error: "gain" bounds it by the Hinf norm of the difference of the systems (of matrices: by
            the norms of the difference) times the size of the input, whatever its form; "data" computes it from the
            input itself, which is a tighter bound.
        calibration: inputs like those of `data`, but others, at least 40; with `local="data"` only. Where people or
            devices differ, take other ones for the calibration than for data, and as many as there are: those of the
            training serve as well, since no error is trained for.
        groups: of whom each sequence of the calibration is, `[n]` names or numbers. What is probable is then so for a
            person that nobody has seen, and from eight people on bounds are a third nearer, those behind a softmax or
            a sigmoid excepted.

    Raises:
        TypeError: no model; data that holds no real numbers.
        ValueError: an unknown `local`, data without sequences, of another shape or with NaN, several inputs or
            outputs, or a layer without a rule; the message has the list. Too few calibration sequences.

    Source: the idea of a bound for the whole model from those of its layers is that of arXiv 2510.14542; the gains are
    the usual ones of control theory (small-gain estimates). Probable bounds: Vovk, Gammerman and Shafer, Algorithmic
    learning in a random world, 2005.
    """
    check_model(model, data, "error_bound")
    check_model(reduced, None, "error_bound(model, reduced, data)")
    choice(local, "error_bound got local=", LOCAL_ERRORS)
    if groups is not None and calibration is None:
        raise ValueError("error_bound got groups without a calibration; they say of whom its sequences are.")
    if calibration is not None and local != "data":
        raise ValueError(f"error_bound got calibration with local={local!r}; it needs local='data'.")
    data = _checked(data, "data")
    graph = graph_of(model)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            f"error_bound got a model with {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; expected one "
            "of each."
        )
    check_rules(model)
    check_data(model, data)
    if calibration is None:
        return _certain(model, reduced, data, local)[0]
    calibration = _checked(calibration, "calibration")
    check_data(model, calibration)
    check_enough(calibration)
    count = None if groups is None else count_groups(groups, calibration)
    found, asked = _certain(model, reduced, data, local)
    _, known = _certain(model, reduced, calibration, local)
    return _probable(found, asked, known, count, next(iter(last_activations(model).values())))


def _checked(data: Any, name: str) -> np.ndarray:
    data = real_array(data, f"error_bound got {name}")
    if not data.size:
        raise ValueError("error_bound got no sequence; give it some inputs of the model, such as validation data.")
    return data


def _certain(model: keras.Model, reduced: keras.Model, data: np.ndarray, local: str) -> tuple[ErrorBound, Comparison]:
    """The certain bound, and what both models do; own errors where they are computed from the data."""
    propagation = _Propagation(reduced, local)
    start = Deviation(data.astype(np.float64), np.zeros((len(data), data.shape[-1])))
    (end,) = walk(model, propagation.behind, [start])
    outputs = tuple(each.predict(data, verbose=0).astype(np.float64) for each in (model, reduced))
    measured = over_time(outputs[1] - outputs[0])
    found = ErrorBound(propagation.layers, end.error, measured, np.full(len(data), CERTAIN))
    return found, Comparison.of(propagation.own, data, outputs=outputs, measured=measured)


def _probable(
    found: ErrorBound, asked: Comparison, known: Comparison, groups: int | None, activation: str | None
) -> ErrorBound:
    """Bounds that are probable for the sequences that are like the known ones."""
    probable = ProbableBound(known, groups, activation)
    meets = probable.meets(asked)
    whose = "a sequence drawn like" if groups is None else "somebody like"
    count = len(known.peak) if groups is None else groups
    exceeded = 1.0 / (count + 1.0)
    return dataclasses.replace(
        found,
        bound=np.where(meets[:, None], np.minimum(probable.of(asked), found.bound), found.bound),
        kind=np.where(meets, PROBABLE, CERTAIN),
        confidence=1.0 - exceeded,
        assumptions=(
            f"Probable bounds: {whose} the {count} of the calibration is above its bound with a probability of some "
            f"{exceeded:.2g} without the margin, a factor of {probable.margin:g}; how much rarer with it is not known. "
            "Certain ones: these sequences, whatever they are."
        ),
    )


def check_rules(model: keras.Model) -> None:
    """Refuses a model with layers for which there is no bound, before any work.

    Raises:
        ValueError: the message names all of them, and the layers that have rules.
    """
    missing, steep = [], []
    for path, layer in _bounded_layers(model):
        if mode := quantization_of(layer):
            raise refusal(layer, f"Keras has quantised its weights ({mode}); give the model as it was before that")
        if _rule_of(layer) is None:
            missing.append(f"{type(layer).__name__} {path!r}")
        elif (name := _activation_name(layer)) not in (None, "softmax", *SLOPES):
            steep.append(f"{name!r} of layer {path!r}")
    if missing:
        known = ", ".join(sorted({kind.__name__ for kind in (*RULES, *_OWN_RULES)}))
        raise ValueError(
            f"error_bound has no rule for {', '.join(missing)}; it knows {known}, and models and blocks of these."
        )
    if steep:
        raise ValueError(
            f"error_bound does not know how steep the activation {', '.join(steep)} is; it knows softmax, "
            f"{', '.join(SLOPES)}."
        )


def _bounded_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers that a signal goes through, by path; those of nested models and blocks in place of these."""
    for node in graph_of(model).nodes:
        path = prefix + node.layer.name
        if isinstance(node.layer, GRAPHS):
            yield from _bounded_layers(node.layer, f"{path}/")
        elif type(node.layer) is keras.layers.TimeDistributed:
            yield f"{path}/{node.layer.layer.name}", node.layer.layer
        else:
            yield path, node.layer


def _rule_of(layer: keras.layers.Layer) -> Callable[..., Deviation] | None:
    rules = {**_OWN_RULES, **RULES}
    kind = known_class(layer, rules)
    return None if kind is None or own_methods(layer, rules) else rules[kind]


def _activation_name(layer: keras.layers.Layer) -> str | None:
    activation = getattr(layer, "activation", None)
    return None if activation is None else activation_name(activation)


class _Propagation:
    """Walks through a model and its reduced copy at once."""

    def __init__(self, reduced: keras.Model, local: str):
        self.reduced = layers_by_path(reduced)
        self.local = local
        self.layers: dict[str, tuple[float, float]] = {}
        self.own: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def behind(self, path: str, layer: keras.layers.Layer, inputs: list[Deviation]) -> Deviation:
        """The signal behind a layer of the model."""
        if type(layer) is keras.layers.TimeDistributed:
            layer, path = layer.layer, f"{path}/{layer.layer.name}"
        rule = _rule_of(layer)
        if rule in _OWN_RULES.values():
            return rule(self, layer, self.reduced[path], *inputs, name=path)
        return rule(layer, *inputs)

    def _states(self, layer: DSS | DiagonalSSM, reduced: DSS | DiagonalSSM, signal: Deviation, name: str) -> Deviation:
        layer.check_causal("be bounded")
        system, small = layer.system(), reduced.system()
        values = respond(system, signal.values)
        if self.local == "gain":
            own = amplify(small - system, signal.norms)
        else:
            own = self._noted(name, respond(small - system, signal.values), values)
        return self._note_error(name, values, own, amplify(small, signal.error))

    def _dense(self, layer, reduced, signal: Deviation, name: str) -> Deviation:
        (kernel, bias), (small, small_bias) = affine_of(layer), affine_of(reduced)
        steps = signal.values.shape[1] if signal.values.ndim == 3 else 1
        own, values = np.sqrt(steps) * np.abs(small_bias - bias), signal.values @ kernel + bias
        if self.local == "gain":
            own = own + signal.norms @ np.abs(small - kernel)
        else:
            own = own + self._noted(name, signal.values @ (small - kernel), values)
        behind = self._note_error(name, values, own, signal.error @ np.abs(small))
        return activate(name, layer.activation, behind)

    def _normalization(self, layer, reduced, signal: Deviation, name: str) -> Deviation:
        if layer.axis % signal.values.ndim != signal.values.ndim - 1:
            raise refusal(layer, "it does not work along the features")
        (gain, offset), (small, small_offset) = gain_and_offset(layer), gain_and_offset(reduced)
        steps = signal.values.shape[1] if signal.values.ndim == 3 else 1
        own = np.abs(small - gain) * signal.norms + np.sqrt(steps) * np.abs(small_offset - offset)
        return Deviation(signal.values * gain + offset, own + np.abs(small) * signal.error)

    def _activation(self, layer, reduced, signal: Deviation, name: str) -> Deviation:
        return activate(name, layer.activation, signal)

    def _softmax(self, layer, reduced, signal: Deviation, name: str) -> Deviation:
        if layer.axis not in (-1, signal.values.ndim - 1):
            raise refusal(layer, "it does not work along the features")
        return activate(name, keras.activations.softmax, signal)

    def _convolution(self, layer, reduced, signal: Deviation, name: str) -> Deviation:
        """Each input meets every number of the kernel at most once."""
        if layer.data_format != "channels_last" or getattr(layer, "groups", 1) > 1:
            raise refusal(layer, "its channels are in groups, or its time comes last")
        kernel, small = (matrices_of(each)["kernel"] for each in (layer, reduced))
        windows = windows_of(layer, signal.values)
        bias, small_bias = (
            0.0 if each.bias is None else np.asarray(each.bias, np.float64) for each in (layer, reduced)
        )

        def gains(matrix):
            return np.abs(matrix).reshape(-1, signal.values.shape[-1], matrix.shape[-1]).sum(axis=0)

        own, values = math.sqrt(windows.shape[1]) * np.abs(small_bias - bias), windows @ kernel + bias
        if self.local == "gain":
            own = own + signal.norms @ gains(small - kernel)
        else:
            own = own + self._noted(name, windows @ (small - kernel), values)
        behind = self._note_error(name, values, own, signal.error @ gains(small))
        return activate(name, layer.activation, behind)

    def _noted(self, name: str, own: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The norms over time of an own error, which is noted down with the size of the layer's output."""
        size = np.linalg.norm(values.reshape(len(values), -1), axis=1)
        errors = norm_and_mean(own)
        self.own[name] = np.where(errors[:, :1] > ROUNDING * size[:, None], errors, 0.0), size
        return over_time(own)

    def _note_error(self, name: str, values: np.ndarray, own: np.ndarray, passed: np.ndarray) -> Deviation:
        """The signal behind a layer that may have been reduced; noted down if it was."""
        signal = Deviation(values, own + passed)
        size = np.maximum(np.linalg.norm(signal.norms, axis=1), np.finfo(float).tiny)
        relative = [float((np.linalg.norm(error, axis=1) / size).max()) for error in (own, signal.error)]
        if relative[0] > ROUNDING:
            self.layers[name] = tuple(relative)
        return signal


_OWN_RULES = {
    DSS: _Propagation._states,
    DiagonalSSM: _Propagation._states,
    keras.layers.Dense: _Propagation._dense,
    LowRankDense: _Propagation._dense,
    keras.layers.Conv1D: _Propagation._convolution,
    LowRankConv1D: _Propagation._convolution,
    keras.layers.BatchNormalization: _Propagation._normalization,
    keras.layers.Activation: _Propagation._activation,
    keras.layers.Softmax: _Propagation._softmax,
}
