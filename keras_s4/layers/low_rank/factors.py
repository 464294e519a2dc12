"""Weight matrices as products of two factors: how they start, multiply, are read and are set."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_s4.checks import is_whole, quote
from keras_s4.errors import LayerError
from keras_s4.initializers import draw, give
from keras_s4.precision import at_least_single
from keras_s4.weights import finite_weights

Tensor = Any


class LowRankWeights:
    """Mixin of Keras layers whose weight matrices are each whole or the product of two factors.

    A matrix `name` `[m, n]` of rank r is two weights, `{name}_left` `[m, r]` and `{name}_right` `[r, n]`. One whose
    rank is None is whole: a single weight `name`, as in the Keras layer.

    Attributes:
        ranks: the rank of every matrix by its name, None for a whole matrix; a layer gives it as a property.
    """

    ranks: dict[str, int | None]

    def matrices(self) -> dict[str, np.ndarray]:
        """The full matrices by name in float64: the weights themselves, or the products of their factors.

        Raises:
            ValueError: the layer is not built, or its weights hold NaN or infinite numbers.
        """
        return {
            name: functools.reduce(np.matmul, finite_weights(self, *self._weight_names(name))) for name in self.ranks
        }

    def set_matrices(self, **matrices) -> None:
        """Takes over full matrices, by name; those that are not given, and the biases, stay as they are.

        A factored matrix is replaced by its best approximation of that rank, the truncated singular value
        decomposition (Eckart and Young 1936): in the spectral norm it misses by the largest singular value dropped. The
        factors share the singular values evenly, so that gradients reach both alike.

        Args:
            matrices: `[m, n]` each, such as `kernel=...`; the names are those of `matrices()`.

        Raises:
            ValueError: the layer is not built or has no matrix of a name, or a matrix has another shape or holds NaN
                or infinite numbers. Nothing is set then.
        """
        if not self.built:
            raise LayerError(f"Layer {self.name!r} has no weights yet; call the model on data or build it first.")
        checked = {name: self._checked_matrix(name, matrix) for name, matrix in matrices.items()}
        for name, matrix in checked.items():
            for weight_name, factor in zip(self._weight_names(name), self._factorize(name, matrix), strict=True):
                getattr(self, weight_name).assign(factor)

    def _add_matrix(self, name: str, shape: tuple[int, int], initializer, regularizer, constraint) -> None:
        """Creates the weights of a matrix: spectral initialisation where it is factored.

        The factors are those of the matrix that `initializer` draws, as in `set_matrices`. So the directions that are
        kept have the gains that the initialiser chose for them, whatever the rank, and neither factor starts out
        larger than the other.

        Source: Khodak, Tenenholtz, Mackey and Fusi 2021 (arXiv 2105.01029), spectral initialisation.
        """
        rank = self.ranks[name]
        add = functools.partial(self.add_weight, regularizer=regularizer, constraint=constraint)
        if rank is None:
            setattr(self, name, add(name=name, shape=shape, initializer=initializer))
            return
        if rank > min(shape):
            raise LayerError(
                f"Layer {self.name!r} got rank {rank} for its {name} of shape {list(shape)}; expected at most "
                f"{min(shape)}, the smaller side. Choose a lower rank, or a layer that keeps the matrix whole."
            )

        # Both weights must come from one draw, and not every initialiser repeats itself.
        matrix = draw(initializer, shape, at_least_single(self.variable_dtype)).astype(np.float64)
        names = self._weight_names(name)
        for weight_name, factor in zip(names, self._factorize(name, matrix), strict=True):
            setattr(self, weight_name, add(name=weight_name, shape=factor.shape, initializer=give(factor)))

    def _multiply(self, inputs: Tensor, name: str, columns: slice | None = None) -> Tensor:
        """Product of inputs `[..., m]` with a matrix, or with some of its columns, one factor after the other."""
        factors = [getattr(self, weight_name) for weight_name in self._weight_names(name)]
        if columns is not None:
            factors[-1] = factors[-1][:, columns]
        return functools.reduce(ops.matmul, factors, inputs)

    def _weight_names(self, name: str) -> tuple[str, ...]:
        return (name,) if self.ranks[name] is None else (f"{name}_left", f"{name}_right")

    def _factorize(self, name: str, matrix: np.ndarray) -> tuple[np.ndarray, ...]:
        rank = self.ranks[name]
        return (matrix,) if rank is None else _balanced(*np.linalg.svd(matrix, full_matrices=False), rank)

    def _checked_matrix(self, name: str, matrix) -> np.ndarray:
        if name not in self.ranks:
            raise LayerError(f"Layer {self.name!r} has no matrix {name!r}; expected some of {', '.join(self.ranks)}.")
        matrix = np.asarray(matrix, dtype=np.float64)
        weights = [getattr(self, weight_name) for weight_name in self._weight_names(name)]
        shape = (weights[0].shape[0], weights[-1].shape[1])
        if matrix.shape != shape:
            raise LayerError(
                f"Layer {self.name!r} got a {name} of shape {list(matrix.shape)}; expected {list(shape)}, the full "
                "matrix and not a factor."
            )
        unusable = np.count_nonzero(~np.isfinite(matrix))
        if unusable:
            raise LayerError(
                f"Layer {self.name!r} got {unusable} NaN or infinite numbers in {name}; take the matrix from a sound "
                "checkpoint."
            )
        return matrix


def check_rank(layer: keras.layers.Layer, argument: str, rank, optional: bool) -> int | None:
    """A rank as Python's number. Whether it fits its matrix is known when the layer is built.

    Raises:
        ValueError: the rank is not a whole number of at least 1 (or None, if that is an option).
    """
    if rank is None and optional:
        return None
    if is_whole(rank) and rank >= 1:
        return int(rank)
    alternative = ", or None to keep that matrix whole" if optional else ""
    raise LayerError(
        f"{type(layer).__name__} {layer.name!r} got {argument}={quote(rank)}; expected a whole number of at least 1"
        f"{alternative}."
    )


def _balanced(left: np.ndarray, values: np.ndarray, right: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The two factors of a matrix truncated to a rank, from its singular value decomposition."""
    left, values, right = left[:, :rank], values[:rank], right[:rank]
    root = np.sqrt(values)
    # A direction of no gain keeps its left vector: with zeros on both sides no gradient would ever move either.
    return left * np.where(values > 0, root, 1.0), root[:, None] * right
