"""A step as one compiled function of the backend."""

from __future__ import annotations

from collections.abc import Callable

import keras


def compiled(function: Callable, variables: list[keras.Variable], jit_compile: bool) -> Callable:
    """`function` of tensors, compiled once for each set of shapes, that reads `variables` anew at each call.

    Args:
        function: of tensors, or nests of them.
        variables: all that it reads.
        jit_compile: whether TensorFlow uses XLA; JAX always does.

    Raises:
        NotImplementedError: the backend is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        return tensorflow.function(function, jit_compile=jit_compile, autograph=False)
    if backend == "jax":
        return _compiled_by_jax(function, variables)
    raise NotImplementedError(f"A compiled step needs the TensorFlow or JAX backend of Keras; this is {backend!r}.")


def _compiled_by_jax(function, variables):
    import jax

    @jax.jit
    def stateless(values, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arguments)

    return lambda *arguments: stateless([variable.value for variable in variables], *arguments)
