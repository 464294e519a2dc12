"""The networks of `rank_tuning.py`: their data, their trainings, and the ranks that each chooser gives them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.files import write_model
from keras_s4.testing.experiment import cache_json

BASELINE, ADAPTED = "baseline", "NR + HLRA"
TUNED = "Rank-Tuning"
# A training has so many epochs of equally many steps. In shares of it, the nuclear norm begins to grow and has its
# weight, and matrices are brought to their rank every so many epochs: what is kept is the best by validation of those
# that have their ranks and their weight.
EPOCHS, GROWING, EVERY = 40, (4, 20), 5
VALIDATED_EPOCHS = list(range(GROWING[1], EPOCHS + 1, EVERY))
# The learning rate falls as in 80 epochs of the paper.
FALL, LOWEST = 0.96 ** (80 / EPOCHS), 0.01
ENERGY = 0.99
# Of what the network itself has on validation data: no loss, half a percent, one percent.
LOSSES = {"p1": 0.0, "p2": 0.005, "p3": 0.01}
FRACTIONS = (0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.0625, 0.045, 0.03, 0.02, 0.015, 0.01)
THRESHOLDS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)


@dataclasses.dataclass(frozen=True)
class Setup:
    """A task, and the network that learns it.

    Args:
        title: printed.
        data: of a seed, arrays for training, validation and test.
        units: of each recurrent layer.
        layers: how many.
        steps: gradient steps of a training.
        batch: examples of a step.
        rate: the learning rate in the beginning.
        penalty: weight of the nuclear norm, once grown.
        ranks: to which matrices are brought that read the layer's inputs, and those that read its state.
        bidirectional: whether each layer reads the sequence from its end, too.
        regression: whether a number a step is wanted, rather than a class.
        pooling: of classes, over time, "average" or "max". The mean of a signal of any phase tells nothing: with it the
            radio network was at chance after 2,000 steps.
        compared: validation examples by which the epochs of a training are compared; None for all. Ranks are tuned on
            all of them.
        tuned_too: training examples on which ranks are tuned besides. Of one or two people alone, too low ranks pass.
    """

    title: str
    data: Callable[[int], tuple]
    units: int
    layers: int
    steps: int
    batch: int
    rate: float
    penalty: float
    ranks: tuple[int, int]
    bidirectional: bool = False
    regression: bool = False
    pooling: str = "average"
    compared: int | None = None
    tuned_too: int = 0

    @property
    def metric(self) -> str:
        """What Keras calls the quality on validation data."""
        return "mse" if self.regression else "accuracy"


def read_modulations(seed: int) -> tuple:
    """I/Q samples, 128 an example."""
    from keras_s4.datasets import modulations_task

    task = modulations_task(count=1_000, length=128)
    return tuple(task.windows(split) for split in ("train", "validation", "test"))


def read_halves(seed: int) -> tuple:
    """The upper halves of digits, and the lower ones, each pixel the mean of four, standardised as in the paper.

    Of the validation and test images every third.
    """
    from keras_s4.datasets import mnist

    parts, every = [], (1, 3, 3)
    for (x, _), step in zip(mnist("rows"), every, strict=True):
        x = x[::step]
        pixels = (x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) + 1.0) / 2.0
        halves = ((pixels - 0.1307) / 0.3081).reshape(len(x), 2, 98, 1)
        parts.append((halves[:, 0], halves[:, 1]))
    return tuple(parts)


def read_rows(seed: int) -> tuple:
    """Fashion-MNIST row by row; of the validation images the first 3,000."""
    from keras_s4.datasets import fashion_mnist

    train, validation, test = fashion_mnist("rows")
    return train, tuple(part[:3_000] for part in validation), test


def read_smartwatch(seed: int) -> tuple:
    """Windows of 10 s, ten samples averaged: 5 Hz, of which a GRU takes 50 steps. The people of fold `seed` test."""
    from keras_s4.testing.sequence_tasks import TASKS

    recipe = TASKS["smartwatch"]
    _, validation, test = recipe.recordings(seed)
    parts = recipe.batches(seed, 300), validation.windows(hop=50), test.windows(hop=50)
    return tuple((x.reshape(len(x), -1, 10, x.shape[-1]).mean(axis=2), y) for x, y in parts)


SETUPS = {
    "rows": Setup("Fashion-MNIST by row", read_rows, 512, 1, 4_000, 50, 4e-3, 1e-4, (10, 17), compared=1_500),
    "smartwatch": Setup("Smartwatch", read_smartwatch, 384, 1, 1_200, 32, 2e-3, 1e-4, (6, 13), tuned_too=800),
    "modulations": Setup("Radio modulations", read_modulations, 47, 3, 3_000, 64, 5e-3, 1e-4, (6, 6), pooling="max"),
    "halves": Setup("Upper to lower half of digits", read_halves, 100, 2, 3_000, 32, 4e-3, 1e-4, (5, 5), True, True),
}


@functools.cache
def data_of(name: str, seed: int) -> tuple:
    """Training, validation and test arrays of a task."""
    return SETUPS[name].data(seed)


def build(setup: Setup, shape: tuple[int, int], outputs: int, penalty: bool):
    """A network with or without the nuclear norm on its recurrent layers, compiled."""
    import keras

    from keras_s4.models import POOLINGS
    from keras_s4.regularizers import NuclearNorm

    def recurrent(number: int):
        norms = {"kernel_regularizer": NuclearNorm(0.0), "recurrent_regularizer": NuclearNorm(0.0)} if penalty else {}
        layer = keras.layers.GRU(setup.units, return_sequences=True, name=f"gru_{number}", **norms)
        return keras.layers.Bidirectional(layer, name=f"both_{number}") if setup.bidirectional else layer

    layers = [recurrent(number) for number in range(1, setup.layers + 1)]
    if setup.regression:
        layers += [keras.layers.Dense(outputs, name="head")]
    else:
        layers += [POOLINGS[setup.pooling](), keras.layers.Dense(outputs, "softmax", name="head")]
    model = keras.Sequential([keras.Input(shape), *layers])
    loss = "mse" if setup.regression else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(setup.rate, clipnorm=1.0), loss, metrics=[setup.metric])
    return model


def train_or_load(name: str, adaptation: str, seed: int, cache: Path):
    """The network after its training, from the cache where it is there."""
    import keras

    path = cache / f"{name}-{slug(adaptation)}-{seed}.keras"
    if path.exists():
        return keras.saving.load_model(path)
    setup, (train, validation, _) = SETUPS[name], data_of(name, seed)
    outputs = train[1].shape[-1] if setup.regression else int(train[1].max()) + 1
    keras.utils.set_random_seed(seed)
    model = build(setup, train[0].shape[1:], outputs, adaptation == ADAPTED)
    fit(model, setup, train, validation, seed, adaptation == ADAPTED)
    write_model(path, model)
    return model


def fit(model, setup: Setup, train: tuple, validation: tuple, seed: int, adapted: bool) -> None:
    """Trains a network and leaves it with the weights that were best on validation data."""
    import keras

    from keras_s4.compression import GrowingWeight, HardLowRank

    best: dict[str, Any] = {}

    def keep_best(epoch: int, logs: dict) -> None:
        found = logs.get(f"val_{setup.metric}")
        if found is None:
            return
        score = -found if setup.regression else found
        print(f"{setup.title}, {'adapted' if adapted else 'baseline'}, epoch {epoch + 1}: {found:.4f}", flush=True)
        if score > best.get("score", -np.inf):
            best.update(score=score, weights=model.get_weights())

    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: setup.rate * max(FALL**epoch, LOWEST)),
        keras.callbacks.LambdaCallback(on_epoch_end=keep_best),
    ]
    if adapted:
        first, last = GROWING
        matrices = HardLowRank(ranks_of(model, setup.ranks), every=EVERY)
        callbacks[:0] = [GrowingWeight(0.0, setup.penalty, epochs=last - first + 1, after=first), matrices]
    model.fit(
        batches_of(train, setup.batch, seed),
        steps_per_epoch=setup.steps // EPOCHS,
        epochs=EPOCHS,
        validation_data=tuple(part[: setup.compared] for part in validation),
        validation_freq=VALIDATED_EPOCHS,
        validation_batch_size=250,
        callbacks=callbacks,
        verbose=0,
    )
    model.set_weights(best["weights"])


def ranks_of(model, ranks: tuple[int, int]) -> dict[str, int]:
    """The rank of each matrix of the recurrent layers that has more; the head keeps all of its directions."""
    from keras_s4.compression.callbacks import weight_matrices

    found = {}
    for name, matrix in weight_matrices(model).items():
        rank = ranks[name.endswith("/recurrent_kernel")]
        if not name.startswith("head/") and min(matrix.shape) > rank:
            found[name] = rank
    return found


def batches_of(train: tuple, size: int, seed: int) -> Iterator[tuple]:
    """Batches without an end, in an order of the seed."""
    x, y = train
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            taken = order[start : start + size]
            yield x[taken], y[taken]


def slug(adaptation: str) -> str:
    """An adaptation in the name of a file."""
    return adaptation.lower().replace(" + ", "-")


def weight_bytes(model) -> int:
    """Bytes of a model's weights as arrays."""
    return sum(weight.nbytes for weight in model.get_weights())


def run_one(name: str, adaptation: str, seed: int, cache: Path) -> dict[str, Any]:
    """All ways to choose ranks for one trained network."""
    return cache_json(cache / f"{name}-{slug(adaptation)}-{seed}.json", lambda: _measure(name, adaptation, seed, cache))


def _measure(name: str, adaptation: str, seed: int, cache: Path) -> dict[str, Any]:
    from keras_s4 import reduce
    from keras_s4.compression import parts_of
    from keras_s4.compression.padded import PaddedModel

    model = train_or_load(name, adaptation, seed, cache)
    # The recurrent layers' matrices, as in the paper: without some directions of its head a network forgets classes.
    parts = {part_name: part for part_name, part in parts_of(model).items() if not part_name.startswith("head/")}
    padded = PaddedModel(model, parts)
    train, validation, test = data_of(name, seed)
    tuning = [
        np.concatenate([part, more[: SETUPS[name].tuned_too]]) for part, more in zip(validation, train, strict=True)
    ]
    on_tuning, *scores = (quality_on(name, data).for_model(model) for data in (tuning, validation, test))

    @functools.cache
    def quality_at(*ranks: int) -> dict[str, float]:
        filled = padded.at(dict(zip(parts, ranks, strict=True)))
        return {part: score(filled) for part, score in zip(("validation", "test"), scores, strict=True)}

    intact = quality_at(*(part.max_rank for part in parts.values()))
    evaluations = cache / f"{name}-{slug(adaptation)}-{seed}-evaluations.json"
    found = []
    for way, setting, ranks in _choices(adaptation, model, parts, on_tuning, padded, evaluations):
        small = reduce(model, ranks)
        if way == TUNED:
            write_model(cache / small_file(name, adaptation, seed, setting), small)
        figures = {"ranks": ranks, "bytes": weight_bytes(small), **quality_at(*ranks.values())}
        found.append({"way": way, "setting": setting, **figures})
        print(f"{name}, {adaptation}, {seed}: {way} {setting} {figures['bytes']} {figures['test']:.4f}", flush=True)
    about = {"task": name, "adaptation": adaptation, "seed": seed, "bytes": weight_bytes(model)}
    return {**about, "intact": intact, "reduced": found}


def small_file(name: str, adaptation: str, seed: int, setting: str) -> str:
    """Name of the factored network that Rank-Tuning found at a threshold."""
    return f"{name}-{slug(adaptation)}-{seed}-{setting}.keras"


def quality_on(name: str, data: tuple) -> Callable:
    """The accuracy of a network on data; where a number is wanted, the root mean square error, negative."""
    from keras_s4.compression import accuracy_on, error_on

    return (error_on if SETUPS[name].regression else accuracy_on)(*data, 500)


def relative_loss(before: float, after: float) -> float:
    """What is lost of an accuracy, or added to a mean square error, as a share of it; of what `quality_on` measures."""
    return 1.0 - after / before if before > 0 else (after / before) ** 2 - 1.0


def _target(intact: float, loss: float) -> float:
    """The least quality at which the loss is no larger."""
    return intact * (1.0 - loss) if intact > 0 else intact * (1.0 + loss) ** 0.5


def _choices(adaptation, model, parts, validate, padded, evaluations) -> Iterator[tuple[str, str, dict[str, int]]]:
    """Ways to choose ranks, their settings, and what they choose."""
    from keras_s4 import rank_tuning, ranks

    yield "energy", f"{ENERGY:.0%}", ranks.energy(model, ENERGY, parts)
    whole = {name: part.max_rank for name, part in parts.items()}
    intact = validate(padded.at(whole))
    # What was trained for low ranks holds every threshold at the ranks it has, so that few are to be tried.
    search = "scan" if adaptation == ADAPTED else "bisection"
    for setting, loss in LOSSES.items():
        target = _target(intact, loss)
        tuning = rank_tuning(model, validate, target, parts=parts, search=search, cache=evaluations, progress=False)
        yield "individual ranks", setting, tuning.individual
        yield TUNED, setting, tuning.ranks
    for way, grid, choose in (
        ("uniform", FRACTIONS, lambda value: ranks.uniform(model, fraction=value, parts=parts)),
        ("error threshold", THRESHOLDS, lambda value: _within(parts, value)),
    ):
        measured = [(whole, intact)]
        for value in grid:
            measured.append((choose(value), validate(padded.at(choose(value)))))
            if measured[-1][1] < _target(intact, 2 * max(LOSSES.values())):
                break
        for setting, loss in LOSSES.items():
            yield way, setting, [chosen for chosen, quality in measured if quality >= _target(intact, loss)][-1]


def _within(parts, threshold: float) -> dict[str, int]:
    """For each part the lowest rank whose error is within the threshold, or all of it."""
    return {
        name: next(rank for rank in part.choices if rank == part.max_rank or part.error_bound(rank) <= threshold)
        for name, part in parts.items()
    }


def run_task(name: str, seeds: int, cache: Path) -> list[dict[str, Any]]:
    """All networks of a task on JAX, on one core; in a process of its own."""
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    return [run_one(name, way, seed, cache) for seed in range(seeds) for way in (BASELINE, ADAPTED)]
