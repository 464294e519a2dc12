"""What Keras expects of a layer: configuration, saved files, shapes, masks, compilation, gradients."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_s4.files import temporary_folder


class Flaw(AssertionError):  # noqa: N818 a verdict
    """A property that a layer lacks."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A layer under test.

    Args:
        layer: the layer, built.
        model: a sequential model of it alone.
        data: samples `[B, L, ...]`, or token numbers `[B, L]`.
        outputs: what the layer gives for them.
        tolerance: difference that the same computation in another order may make, of the largest number.
    """

    layer: keras.layers.Layer
    model: keras.Model
    data: np.ndarray
    outputs: np.ndarray
    tolerance: float

    @classmethod
    def of(cls, layer: keras.layers.Layer, data: np.ndarray, tolerance: float) -> Subject:
        """A layer with samples for it."""
        model = keras.Sequential([keras.Input(data.shape[1:], dtype=data.dtype.name), layer])
        return cls(layer, model, data, to_array(model(data)), tolerance)

    @property
    def keeps_time(self) -> bool:
        """Whether outputs have a time axis: an axis that is as open as that of the inputs."""
        try:
            return tuple(self.layer.compute_output_shape((None, None, *self.data.shape[2:])))[1:2] == (None,)
        except Exception:  # a layer for one length alone
            return self.outputs.ndim > 2


class AttachMask(keras.layers.Layer):
    """Attaches a constant mask to its inputs, whatever they hold; `keras.layers.Masking` looks for a value in them."""

    def __init__(self, mask: np.ndarray):
        super().__init__()
        self.supports_masking = True
        self.mask = mask

    def call(self, inputs):
        """The inputs as they are."""
        return inputs

    def compute_mask(self, inputs, previous_mask=None):
        """The constant mask."""
        return ops.convert_to_tensor(self.mask)


class ReceivedMask(keras.layers.Layer):
    """Returns the mask that reaches it, or -1 for each sequence if none does."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, inputs, mask=None):
        """The mask as numbers."""
        return -ops.ones(ops.shape(inputs)[:1]) if mask is None else ops.cast(mask, "float32")


def to_array(tensor: Any) -> np.ndarray:
    """A tensor as a numpy array."""
    return np.asarray(ops.convert_to_numpy(tensor))


def compare(actual: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> float:
    """The largest difference, of the largest expected number.

    Raises:
        Flaw: it exceeds the tolerance, or shapes differ.
    """
    if np.shape(actual) != np.shape(expected):
        raise Flaw(f"{what} has shape {list(np.shape(actual))}; expected {list(np.shape(expected))}")
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    largest = np.abs(expected).max(initial=0.0)
    difference = float(np.abs(actual - expected).max(initial=0.0) / (largest or 1.0))
    if not difference <= tolerance:
        raise Flaw(f"{what} differs by {difference:.2g} of the largest output; expected at most {tolerance:g}")
    return difference


def with_padding(inputs: np.ndarray, mask: np.ndarray, padding: Any) -> np.ndarray:
    """Inputs `[B, L, ...]` with other values at the masked steps."""
    return np.where(mask.reshape(*mask.shape, *[1] * (inputs.ndim - 2)), inputs, padding).astype(inputs.dtype)


@contextmanager
def move_weights(layer: keras.layers.Layer, seed: int = 0) -> Iterator[None]:
    """Moves weights that are all equal, as fresh biases are, apart for a while: none is 0 or 1 by accident."""
    before, random = layer.get_weights(), np.random.default_rng(seed)
    moved = []
    for value in before:
        noise = 0.1 * random.normal(size=np.shape(value))
        fresh = np.issubdtype(np.asarray(value).dtype, np.floating) and np.size(value) and np.ptp(value) == 0
        moved.append((np.where(value == 0, noise, value * np.exp(noise))).astype(value.dtype) if fresh else value)
    layer.set_weights(moved)
    try:
        yield
    finally:
        layer.set_weights(before)


def check_configuration(subject: Subject) -> str:
    """Every argument is in the configuration, and a layer made from it with the same weights computes the same."""
    layer, cls = subject.layer, type(subject.layer)
    config = layer.get_config()
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    missing = [each.name for each in parameters if each.kind in kinds and each.name not in config]
    if missing and not cls.__module__.startswith("keras."):
        raise Flaw(
            f"get_config of {cls.__name__} lacks {', '.join(missing)}: a saved model would lose what was given. Add "
            f"{'it' if len(missing) == 1 else 'them'} to what super().get_config() returns"
        )
    try:
        text = json.dumps(config)
    except TypeError as error:
        raise Flaw(f"get_config of {cls.__name__} is not what JSON can hold ({error}); serialise objects") from None
    given = copy.deepcopy(config)
    twin = cls.from_config(given)
    if json.dumps(given) != text:
        raise Flaw(f"from_config of {cls.__name__} changes the dictionary that it gets; work on a copy")
    if twin.get_config() != config:
        raise Flaw(f"{cls.__name__} made from its configuration has another one")
    outputs = _outputs_of_twin(subject, twin)
    compare(outputs, subject.outputs, subject.tolerance, f"{cls.__name__} made from its configuration")
    return f"{len(config)} entries"


def _outputs_of_twin(subject: Subject, twin: keras.layers.Layer) -> np.ndarray:
    """What a layer made from the configuration gives, with the same weights."""
    model = keras.Sequential([keras.Input(subject.data.shape[1:], dtype=subject.data.dtype.name), twin])
    shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (twin, subject.layer)]
    if shapes[0] != shapes[1]:
        raise Flaw(
            f"{type(twin).__name__} made from its configuration has weights of shapes {shapes[0]}; expected {shapes[1]}"
        )
    twin.set_weights(subject.layer.get_weights())
    return to_array(model(subject.data))


def check_registration(subject: Subject) -> str:
    """The class has a name for saved files."""
    cls = type(subject.layer)
    name = keras.saving.get_registered_name(cls)
    if ">" not in name and not cls.__module__.startswith("keras."):
        raise Flaw(
            f"{cls.__name__} is not registered, and a saved model breaks when its module moves. Write "
            '@keras.saving.register_keras_serializable(package="...") above the class'
        )
    return name


def check_saved_model(subject: Subject) -> str:
    """A saved model gives equal outputs."""
    with temporary_folder() as folder:
        subject.model.save(folder / "model.keras")
        loaded = keras.models.load_model(folder / "model.keras")
    difference = compare(to_array(loaded(subject.data)), subject.outputs, subject.tolerance, "the loaded model")
    return f"within {difference:.1g}"


def check_output_shape(subject: Subject) -> str:
    """`compute_output_shape` says what comes out."""
    said = tuple(subject.layer.compute_output_shape(subject.data.shape))
    if said != subject.outputs.shape:
        raise Flaw(f"compute_output_shape says {list(said)}, but the outputs are {list(subject.outputs.shape)}")
    symbolic = tuple(subject.model.output_shape)
    if symbolic[1:] != subject.outputs.shape[1:]:
        raise Flaw(f"in a model the layer promises {list(symbolic)}, but gives {list(subject.outputs.shape)}")
    return f"{list(said)}"


def check_masks(subject: Subject) -> str:
    """Where masks are supported, padding at the end is as if it were not there, and the mask passes on."""
    layer, data = subject.layer, subject.data
    if not layer.supports_masking:
        return "not supported"
    lengths = np.linspace(data.shape[1], max(1, data.shape[1] // 2), len(data)).round().astype(int)
    mask = np.arange(data.shape[1]) < lengths[:, None]
    other = np.flip(data, axis=(0, 1))
    padded = with_padding(data, mask, 10 * other if np.issubdtype(data.dtype, np.floating) else other)
    model = keras.Sequential([keras.Input(data.shape[1:], dtype=data.dtype.name), AttachMask(mask), layer])
    outputs = to_array(model(padded))
    worst = 0.0
    for row, length in enumerate(lengths):
        alone = to_array(layer(data[row : row + 1, :length]))[0]
        actual = outputs[row, : len(alone)] if subject.keeps_time else outputs[row]
        what = f"a sequence of {length} steps, padded to {data.shape[1]} and masked,"
        worst = max(worst, compare(actual, alone, subject.tolerance, what))
    if subject.keeps_time and outputs.shape[1] == data.shape[1]:
        received = to_array(keras.Sequential([*model.layers, ReceivedMask()])(padded))
        if received.shape != mask.shape or np.any(received != mask):
            raise Flaw("supports_masking is true, but the mask does not reach the layer behind; see compute_mask")
    return f"within {worst:.1g}"


def check_compilation(subject: Subject) -> str:
    """Compiled outputs equal eager ones."""
    subject.model.compile(jit_compile=True)
    outputs = subject.model.predict(subject.data, verbose=0, batch_size=len(subject.data))
    return f"within {compare(outputs, subject.outputs, subject.tolerance, 'the compiled model'):.1g}"


def check_training(subject: Subject) -> str:
    """A step of training gives a finite loss and finite weights; tells which weights it does not reach."""
    model, before = subject.model, subject.layer.get_weights()
    if not model.trainable_weights:
        return "nothing to train"
    starts = [to_array(weight) for weight in model.trainable_weights]
    targets = np.random.default_rng(1).normal(size=subject.outputs.shape)
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    try:
        loss = float(model.train_on_batch(subject.data, targets))
    except ValueError as error:
        if "No gradients" not in str(error):
            raise
        raise Flaw("there are trainable weights, but no gradient reaches any") from None
    pairs = zip(model.trainable_weights, starts, strict=True)
    after = [(weight.path.removeprefix(f"{model.name}/"), to_array(weight), start) for weight, start in pairs]
    subject.layer.set_weights(before)
    broken = [path for path, value, _ in after if not np.all(np.isfinite(value))]
    if broken or not np.isfinite(loss):
        raise Flaw(f"a step of training gives the loss {loss:g} and no finite numbers in {', '.join(broken) or 'it'}")
    still = [path for path, value, start in after if np.array_equal(value, start)]
    return f"no gradient reaches {', '.join(still)}" if still else "every weight has a gradient"


MANNERS: dict[str, Callable[[Subject], str]] = {
    "configuration": check_configuration,
    "registered name": check_registration,
    "saved model": check_saved_model,
    "output shape": check_output_shape,
    "masks": check_masks,
    "compilation": check_compilation,
    "training": check_training,
}
