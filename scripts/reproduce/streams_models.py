"""The models that `streams.py` compares: how they are trained on windows or on streams, and made to firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.files import write_model

CHANNELS, STATES, BLOCKS, FRACTION = 32, 32, 2, 0.25
RATE, LENGTH = 50.0, 500
SECONDS, EVERY, TOLERANCE = 1.5, 0.5, 2.0
# Of training windows, in steps: 14 s, the first 3 of them to warm up; nothing is learned for a second after a change.
WINDOW, WARM_UP, UNLEARNED, CHANGES, BATCH = 700, 150, 50, 0.7, 22
STEPS_PER_EPOCH = 20
# Steps of the stretches of streams that set the scales of the integers: a minute.
CALIBRATION = 3000
# Of models that are trained on in this process: one of a kind is compiled for all runs.
_COMPILED: dict[str, Any] = {}


def live_task(fold: int):
    """The task with a decision every half second."""
    from keras_s4.datasets import Live, smartwatch_task

    return smartwatch_task(fold, live=Live(pooling="recent", seconds=SECONDS, every=EVERY, tolerance=TOLERANCE))


def train_windows(fold: int, seed: int, epochs: int, retrain_epochs: int, folder: Path) -> None:
    """Trains a model with an average over time on windows; `windows.keras` in the folder."""
    import keras

    from keras_s4.augmentation import RandomWindows

    keras.utils.set_random_seed(seed)
    windows = RandomWindows(training_recordings(fold), LENGTH, windows=32 * STEPS_PER_EPOCH, seed=seed)
    model = _reduced(_train("windows", new_model("average"), windows, epochs, False, seed))
    write_model(folder / "windows.keras", _train("windows", model, windows, retrain_epochs, True, seed))


def train_streams(fold: int, seed: int, epochs: int, retrain_epochs: int, folder: Path) -> None:
    """Trains a model with `RecentAverage` at every step of windows of streams; `streams.keras` in the folder."""
    import keras

    from keras_s4 import at_length
    from keras_s4.augmentation import Gain, Mirror, Rotation, StreamWindows, Warp
    from keras_s4.surgery.cloning import clone
    from keras_s4.surgery.every_decision import at_every_decision

    keras.utils.set_random_seed(seed)
    streams = StreamWindows(
        training_recordings(fold),
        WINDOW,
        BATCH,
        seed,
        warm_up=WARM_UP,
        tolerance=UNLEARNED,
        changes=CHANGES,
        windows=BATCH * STEPS_PER_EPOCH,
        transforms=[Warp(), Mirror(), Rotation(), Gain()],
        sensors=live_task(fold).sensors,
    )
    model = at_every_decision(new_model("recent"), WINDOW)
    model = _reduced(_train("streams", model, streams, epochs, False, seed))
    model = _train("streams", model, streams, retrain_epochs, True, seed)
    live = clone(at_length(model, LENGTH), {"pooling": {"return_sequences": False}})
    write_model(folder / "streams.keras", live)


def new_model(pooling: str):
    """A model that is not trained yet."""
    from keras_s4 import models, training

    arguments = {"seconds": SECONDS, "rate": RATE} if pooling == "recent" else None
    return models.classifier(
        (LENGTH, 6),
        7,
        CHANNELS,
        STATES,
        BLOCKS,
        dropout=training.DROPOUT,
        pooling=pooling,
        pooling_arguments=arguments,
    )


def _reduced(model):
    from keras_s4 import ranks, reduce

    return reduce(model, ranks.uniform(model, fraction=FRACTION))


def _train(kind: str, model, windows, epochs: int, again: bool, seed: int):
    """Trains a model, by a copy of its kind that is compiled once for all runs of this process; returns the model."""
    from keras_s4 import training
    from keras_s4.surgery.cloning import clone

    kind, rate = (f"{kind} again", training.RETRAIN_LEARNING_RATE) if again else (kind, training.LEARNING_RATE)
    if kind not in _COMPILED:
        copy = clone(model, {})
        training.compile_classifier(copy, epochs * len(windows), rate, jit_compile=True)
        copy.optimizer.build(copy.trainable_variables)
        _COMPILED[kind] = copy
    copy = _COMPILED[kind]
    copy.set_weights(model.get_weights())
    for variable in copy.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    random = np.random.default_rng((seed, again))
    for variable in copy.variables:
        if variable.name == "seed_generator_state":
            variable.assign(random.integers(2**32, size=2, dtype=np.uint32))
    copy.fit(windows, epochs=epochs, verbose=0, shuffle=False)
    model.set_weights(copy.get_weights())
    return model


def training_recordings(fold: int):
    """Those of the eight people who do not test."""
    import dataclasses

    train, validation, _ = live_task(fold).splits
    joined = {
        "signals": train.signals + validation.signals,
        **{
            name: np.concatenate([getattr(train, name), getattr(validation, name)])
            for name in ("labels", "subjects", "sources")
        },
    }
    return dataclasses.replace(train, **joined)


def with_recent_average(model):
    """A model that has the average over time replaced; the weights are the same."""
    from keras_s4 import layers
    from keras_s4.surgery.cloning import clone

    pooling = layers.RecentAverage(SECONDS, rate=RATE, name="pooling")
    return clone(model, {}, replacements={"pooling": pooling})


def convert_windows(model, fold: int):
    """The firmware of a model that is reset before each window."""
    from keras_s4.tflite import convert

    return convert(model, training_recordings(fold).windows(LENGTH, LENGTH // 2)[0][::2])


def convert_streams(model, fold: int):
    """The firmware of a model that is never reset: its scales are those of minutes of streams, whose states grow on."""
    from keras_s4 import at_length
    from keras_s4.recordings import Recordings
    from keras_s4.recordings.joining import join_groups
    from keras_s4.tflite import convert

    joined = join_groups(training_recordings(fold))
    pieces, _ = Recordings(joined.signals, joined.subjects, joined.subjects).windows(CALIBRATION, CALIBRATION)
    return convert(at_length(model, CALIBRATION), pieces)


def settings() -> dict[str, Any]:
    """What the record says of models and trainings."""
    return {
        "channels": CHANNELS,
        "states": STATES,
        "blocks": BLOCKS,
        "fraction": FRACTION,
        "seconds": SECONDS,
        "every": EVERY,
        "tolerance": TOLERANCE,
        "window": WINDOW,
        "warm_up": WARM_UP,
        "unlearned": UNLEARNED,
        "changes": CHANGES,
        "batch": BATCH,
        "steps_per_epoch": STEPS_PER_EPOCH,
        "calibration": CALIBRATION,
    }
