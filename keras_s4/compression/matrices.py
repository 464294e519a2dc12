"""Weight matrices as parts: their spectra are their singular values."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import keras
import numpy as np

from keras_s4.brief import Brief
from keras_s4.compression.part import Cost, Part
from keras_s4.layers import (
    LowRankConv1D,
    LowRankDense,
    LowRankGRU,
    LowRankGRUCell,
    LowRankLSTM,
    LowRankLSTMCell,
    LowRankSimpleRNN,
    LowRankSimpleRNNCell,
)
from keras_s4.surgery.paths import layers_by_path
from keras_s4.weights import finite_weights

LOW_RANK = {
    keras.layers.Dense: LowRankDense,
    keras.layers.Conv1D: LowRankConv1D,
    keras.layers.GRU: LowRankGRU,
    keras.layers.GRUCell: LowRankGRUCell,
    keras.layers.LSTM: LowRankLSTM,
    keras.layers.LSTMCell: LowRankLSTMCell,
    keras.layers.SimpleRNN: LowRankSimpleRNN,
    keras.layers.SimpleRNNCell: LowRankSimpleRNNCell,
}
RECURRENT_MATRICES = ("kernel", "recurrent_kernel")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MatrixPart(Part, Brief):
    """A weight matrix, by which inputs `[..., m]` are multiplied from the right.

    Args:
        name: the name of the layer and of the matrix in it, such as "gru/kernel".
        matrix: `[m, n]`; the kernel of a convolution has a row for each of its inputs, `m = kernel size * channels`.
        rank: the rank that the matrix is factored at already; None for a whole matrix.
        moment: `[m, m]`, the mean of `x' x` over the rows x that the matrix is multiplied by, if measured. The part's
            spectrum and its truncation are then those of the products, and no longer of the matrix alone.
        left_products: how often a step multiplies by the left factor, once the matrix is factored.
    """

    kind: ClassVar[str] = "matrix"

    name: str
    matrix: np.ndarray
    rank: int | None = None
    moment: np.ndarray | None = None
    left_products: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns `(m, n)`."""
        return self.matrix.shape

    @property
    def max_rank(self) -> int:
        """The rank of the factors, or the smaller side of a whole matrix, which then stays whole."""
        return self.rank or min(self.shape)

    @functools.cached_property
    def choices(self) -> tuple[int, ...]:
        """Ranks at which the factors hold fewer numbers than the matrix as it is, and `max_rank`."""
        rows, columns = self.shape
        saving = range(1, self.max_rank) if self.rank else range(1, -(-rows * columns // (rows + columns)))
        return (*saving, self.max_rank)

    @property
    def spectrum(self) -> np.ndarray:
        """`[max_rank]`: singular values, or with a `moment` the root mean squares of the products' components."""
        return self._decomposition[0]

    def cost(self, rank: int) -> Cost:
        """A byte and a multiply-accumulate for each number; a bias is not part of it."""
        rows, columns = self.shape
        if self._is_whole(rank):
            return Cost(rows * columns, 0, rows * columns)
        return Cost(rank * (rows + columns), 0, rank * (self.left_products * rows + columns))

    def error_bound(self, rank: int) -> float:
        """The largest singular value that is dropped, relative to the largest of all.

        That is the relative error in the spectral norm, of the matrix or, with a `moment`, of its products.
        """
        values = self.spectrum
        return float(values[rank] / values[0]) if rank < self.max_rank and values[0] > 0 else 0.0

    def truncate(self, rank: int) -> np.ndarray:
        """The best approximation `[m, n]` of a rank: with a `moment` the one of least mean square output error.

        Without one it is the truncated singular value decomposition (Eckart and Young 1936). With one, the error
        `trace((W - W_r)' M (W - W_r))` is least for `W_r = W V_r V_r'`, V_r being the leading right singular vectors of
        `M^{1/2} W`. Nothing is inverted, so that inputs which never occur do no harm.

        Raises:
            ValueError: the rank is out of range.
        """
        self._check_rank(rank)
        if rank == self.max_rank:
            return self.matrix
        kept = self._decomposition[1][:rank]
        return (self.matrix @ kept.T) @ kept

    @functools.cached_property
    def _decomposition(self) -> tuple[np.ndarray, np.ndarray]:
        """Singular values `[max_rank]` and right singular vectors, as rows `[max_rank, n]`, of the weighted matrix."""
        weighted = self.matrix if self.moment is None else _square_root(self.moment) @ self.matrix
        _, values, vectors = np.linalg.svd(weighted, full_matrices=False)
        return values[: self.max_rank], vectors[: self.max_rank]

    def _is_whole(self, rank: int) -> bool:
        return self.rank is None and rank == self.max_rank


def matrix_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers of a model whose matrices can be factored, also inside of others, by their paths: "block_1/value".

    Subclasses of Keras' layers are left out, as nothing says what they do with their weights; so are quantised layers,
    layers with LoRA weights, and convolutions with groups.
    """
    return {path: layer for path, layer in layers_by_path(model).items() if can_be_factored(layer)}


def matrix_parts(
    layer_name: str, layer: keras.layers.Layer, moments: dict[str, np.ndarray] | None = None
) -> dict[str, MatrixPart]:
    """The parts of one layer by name, without those of which no rank saves anything.

    Args:
        layer_name: the path, as `matrix_layers` gives it.
        layer: a layer that `matrix_layers` gives.
        moments: moments of the inputs of its matrices, by the matrices' names; see `MatrixPart`.
    """
    parts = [
        MatrixPart(
            f"{layer_name}/{name}",
            matrix,
            rank=getattr(layer, "ranks", {}).get(name),
            moment=(moments or {}).get(name),
            left_products=2 if name == "recurrent_kernel" and not getattr(owner_of(layer), "reset_after", True) else 1,
        )
        for name, matrix in matrices_of(layer).items()
    ]
    return {part.name: part for part in parts if len(part.choices) > 1}


def matrices_of(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """The full matrices of a layer by name, `[m, n]` in float64.

    Raises:
        ValueError: the layer is not built, or its weights hold NaN or infinite numbers.
    """
    if isinstance(layer, tuple(LOW_RANK.values())):
        return layer.matrices()
    if _is_recurrent(layer):
        return dict(zip(RECURRENT_MATRICES, finite_weights(owner_of(layer), *RECURRENT_MATRICES), strict=True))
    (kernel,) = finite_weights(layer, "kernel")
    return {"kernel": kernel.reshape(-1, kernel.shape[-1])}


def low_rank_layer(layer: keras.layers.Layer, ranks: dict[str, int]) -> keras.layers.Layer:
    """A new layer with the arguments of another and lower ranks of some matrices; it has no weights yet.

    Args:
        layer: a layer that `matrix_layers` gives.
        ranks: ranks by the matrices' names; others stay whole, or at the rank that they have.
    """
    config = layer.get_config()
    arguments: dict[str, Any] = {"rank": ranks.get("kernel", config.get("rank"))}
    if _is_recurrent(layer):
        arguments["recurrent_rank"] = ranks.get("recurrent_kernel", config.get("recurrent_rank"))
    for needless in ("groups", "quantization_config"):  # of layers that `matrix_layers` gives they say nothing
        config.pop(needless, None)
    return LOW_RANK.get(type(layer), type(layer)).from_config({**config, **arguments})


def can_be_factored(layer: keras.layers.Layer) -> bool:
    """Whether a layer of low rank can take the place of a layer."""
    if type(layer) in LOW_RANK.values():
        return True
    changed = getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False)
    return type(layer) in LOW_RANK and not changed and getattr(layer, "groups", 1) == 1


def _is_recurrent(layer: keras.layers.Layer) -> bool:
    return hasattr(owner_of(layer), "recurrent_initializer")


def owner_of(layer: keras.layers.Layer) -> keras.layers.Layer:
    """What has the weights of a layer: its cell, if it is recurrent."""
    return getattr(layer, "cell", layer)


def _square_root(moment: np.ndarray) -> np.ndarray:
    """S with `S' S` = the moment, which rounding may have made slightly indefinite."""
    values, vectors = np.linalg.eigh(moment)
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
