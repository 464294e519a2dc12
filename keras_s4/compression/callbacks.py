"""Callbacks for `fit` that make a model compressible: penalties that grow, and truncation during training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from keras_s4.checks import is_real, is_whole, whole_number
from keras_s4.compression.matrices import RECURRENT_MATRICES, matrix_layers, owner_of
from keras_s4.layers.state_regularizer import StatePenalty
from keras_s4.regularizers import WeightedRegularizer

SCHEDULES = ("linear", "geometric")


class GrowingWeight(keras.callbacks.Callback):
    """Lets the weight of regularisers grow over the epochs, from `start` to `end`.

    A model first learns what it is for, and then to do it with less. The weight is logged as `penalty_weight`.
    `GrowingWeight(0.0, 1e-4, epochs=111, after=10)` is what Maison et al. let grow from epoch 10 to epoch 120.

    Args:
        start: weight until it begins to grow; positive if the schedule is geometric.
        end: weight when it has grown.
        epochs: number of epochs from the last that has the weight `start` to the first that has `end`, both included.
        schedule: "linear", or "geometric": every epoch multiplies the weight by the same factor.
        regularizers: the `NuclearNorm`s and `HankelNorm`s whose weights grow. By default all of the model.
        after: epochs with the weight `start` that go before these.

    Raises:
        ValueError: an argument out of range; when training starts, a model without such regularisers.

    Source: Maison, du Mas des Bourboux and Courtat 2023 (arXiv 2310.12688).
    """

    def __init__(
        self,
        start: float,
        end: float,
        epochs: int,
        schedule: str = "linear",
        regularizers: Iterable[WeightedRegularizer] | None = None,
        after: int = 0,
    ):
        super().__init__()
        lowest = "above 0" if schedule == "geometric" else "of at least 0"
        for name, weight in (("start", start), ("end", end)):
            valid = is_real(weight) and 0.0 <= weight < np.inf
            if not valid or (schedule == "geometric" and weight == 0.0):
                raise ValueError(f"GrowingWeight got {name}={weight!r}; expected a finite number {lowest}.")
        epochs = whole_number(epochs, "GrowingWeight got epochs=")
        if schedule not in SCHEDULES:
            raise ValueError(f"GrowingWeight got schedule={schedule!r}; expected one of {', '.join(SCHEDULES)}.")
        self.start, self.end, self.epochs, self.schedule = float(start), float(end), epochs, schedule
        self.after = whole_number(after, "GrowingWeight got after=", least=0)
        self.regularizers = None if regularizers is None else list(regularizers)

    def weight(self, epoch: int) -> float:
        """The weight in an epoch, counted from 0."""
        grown = epoch - self.after
        part = float(grown >= 0) if self.epochs == 1 else min(max(grown, 0) / (self.epochs - 1), 1.0)
        if self.schedule == "geometric":
            return self.start ** (1.0 - part) * self.end**part
        return self.start * (1.0 - part) + self.end * part

    def on_train_begin(self, logs=None):
        """Finds the model's regularisers."""
        self._regularizers = weighted_regularizers(self.model) if self.regularizers is None else self.regularizers
        if not self._regularizers:
            raise ValueError(
                f"GrowingWeight found no NuclearNorm or HankelNorm in model {self.model.name!r}; give its layers one, "
                "for example keras.layers.Dense(..., kernel_regularizer=NuclearNorm(1e-4))."
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the weight of the epoch."""
        for regularizer in self._regularizers:
            regularizer.weight = self.weight(epoch)

    def on_epoch_end(self, epoch, logs=None):
        """Logs the weight of the epoch."""
        if logs is not None:
            logs["penalty_weight"] = self.weight(epoch)


class HardLowRank(keras.callbacks.Callback):
    """Projects weight matrices to a low rank every few epochs and when training ends.

    A projection keeps the largest singular values (Eckart and Young 1936). In between the matrices are free, so that
    training can turn the subspace that is kept. They keep their shape, and the optimizer its state; afterwards
    `keras_s4.reduce(model, callback.ranks)` makes them small.

    The projection is the last of its epoch that changes a weight, and comes before the validation: what is validated,
    and saved by callbacks as the best, has the low ranks. (Callbacks that save after an epoch without validation see
    the projected matrices if they come later in the list.)

    Args:
        ranks: the rank of every matrix by its name, as in `weight_matrices(model)`; or one rank, or one fraction of the
            smaller side (rounded up), for all that are larger. An int is a rank, a float from above 0 to 1 a fraction.
        every: epochs from one projection to the next.

    Attributes:
        ranks: the rank of every matrix that is projected, by name, once training has started.

    Raises:
        ValueError: an argument out of range; when training starts, a name that is not in the model, a rank larger than
            the smaller side of its matrix, or a model without matrices.

    Source: Maison, du Mas des Bourboux and Courtat 2023 (arXiv 2310.12688).
    """

    def __init__(self, ranks: Mapping[str, int | float] | int | float, every: int = 1):
        super().__init__()
        every = whole_number(every, "HardLowRank got every=")
        for rank in ranks.values() if isinstance(ranks, Mapping) else [ranks]:
            whole = is_whole(rank) and rank >= 1
            if not whole and not (isinstance(rank, (float, np.floating)) and 0.0 < rank <= 1.0):
                raise ValueError(
                    f"HardLowRank got the rank {rank!r}; expected a whole number of at least 1, or a fraction above 0 "
                    "and at most 1.0."
                )
        self._wanted = dict(ranks) if isinstance(ranks, Mapping) else ranks
        self.every = every
        self._due = False
        self.ranks: dict[str, int] = {}

    def on_train_begin(self, logs=None):
        """Finds the matrices."""
        matrices = weight_matrices(self.model)
        if not matrices:
            raise ValueError(f"HardLowRank found no weight matrix in model {self.model.name!r}.")
        if isinstance(self._wanted, dict):
            self.ranks = {name: self._rank_of(name, rank, matrices) for name, rank in self._wanted.items()}
        else:
            largest = {name: min(_matrix_of(weight).shape) for name, weight in matrices.items()}
            ranks = {name: _whole_rank(self._wanted, limit) for name, limit in largest.items()}
            self.ranks = {name: rank for name, rank in ranks.items() if rank < largest[name]}
        self._matrices = {name: matrices[name] for name in self.ranks}

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers whether it is the turn of this epoch."""
        self._due = (epoch + 1) % self.every == 0

    def on_test_begin(self, logs=None):
        """Projects before the validation of an epoch whose turn it is."""
        self._project_if_due()

    def on_epoch_end(self, epoch, logs=None):
        """Projects, if it is the turn of this epoch and nothing was validated."""
        self._project_if_due()

    def on_train_end(self, logs=None):
        """Projects what training has left."""
        self.project()

    def project(self) -> None:
        """Replaces every matrix by the nearest one of its rank."""
        for name, weight in self._matrices.items():
            left, values, right = np.linalg.svd(_matrix_of(weight), full_matrices=False)
            rank = self.ranks[name]
            weight.assign(((left[:, :rank] * values[:rank]) @ right[:rank]).reshape(weight.shape))

    def _project_if_due(self) -> None:
        if self._due:
            self.project()
        self._due = False

    def _rank_of(self, name: str, rank: int | float, matrices: dict[str, keras.Variable]) -> int:
        if name not in matrices:
            raise ValueError(
                f"HardLowRank found no matrix {name!r} in model {self.model.name!r}; it has {', '.join(matrices)}."
            )
        shape = _matrix_of(matrices[name]).shape
        if rank > min(shape):
            raise ValueError(
                f"HardLowRank got rank {rank} for {name!r} of shape {list(shape)}; expected at most {min(shape)}."
            )
        return _whole_rank(rank, min(shape))


def weighted_regularizers(model: keras.Model) -> list[WeightedRegularizer]:
    """The regularisers of a model whose weight can change, each once, in the order of its weights."""
    found = [weight.regularizer for weight in model.trainable_weights]
    found = [item.regularizer if isinstance(item, StatePenalty) else item for item in found]
    return list({id(item): item for item in found if isinstance(item, WeightedRegularizer)}.values())


def weight_matrices(model: keras.Model) -> dict[str, keras.Variable]:
    """The whole weight matrices of a model by name, as in `parts_of`: "gru/recurrent_kernel", "block_1/value/kernel".

    Those of layers that `keras_s4.reduce` can factor. The kernel of a convolution has more than two axes and counts as
    a matrix `[all other sides, output channels]`.
    """
    matrices = {}
    for layer_name, layer in matrix_layers(model).items():
        for name in RECURRENT_MATRICES:  # of other layers the first
            if isinstance(getattr(owner_of(layer), name, None), keras.Variable):
                matrices[f"{layer_name}/{name}"] = getattr(owner_of(layer), name)
    return matrices


def _matrix_of(weight: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(weight).reshape(-1, weight.shape[-1]).astype(np.float64)


def _whole_rank(rank: int | float, limit: int) -> int:
    """The rank itself, or the fraction of the largest rank that it stands for."""
    return int(rank) if is_whole(rank) else math.ceil(rank * limit)


def compile_again(model: keras.Model) -> None:
    """Drops the compiled training and test steps, so that the next ones see what has changed."""
    model.make_train_function(force=True)
    if model.test_function is not None:
        model.make_test_function(force=True)
