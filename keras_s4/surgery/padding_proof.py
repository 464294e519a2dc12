"""Does a model treat padded sequences as a stream does: as if they had their real steps alone?

Masks promise that, and not every layer keeps the promise: a convolution of Keras drops its mask and computes with
padding as with samples, and behind padding in front of a sequence it even looks back into it. No rule here says which
layers do; the model itself is asked, with and without padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_s4.padded_sequences import move_real_steps_first
from keras_s4.samples import as_list
from keras_s4.surgery.calls import output_names
from keras_s4.surgery.graph import graph_of
from keras_s4.surgery.padding import Padding, as_tensors, call_layers, layers_within, mask_at

KINDS = {"end": "at the end of", "front": "in front of", "middle": "in the middle of"}
# Sequences of each kind on which a model is asked.
SEQUENCES = 2
# Steps where the model's length is open.
TRIAL_LENGTH = 12
# Of the largest output: what rounding may do in models of single precision, and of half.
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2


class Proof:
    """Asks a model, once for padding at the end and once for padding in front; in the middle, every time.

    Args:
        padding: the padding of the model.
        maker: what wants to know, the subject of the messages: "convert", "StreamingModel".
    """

    def __init__(self, padding: Padding, maker: str):
        self._padding = padding
        self._maker = maker
        self._proven: set[str] = set()

    def check(self, arrays: Sequence[np.ndarray], real: np.ndarray) -> None:
        """Refuses padding with which the model gives another output than without.

        Args:
            arrays: for each input of the model `[B, L, ...]`.
            real: bool `[B, L]`, which steps are real.

        Raises:
            ValueError: there is such padding; the message says where, which layer is why, and what to do.
        """
        if not real.all():
            _refuse_maximum(self._padding.model, self._maker)
        asked = np.zeros(len(real), bool)
        for kind, amounts in padded_steps(real).items():
            padded = np.flatnonzero((amounts > 0) & ~asked)
            asked[padded] = True
            if kind in self._proven or not padded.size:
                continue
            for sequence in _typical(padded, amounts):
                self._ask(kind, [array[sequence, None] for array in arrays], real[sequence, None])
            if kind != "middle":
                self._proven.add(kind)

    def check_end(self, arrays: Sequence[np.ndarray]) -> None:
        """`check` with sequences that are padded at their end, here if need be, if it is known with what.

        Args:
            arrays: for each input of the model `[B, L, ...]`, with or without padding.
        """
        real = self._padding.real_steps(arrays)
        self.check(arrays, real)
        if "end" in self._proven:
            return
        first = [move_real_steps_first(array[:1], real[:1]) for array in arrays]
        length = first[0].shape[1]
        for value in _padding_values(self._padding.model):
            padded = [np.array(array, copy=True) for array in first]
            for array, tokens in zip(padded, _token_counts(self._padding.model), strict=True):
                # A value of Masking layers farther inside need not be a token.
                array[:, max(1, length // 2) :] = value if tokens is None or value in range(tokens) else 0
            expected = np.arange(length)[None] < max(1, length // 2)
            if length > 1 and np.array_equal(self._padding.real_steps(padded), expected):
                self.check(padded, expected)
                return

    def _ask(self, kind: str, arrays: list[np.ndarray], real: np.ndarray) -> None:
        model = self._padding.model
        fixed = model.inputs[0].shape[0] or 1
        padded = [np.repeat(array, fixed, axis=0) for array in arrays]
        alone = [move_real_steps_first(array, np.repeat(real, fixed, axis=0))[:, : real.sum()] for array in padded]
        outputs = _in_order(model, model(_arguments(model, padded), training=False))
        streamed = call_layers(model, as_tensors(model, alone))
        for with_padding, without in zip(outputs, streamed, strict=True):
            expected, received = (
                keras.ops.convert_to_numpy(values).astype(np.float64) for values in (with_padding, without)
            )
            expected = _at_real_steps(expected[:1], received[:1], real)
            if expected is None or _differ(expected, received[:1], model):
                raise ValueError(self._message(kind, padded, expected, received[:1]))

    def _message(self, kind: str, arrays: list[np.ndarray], expected, received) -> str:
        name = self._padding.model.name
        subject = f"{self._maker}: with padding {KINDS[kind]} a sequence, model {name!r}"
        if expected is None:
            what = "gives another number of values than without"
        else:
            what = f"gives an output that differs by up to {np.abs(expected - received).max():.3g} from that without"
        dropping = _layer_that_drops_masks(self._padding.model, arrays)
        if dropping:
            why = (
                f"Layer {dropping.name!r} ({type(dropping).__name__}) does not pass the mask on, so that what follows "
                "computes with padded steps as with real ones"
            )
        elif kind == "middle":
            why = "Its layers let time pass in masked steps"
        elif kind == "front":
            why = "One of its layers looks back into the padding"
        else:
            why = "One of its layers computes with padded steps"
        remedies = {
            "end": "Use layers that pass masks on (Dense, DSS, S4 blocks, recurrent layers, LastStep, "
            "GlobalAveragePooling1D) from the mask to the output, or train without a mask on sequences of one length",
            "front": "Pad sequences at their end, which such layers do not see, and train again",
            "middle": "Cut sequences where steps are missing, or fill these steps in",
        }
        return f"{subject} {what}; in a stream there are real steps only. {why}. {remedies[kind]}."


def padded_steps(real: np.ndarray) -> dict[str, np.ndarray]:
    """How many steps of each sequence are padding, `[B]`: between real ones, in front of them, behind them.

    Args:
        real: bool `[B, L]`, with a real step in each sequence.
    """
    front = real.argmax(axis=1)
    end = real[:, ::-1].argmax(axis=1)
    return {"middle": (~real).sum(axis=1) - front - end, "front": front, "end": end}


def _typical(sequences: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """A few of some sequences, with neither the least padding, which may not show, nor so much that nothing is left."""
    order = sequences[np.argsort(-amounts[sequences], kind="stable")]
    return order[len(order) // 3 :][:SEQUENCES]


def trial_data(model: keras.Model) -> list[np.ndarray]:
    """A sequence for each input of a model, if there are no data: noise, or tokens where an Embedding reads them."""
    random = np.random.default_rng(0)
    lengths = [tensor.shape[1] for tensor in model.inputs if tensor.shape[1]]
    found = []
    for tokens, tensor in zip(_token_counts(model), model.inputs, strict=True):
        shape = (1, *(lengths or [TRIAL_LENGTH])[:1], *(size or 1 for size in tensor.shape[2:]))
        found.append(random.normal(size=shape) if tokens is None else random.integers(1, max(2, tokens), shape))
    return found


def _token_counts(model: keras.Model) -> list[int | None]:
    """For each input how many tokens there are where an Embedding reads it, None elsewhere."""
    graph = graph_of(model)
    readers = (
        [layer for layer in graph.readers(key) if isinstance(layer, keras.layers.Embedding)] for key in graph.inputs
    )
    return [min((layer.input_dim for layer in layers), default=None) for layers in readers]


def _at_real_steps(expected: np.ndarray, received: np.ndarray, real: np.ndarray) -> np.ndarray | None:
    """The outputs of a padded sequence at its real steps; None if they cannot be those of the sequence alone."""
    if expected.ndim > 2 and expected.shape[1] == real.shape[1] and received.shape[1] == real.sum():
        expected = move_real_steps_first(expected, real)[:, : real.sum()]
    elif expected.ndim > 2 and real[0, : real.sum()].all():  # behind layers that drop steps
        expected = expected[:, : received.shape[1]]
    return expected if expected.shape == received.shape else None


def _differ(expected: np.ndarray, received: np.ndarray, model: keras.Model) -> bool:
    half = any("16" in layer.compute_dtype for layer in model.layers)
    largest = max(float(np.abs(received).max(initial=0.0)), 1e-6)
    return not np.abs(expected - received).max(initial=0.0) <= (HALF_TOLERANCE if half else TOLERANCE) * largest


def _refuse_maximum(model: keras.Model, maker: str) -> None:
    for layer in layers_within(model):
        if isinstance(layer, keras.layers.GlobalMaxPooling1D):
            raise ValueError(
                f"{maker}: layer {layer.name!r} (GlobalMaxPooling1D) of model {model.name!r}, which masks padded "
                "steps, takes the maximum over padding too, and in a stream there is none. Use GlobalAveragePooling1D "
                "or keras_s4.layers.LastStep, which heed the mask, or train without a mask."
            )


def _layer_that_drops_masks(model: keras.Model, arrays: list[np.ndarray]) -> keras.layers.Layer | None:
    """The first layer that is given a mask and gives a sequence without one; None if there is none."""
    found = []

    def watch(layer, inputs, outputs):
        masked = [mask_at(tensor) is not None for tensor in inputs]
        outputs = as_list(outputs)
        steps = inputs[0].shape[1] if len(inputs[0].shape) > 1 else None
        ends = getattr(layer, "return_sequences", True) is False or len(outputs[0].shape) < len(inputs[0].shape)
        if any(masked) and not ends and steps and mask_at(outputs[0]) is None:
            found.append(layer)

    call_layers(model, as_tensors(model, arrays), watch)
    return found[0] if found else None


def _padding_values(model: keras.Model) -> list[float]:
    """What padded steps may hold: the values of Masking layers, and token 0."""
    values = [layer.mask_value for layer in layers_within(model) if isinstance(layer, keras.layers.Masking)]
    return list(dict.fromkeys([*values, 0]))


def _in_order(model: keras.Model, outputs) -> list:
    """The outputs in the order of the model's graph."""
    if isinstance(outputs, dict):
        return [outputs[name] for name in output_names(model)]
    return keras.tree.flatten(outputs)


def _arguments(model: keras.Model, arrays: list[np.ndarray]):
    tensors = as_tensors(model, arrays)
    if len(tensors) == 1:
        return tensors[0]
    return keras.tree.pack_sequence_as(model.input, tensors)
