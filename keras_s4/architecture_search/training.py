"""How every network of a search is trained and judged: the same recipe, whatever its kind."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_s4.architecture_search.examples import Examples
from keras_s4.architectures import Architecture, build
from keras_s4.augmentation import WholeBatches
from keras_s4.scoring.heads import REGRESSION, Head
from keras_s4.scoring.scores import against_targets
from keras_s4.surgery.paths import layers_by_path
from keras_s4.training import SeededEpochs, compile_for, normalize_to

JUDGED = 128  # validation windows at a time
SAMPLED = 8  # training batches that reductions measure on


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """Trains networks for one number of epochs, which may be interrupted and gone on with.

    Args:
        examples: training and validation data.
        metric: that networks are compared by.
        seed: of weights, orders and dropout.
        batch_size: windows a gradient step.
        learning_rate: the largest.
    """

    examples: Examples
    metric: str
    seed: int
    batch_size: int
    learning_rate: float

    def new(self, architecture: Architecture, epochs: int) -> keras.Model:
        """An untrained network, compiled for a training of so many epochs."""
        data = self.examples
        keras.utils.set_random_seed(self.seed)
        model = build(architecture, data.input_shape, data.outputs, head=data.head, normalization=data.normalize)
        if data.normalize:
            normalize_to(model, data.units, data.targets)
        return self.compile(model, epochs)

    def compile(self, model: keras.Model, epochs: int) -> keras.Model:
        """Compiles a network for a training of so many epochs, from its beginning."""
        steps = epochs * len(self._batches())
        return compile_for(self.examples.head, model, steps, learning_rate=self.learning_rate)

    def train(self, model: keras.Model, past: int, epochs: int) -> None:
        """Trains a compiled network, of which `past` epochs are done, until `epochs` are."""
        batches = self._batches()
        seeded = SeededEpochs(batches, self.seed)
        model.fit(batches, initial_epoch=past, epochs=epochs, verbose=0, callbacks=[seeded])

    def samples(self) -> np.ndarray:
        """Some of the training windows, `[W, L, F]`."""
        batches = self._batches()
        return np.concatenate([batches[index][0] for index in range(min(len(batches), SAMPLED))])

    def judge(self, model: keras.Model) -> float:
        """The metric of a compiled network on the validation data."""
        outputs, targets = outputs_of(model, self.examples.x), self.examples.y
        if self.metric == "loss":
            form = targets.astype(np.float32) if self.examples.head == REGRESSION else targets
            return float(model.loss(form, outputs))
        return against_targets(Head(self.examples.head), outputs, targets)[self.metric]

    def _batches(self) -> WholeBatches:
        return WholeBatches(self.examples.batches(self.batch_size, self.seed))


def outputs_of(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """What a model gives for windows, `[W, C]`.

    Recurrent layers are compiled, for batches of one size; all others are quicker without a graph of their own.
    """
    size = min(JUDGED, len(x))
    if any(isinstance(layer, keras.layers.RNN) for layer in layers_by_path(model).values()):
        missing = -len(x) % size
        padded = np.concatenate([x, x[:missing]]) if missing else x
        return model.predict(padded, batch_size=size, verbose=0)[: len(x)]
    parts = [model(x[start : start + size], training=False) for start in range(0, len(x), size)]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])
