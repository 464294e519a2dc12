"""The nuclear norm of matrices and the Hankel norm of states, with a weight that can change while a model trains."""

from __future__ import annotations

import numbers

import keras
import numpy as np
from keras import ops

from keras_s4.dss.modes import Modes
from keras_s4.errors import LayerError
from keras_s4.layers.state_regularizer import StateRegularizer
from keras_s4.precision import at_least_single
from keras_s4.regularizers.hankel import hankel_matrices
from keras_s4.regularizers.polar import polar_factor


class WeightedRegularizer(keras.Regularizer):
    """A regulariser whose weight can change while a model trains, without another compilation of the training step.

    Args:
        weight: factor of the penalty, 0 or positive.

    Raises:
        ValueError: the weight is no finite number of at least 0.
    """

    def __init__(self, weight: float):
        # A variable, since a number would be compiled into the training step.
        self._variable = keras.Variable(self._checked(weight), dtype="float32", trainable=False, name="penalty_weight")
        self._weight = float(weight)

    @property
    def weight(self) -> float:
        """Factor of the penalty; a change takes effect with the next training step."""
        return self._weight

    @weight.setter
    def weight(self, weight: float) -> None:
        self._variable.assign(self._checked(weight))
        self._weight = float(weight)

    def get_config(self):
        """The weight as it is now."""
        return {"weight": self.weight}

    def _weighted(self, penalty):
        weight = self._ask_for_weight() if keras.backend.backend() == "jax" else self._variable
        return ops.cast(weight, penalty.dtype) * penalty

    def _ask_for_weight(self):
        """The weight at the time of the step. On JAX variables that are not the model's are constants of its code."""
        import jax

        return jax.pure_callback(lambda: np.float32(self._weight), jax.ShapeDtypeStruct((), np.float32))

    def _checked(self, weight) -> float:
        if not isinstance(weight, numbers.Real) or not 0.0 <= weight < float("inf"):
            raise LayerError(f"{type(self).__name__} got weight={weight!r}; expected a finite number of at least 0.")
        return float(weight)


@keras.saving.register_keras_serializable(package="keras_s4")
class NuclearNorm(WeightedRegularizer):
    """`weight` times the sum of the singular values of a weight matrix.

    It is to the rank what the sum of absolute values is to the number of nonzero entries: small singular values are
    driven to zero, and the matrix can be factored. Its gradient is the orthogonal polar factor of the matrix
    (:func:`keras_s4.regularizers.polar.polar_factor`), so it takes matrix products only, and no singular value
    decomposition. Singular values below about 1e-5 of the matrix's Frobenius norm are pulled less.

    For the kernels of Dense, of recurrent layers (also `recurrent_regularizer`) and of convolutions, which count as
    matrices `[all other sides, output channels]`. A kernel that holds several gates side by side is one matrix.

    Args:
        weight: factor of the penalty; `keras_s4.compression.GrowingWeight` lets it grow during training.

    Source: Maison, du Mas des Bourboux and Courtat 2023 (arXiv 2310.12688).
    """

    def __call__(self, kernel):
        """The penalty of a kernel `[..., n]` with two axes or more, a scalar."""
        if len(kernel.shape) < 2:
            raise LayerError(
                f"NuclearNorm got a weight of shape {list(kernel.shape)}; expected a matrix. It is no regulariser for "
                "biases."
            )
        # Half precision would lose the small singular values.
        kernel = ops.cast(kernel, at_least_single(kernel.dtype))
        matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
        # The factor held fixed, this is also the right gradient: that of <U V^T, W> is U V^T.
        return self._weighted(ops.sum(polar_factor(ops.stop_gradient(matrix)) * matrix))


@keras.saving.register_keras_serializable(package="keras_s4")
class HankelNorm(WeightedRegularizer, StateRegularizer):
    """`weight` times the sum of the Hankel singular values of every channel of a DSS layer.

    They are the singular values of the operator that maps past inputs to future outputs, and the sum of those that
    balanced truncation drops bounds its error. For `DSS(..., state_regularizer=HankelNorm(1e-3))`.

    The value and the gradient need neither Gramians nor eigenvectors: the operator is a small symmetric matrix in
    an orthonormal basis (:func:`keras_s4.regularizers.hankel.hankel_matrices`), and the gradient of the sum of its
    singular values is its orthogonal polar factor. So it holds for equal poles and for equal singular values, too.
    Singular values below about 1e-5 of a channel's largest are pulled less. The cost is O(N^3) a channel and step,
    and does not depend on the length of the sequences.

    Args:
        weight: factor of the penalty; `keras_s4.compression.GrowingWeight` lets it grow during training.
        normalized: the sum of a channel is divided by the root of its sum of squares. It then is between 1 and the root
            of the number of states, whatever the gain, and counts how many of them matter. Otherwise the penalty also
            shrinks the gain, which the layers that follow may make up for.

    Source: Schwerdtner, Berman and Peherstorfer 2025 (arXiv 2510.22951), who take the plain sum.
    """

    def __init__(self, weight: float, normalized: bool = False):
        super().__init__(weight)
        self.normalized = normalized

    def __call__(self, modes: Modes):
        """The penalty of a bank of systems, a scalar."""
        matrices = hankel_matrices(modes)
        sums = ops.sum(polar_factor(ops.stop_gradient(matrices)) * matrices, axis=(1, 2))
        if self.normalized:
            squares = ops.sum(ops.square(matrices), axis=(1, 2))
            sums = sums / ops.sqrt(ops.where(squares > 0.0, squares, 1.0))
        return self._weighted(ops.sum(sums))

    def get_config(self):
        """Every argument, the weight as it is now."""
        return {**super().get_config(), "normalized": self.normalized}
