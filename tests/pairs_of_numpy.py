"""Between complex arrays of numpy and pairs of tensors."""

import numpy as np
from keras import ops


def pair(values, dtype="float32"):
    return ops.cast(values.real, dtype), ops.cast(values.imag, dtype)


def to_complex(values):
    return np.asarray(values[0], np.float64) + 1j * np.asarray(values[1], np.float64)


def random_complex(seed, *shape):
    """Numbers that float32 holds exactly."""
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64)
