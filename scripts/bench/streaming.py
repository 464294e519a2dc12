"""How far the ways to run a model are apart: convolution, single steps, random chunks, and recurrent cells of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts

LIMITS = {"float32": 1e-4, "float64": 1e-10}
FEATURES, CHANNELS, STATES, BATCH = 6, 32, 32, 2
LONG_BLOCKS, LONG_LENGTH = 6, 16_384
# A softmax kernel is trained on a tenth of what it is streamed over.
KERNELS = {
    "exp": {},
    "softmax": {"kernel": "softmax", "training_length": LONG_LENGTH // 10},
    "clip": {"kernel": "clip"},
}


def start_anew(seed: int, dtype: str) -> None:
    """Sets the seed, the type that models compute in, and the type that `predict` rounds its data to."""
    import keras

    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx(dtype)


def random_signal(length: int, seed: int, dtype: str) -> np.ndarray:
    """White noise `[B, L, features]`."""
    return np.random.default_rng(seed).normal(size=(BATCH, length, FEATURES)).astype(dtype)


def moved_off_its_start(model, x: np.ndarray):
    """The model after two epochs on noise, which move its normalisations."""
    model.compile("adam", "mse")
    model.fit(x, model.predict(x, verbose=0), epochs=2, verbose=0)
    return model


def relative(outputs: np.ndarray, whole: np.ndarray) -> float:
    """The largest difference, of the largest output."""
    return float(np.abs(np.asarray(outputs) - whole).max() / np.abs(whole).max())


def classifier_deviation(seed: int) -> float:
    """Step mode of the demo's model at the end of a window."""
    from keras_s4 import models, streaming

    start_anew(seed, "float32")
    x = random_signal(500, seed, "float32")
    model = models.classifier((500, FEATURES), classes=7, channels=CHANNELS, states=STATES, blocks=2)
    moved_off_its_start(model, x)
    return relative(streaming.StreamingModel(model).predict(x, verbose=0)[:, -1], model.predict(x, verbose=0))


def long_deviations(dtype: str, kernel: str, seed: int) -> dict[str, float]:
    """Step mode, chunks at random splits, and `RNN(DSSCell)`, against the convolution of a deep and long model."""
    import keras

    from keras_s4 import streaming
    from keras_s4.layers import DSS, S4Block

    start_anew(seed, dtype)
    inputs = keras.Input((LONG_LENGTH, FEATURES), dtype=dtype)
    hidden = keras.layers.Dense(CHANNELS)(inputs)
    for _ in range(LONG_BLOCKS):
        hidden = S4Block(DSS(STATES, **KERNELS[kernel]))(hidden)
    x = random_signal(LONG_LENGTH, seed, dtype)
    model = moved_off_its_start(keras.Model(inputs, hidden), x)
    whole = model.predict(x, verbose=0)
    stream = streaming.StreamingModel(model)
    return {
        "step mode": relative(stream.predict(x, verbose=0), whole),
        "chunks at random splits": relative(run_in_chunks(stream, x, seed), whole),
        "RNN(DSSCell)": relative(with_cells(model).predict(x, verbose=0), whole),
    }


def run_in_chunks(stream, x: np.ndarray, seed: int, splits: int = 12) -> np.ndarray:
    """The outputs of a stream that comes in pieces of random lengths, one of them a single step."""
    cuts = np.random.default_rng(seed).choice(np.arange(2, x.shape[1]), splits, replace=False)
    states, pieces = stream.initial_state(len(x)), []
    for piece in np.split(x, sorted({1, *cuts.tolist()}), axis=1):
        outputs, states = stream.chunk(piece, states)
        pieces.append(np.asarray(outputs))
    return np.concatenate(pieces, axis=1)


def with_cells(model):
    """The same layers and weights, with every DSS layer as a cell of `keras.layers.RNN`."""
    import keras

    from keras_s4.layers import DSSCell

    _, encoder, *blocks = model.layers
    recurrent = [keras.layers.RNN(DSSCell(block.dss), return_sequences=True) for block in blocks]

    class Cells(keras.Model):
        def call(self, samples):
            hidden = encoder(samples)
            for block, layer in zip(blocks, recurrent, strict=True):
                hidden = hidden + block.mix(block.activation(layer(block.normalization(hidden))))
            return hidden

    return Cells()


def softmax_deviation(seed: int) -> float:
    """A softmax layer at ten times its training length, against the recurrence in float64 on complex numbers."""
    from keras_s4.layers import DSS

    start_anew(seed, "float64")
    layer = DSS(STATES, kernel="softmax", training_length=500, dtype="float64")
    x = random_signal(5000, seed, "float64")
    outputs = np.asarray(layer(x))
    return relative(outputs, layer.system().simulate(x)[0])


def compute(
    cache: Path, seeds: Annotated[int, typer.Option(help="Random models of each kind.", min=1)] = 1
) -> Measurement:
    """How far step mode, chunks and recurrent cells are from the convolution; of several seeds the furthest."""
    worst: dict[tuple[str, str], float] = {}

    def note(name: str, dtype: str, value: float) -> None:
        worst[name, dtype] = max(value, worst.get((name, dtype), 0.0))

    with finished_parts(cache) as part:
        for seed in range(seeds):
            value = part(f"classifier {seed}", lambda seed=seed: classifier_deviation(seed))
            note("classifier, 2 blocks, 500 steps: step mode", "float32", value)
            value = part(f"softmax {seed}", lambda seed=seed: softmax_deviation(seed))
            note("softmax kernel at ten times its training length", "float64", value)
            for dtype, kernel in [*(("float32", kernel) for kernel in KERNELS), ("float64", "exp")]:
                long = part(f"{dtype} {kernel} {seed}", lambda at=(dtype, kernel, seed): long_deviations(*at))
                for way, value in long.items():
                    note(f"{LONG_BLOCKS} blocks, {LONG_LENGTH:,} steps, {dtype}, {kernel}: {way}", dtype, value)
    figures = [Figure(name, value, at_most=LIMITS[dtype]) for (name, dtype), value in worst.items()]
    return Measurement(figures, {"seeds": list(range(seeds))})


EXPERIMENT = Experiment(
    title="Distance from the convolution, of the largest output",
    result=Path(__file__).parents[1] / "results" / "streaming.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy"),
    cache=Path("runs/streaming"),
)

if __name__ == "__main__":
    EXPERIMENT.run()
