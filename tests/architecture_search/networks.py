"""Searches small enough for tests: made-up costs, and trainings that take no time. Also for processes of their own."""

from typing import ClassVar

import keras
import numpy as np

from keras_s4.architecture_search import search_architectures
from keras_s4.architecture_search.training import Trainer

LENGTH, FEATURES, CLASSES = 16, 2, 2
WIDTHS = (4, 8, 12, 16)
SPACES = {
    "gru": {
        "width": WIDTHS,
        "blocks": (1, 2),
        "front": (None, (4, 2), (8, 4)),
        "downsample": (1,),
        "pooling": ("last",),
    },
    "cnn": {"width": WIDTHS, "blocks": (1, 2, 3), "kernel": (3, 5), "downsample": (1, 2), "front": (None,)},
}
# S4 blocks whose channels have modes of their own, or share those of the block.
MODES = {
    "width": WIDTHS,
    "blocks": (1, 2),
    "states": (2, 4),
    "shared_modes": (False, True),
    "shared_states": (6, 12, 24),
    "feedthrough": ("diagonal",),
    "rank": (None,),
    "gate": (None,),
    "time_steps": (None,),
    "front": (None,),
    "downsample": (1,),
    "pooling": ("average",),
}


def windows(count, seed):
    """Two classes of waves in noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    waves = np.sin((0.3 + 0.9 * labels[:, None, None]) * np.arange(LENGTH)[None, :, None] + random.uniform(0, 6))
    return (waves + 0.3 * random.normal(size=(count, LENGTH, FEATURES))).astype("float32"), labels


def counted(network):
    """Costs that grow with width, modes and depth, as of real networks."""
    if network.kind == "dss":
        modes = network.states * (1 if network.shared_modes else network.width)
        matrices = network.width**2 + (2 * network.width * network.states if network.shared_modes else 0)
        work, kept = network.blocks * (matrices + 8 * modes), network.blocks * (matrices + 4 * modes) + 100
        return {"work": float(work), "bytes": kept}
    each = network.width * (network.width + (network.kernel if network.kind == "cnn" else 3 * network.width))
    return {"work": float(network.blocks * each / (network.front or (1, 1))[1]), "bytes": network.blocks * each + 100}


def quality(network):
    """Made up, and another for each network."""
    return 1.0 - counted(network)["bytes"] ** -0.5 - 0.01 * network.kernel - 0.1 * (network.front is None)


class Untrained(Trainer):
    """A trainer whose models remember their quality and epochs alone, and whose trainings are noted."""

    log: ClassVar[list] = []

    def new(self, architecture, epochs):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.set_weights([np.array([[quality(architecture)]]), np.zeros(1)])
        return model

    def train(self, model, past, epochs):
        (found,), bias = model.get_weights()
        assert bias[0] == past
        self.log.append((round(float(found[0]), 6), past, epochs))
        model.layers[-1].bias.assign([epochs])

    def judge(self, model):
        (found,), bias = model.get_weights()
        return float(found[0] - 0.1 / bias[0])


def search(folder, **arguments):
    """A search without trainings, by made-up costs."""
    usual = {
        "validation_data": windows(8, 1),
        "folder": folder,
        "budgets": {"work": 400.0},
        "measure": counted,
        "kinds": tuple(SPACES),
        "spaces": SPACES,
        "trials": 4,
        "epochs": 4,
        "tuner": "random",
        "normalize": False,
    }
    spaces = arguments.get("spaces", {kind: SPACES[kind] for kind in arguments.get("kinds", SPACES) if kind in SPACES})
    return search_architectures(*windows(16, 0), **(usual | {"spaces": spaces} | arguments))


def figures_of(result):
    return [trial.architecture for trial in result.trials]
