"""Running one model in all its modes."""

import keras
import numpy as np
from conformance import shake

from keras_s4.streaming import StreamingModel

# Single precision, and a few hundred roundings on the way: FFT against recurrence, matrix products in other orders.
# In double precision the same algorithms must come nearer by the ratio of the roundings, which shows that only
# rounding is in between.
TOLERANCES = {"float32": 2e-5, "float64": 1e-10}


def signal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(keras.config.floatx())


def sequential(*layers, shape=(10, 4), dtype=None):
    return shake(keras.Sequential([keras.Input(shape, dtype=dtype), *layers]))


def by_steps(stream, samples, states=None):
    """Outputs `[B, L, ...]` of a loop in Python, and the last states."""
    states = stream.initial_state(len(samples)) if states is None else states
    outputs = []
    for t in range(samples.shape[1]):
        output, states = stream.step(samples[:, t], states)
        outputs.append(to_numpy(output))
    return np.stack(outputs, axis=1), states


def by_chunks(stream, samples, cuts):
    """Outputs of the pieces between the cuts; a piece of one step is now and then run by `step`."""
    states, outputs = stream.initial_state(len(samples)), []
    for i, piece in enumerate(np.split(samples, cuts, axis=1)):
        run = by_steps if piece.shape[1] == 1 and i % 2 else stream.chunk
        output, states = run(stream, piece, states) if run is by_steps else run(piece, states)
        outputs.append(to_numpy(output))
    return np.concatenate(outputs, axis=1)


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, keras.config.floatx()))


def random_cuts(length, seed):
    random = np.random.default_rng(seed)
    return sorted(random.choice(np.arange(1, length), size=min(3, length - 1), replace=False))


def assert_close(actual, expected, tolerance):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


def assert_streams(model, samples, tolerance, seed=0):
    """Convolution mode, streamed whole, and streamed in chunks give the same numbers; the streaming model."""
    stream = StreamingModel(model)
    expected = to_numpy(model(samples))
    outputs = to_numpy(stream(samples))
    assert outputs.shape[:2] == samples.shape[:2]
    due = outputs[:, stream.phase :: stream.period]
    assert_close(due[:, -1] if expected.ndim < due.ndim else due, expected, tolerance)
    assert_close(by_chunks(stream, samples, random_cuts(samples.shape[1], seed)), outputs, tolerance)
    return stream
