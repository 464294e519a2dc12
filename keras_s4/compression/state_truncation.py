"""Truncation of the states of DSS layers while a model trains."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from keras_s4.checks import is_real, is_whole
from keras_s4.compression.callbacks import compile_again
from keras_s4.compression.shared_states import SharedStatesPart
from keras_s4.compression.states import StatesPart
from keras_s4.layers import DSS
from keras_s4.surgery.cloning import clone, dss_layers, state_space_layers


class TruncateStates(keras.callbacks.Callback):
    """Reduces the states of every DSS and DiagonalSSM layer by balanced truncation at the end of some epochs.

    Early in training a layer needs few of its states, and what is cut off then is not missed later. The rank of a layer
    never grows again. The shapes of the weights cannot change during `fit`, so the modes that are gone stay as entries
    with zero residues, which a constraint keeps at zero; `keras_s4.reduce(model, callback.ranks)` then gives the
    smaller model with the same outputs. The constraint is not saved with the model: reduce before you save and train
    further.

    After a truncation the training step is compiled again. The optimizer keeps its state, so that its moments are those
    of the old modes for some steps.

    To save time during training, too, train in stages: `model.fit(...)`, then
    `model = keras_s4.reduce(model, keras_s4.ranks.energy(model, 0.999))`, and again.

    Args:
        epochs: numbers of epochs, counted from 1, at whose end to truncate, such as `range(2, 11, 2)`.
        energy: part of the energy (sum of squares) of a layer's Hankel singular values to keep, above 0 and below 1.
        tolerance: instead of `energy`, the bound on the relative error (Hinf, worst channel) of a truncation.

    Attributes:
        ranks: modes per channel that each DSS layer still has, by the layer's name as in `parts_of`.

    Raises:
        ValueError: an argument out of range; when training starts, a model without DSS layers, or with one whose
            channels share their poles.

    Source: CompreSSM (arXiv 2510.02823).
    """

    def __init__(self, epochs: Iterable[int], energy: float | None = None, tolerance: float | None = None):
        super().__init__()
        self.epochs = frozenset(epochs)
        if not self.epochs or not all(is_whole(epoch) and epoch >= 1 for epoch in self.epochs):
            raise ValueError(f"TruncateStates got epochs={list(self.epochs)}; expected whole numbers of at least 1.")
        if (energy is None) == (tolerance is None):
            raise ValueError(f"TruncateStates got energy={energy}, tolerance={tolerance}; give exactly one of the two.")
        if energy is not None and not (is_real(energy) and 0.0 < energy < 1.0):
            raise ValueError(f"TruncateStates got energy={energy!r}; expected a number above 0 and below 1.")
        if tolerance is not None and not (is_real(tolerance) and 0.0 < tolerance < np.inf):
            raise ValueError(f"TruncateStates got tolerance={tolerance!r}; expected a positive number.")
        self.energy, self.tolerance = energy, tolerance
        self.ranks: dict[str, int] = {}

    def on_train_begin(self, logs=None):
        """Finds the DSS layers. Ranks of an earlier `fit` of the same model stay."""
        layers = state_space_layers(self.model)
        if not layers:
            raise ValueError(f"TruncateStates found no DSS or DiagonalSSM layer in model {self.model.name!r}.")
        sharing = [name for name, layer in dss_layers(self.model).items() if not layer.per_channel_poles]
        if sharing:
            raise ValueError(
                f"TruncateStates cannot truncate {', '.join(sharing)}, whose channels share their poles; create the "
                "layers with per_channel_poles=True, or train state_truncation.with_own_poles(model)."
            )
        self.ranks = {name: _rank_kept(layer) for name, layer in layers.items()}

    def on_epoch_end(self, epoch, logs=None):
        """Truncates, if it is the turn of this epoch."""
        if epoch + 1 in self.epochs:
            self.truncate()

    def truncate(self) -> None:
        """Truncates every layer to the lowest rank that keeps the energy or the tolerance."""
        shrunk = False
        for name, layer in state_space_layers(self.model).items():
            part = (StatesPart if isinstance(layer, DSS) else SharedStatesPart)(name, layer.system())
            rank = next((rank for rank in range(1, self.ranks[name]) if self._is_enough(part, rank)), None)
            if rank is not None:
                layer.set_system(part.truncate(rank).system.padded(layer.state_size))
                _readout(layer).constraint = FirstEntries(rank)
                self.ranks[name], shrunk = rank, True
        if shrunk:
            compile_again(self.model)  # the step that is compiled knows nothing of the constraints

    def _is_enough(self, part: StatesPart | SharedStatesPart, rank: int) -> bool:
        return part.energy(rank) >= self.energy if self.tolerance is None else part.error_bound(rank) <= self.tolerance


@keras.saving.register_keras_serializable(package="keras_s4")
class FirstEntries(keras.constraints.Constraint):
    """Constraint of residues `[H, N, 2]`, or outputs of shared modes: those behind the first `rank` are zero.

    Args:
        rank: modes per channel that are free.
    """

    def __init__(self, rank: int):
        self.rank = rank

    def __call__(self, residues):
        """The residues of the first modes, and zeros."""
        kept = np.arange(residues.shape[1]) < self.rank
        return ops.where(kept[:, None], ops.convert_to_tensor(residues), 0.0)

    def get_config(self):
        """Every argument."""
        return {"rank": self.rank}


def with_own_poles(model: keras.Model) -> keras.Model:
    """A copy of a model with the same outputs in which every channel of every DSS layer has poles of its own.

    A compiled model gives a compiled one with a fresh optimizer.

    Raises:
        ValueError: the model is not built, or holds NaN.
    """
    systems = {name: layer.system() for name, layer in dss_layers(model).items() if not layer.per_channel_poles}
    copy = clone(model, {name: {"per_channel_poles": True} for name in systems})
    for name, system in systems.items():
        dss_layers(copy)[name].set_system(system)
    return copy


def _rank_kept(layer: keras.layers.Layer) -> int:
    constraint = _readout(layer).constraint
    return constraint.rank if isinstance(constraint, FirstEntries) else layer.state_size


def _readout(layer: keras.layers.Layer) -> keras.Variable:
    """The weight that reads the modes, `[H, N, 2]`: without it a mode does nothing."""
    return layer.residues if isinstance(layer, DSS) else layer.output_matrix
