"""The outputs of a model by name, and the head of each: read from its last activation, its loss and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4.activation_names import activation_name
from keras_s4.layers import LastStep, RecentAverage, SlidingAverage, Standardization
from keras_s4.samples import check_examples, is_several
from keras_s4.scoring.heads import BINARY, CLASSES, MULTI_LABEL, REGRESSION, Head, are_whole
from keras_s4.surgery.calls import output_names
from keras_s4.surgery.graph import Graph, TensorKey, as_numbered, graph_of

# Layers behind which an output still means what it meant in front of them.
_PASSING = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.Cropping1D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalMaxPooling1D,
    LastStep,
    RecentAverage,
    SlidingAverage,
    Standardization,
)
_SIGMOIDS = ("sigmoid", "hard_sigmoid")
_SOFTMAXES = ("softmax", "log_softmax", "sparsemax")
_OF_QUANTITIES = (
    "meansquared",
    "meanabsolute",
    "mse",
    "mae",
    "mape",
    "msle",
    "huber",
    "logcosh",
    "poisson",
    "cosinesimilarity",
)


def heads_of(model: keras.Model, y: Any = None, task: Any = None, outputs: Any = None) -> dict[str, Head]:
    """What each output of a model means, from its last activation, the loss that it is compiled with, and the targets.

    Args:
        model: built.
        y: targets, a list or dict of them for several outputs, or None.
        task: to say it in place of that: a word for `Head`, or a `Head`; for several outputs a list, or a dict by name.
        outputs: what the model gave for some sequences; of a subclassed model all that is known of its outputs.

    Returns:
        By the name of the output, in the order in which the model gives them.

    Raises:
        ValueError: another task; a list or dict that does not fit the outputs.
    """
    described = _outputs_of(model, outputs)
    names = list(described)
    targets, tasks = by_output(names, y, "y", partial=True), by_output(names, task, "task", partial=True)
    if not isinstance(task, (Mapping, list, tuple)):
        tasks = dict.fromkeys(names, task)
    losses = _losses_of(model, names)
    return {
        name: _head(activation, shape, losses[name], targets[name], tasks[name])
        for name, (activation, shape) in described.items()
    }


def last_activations(model: keras.Model) -> dict[str, str | None]:
    """The last activation of each output by its name; None where none can be read."""
    return {name: activation for name, (activation, _) in _outputs_of(model).items()}


def by_output(names: Sequence[str], values: Any, what: str, partial: bool = False) -> dict[str, Any]:
    """Something for each output, by name; None for outputs without.

    Args:
        names: of the outputs.
        values: a dict by name; a list of one each, for several outputs; or one, for the first output.
        what: it is, for the message.
        partial: a dict may leave outputs out.

    Raises:
        ValueError: unknown names, or another number of values.
    """
    if isinstance(values, Mapping):
        unknown = [name for name in values if name not in names]
        if unknown or (not partial and len(values) < len(names)):
            raise ValueError(f"Received {what} for outputs {list(values)}; the model has {list(names)}.")
        return {name: values.get(name) for name in names}
    several = is_several(values) or (isinstance(values, (list, tuple)) and what != "y")
    if several and (len(names) > 1 or len(values) == 1):
        if len(values) != len(names):
            raise ValueError(f"Received {len(values)} of {what}; the model has {len(names)} outputs: {list(names)}.")
        return dict(zip(names, values, strict=True))
    return {name: values if index == 0 else None for index, name in enumerate(names)}


def check_targets(
    model: keras.Model, x: Any, y: Any, task: Any, who: str
) -> tuple[dict[str, Head], dict[str, np.ndarray | None]]:
    """The head of each output, and its targets in the form that it decides in; before anything long runs.

    Args:
        model: built.
        x: inputs of the model.
        y: targets, a list or dict of them for several outputs, or None.
        task: see `heads_of`.
        who: asks, for the message.

    Returns:
        Both by the name of the output; None as the targets of an output that has none.

    Raises:
        TypeError, ValueError: see `check_examples`, `heads_of` and `Head.targets`.
    """
    check_examples(x, y, who)
    first = keras.tree.map_structure(lambda array: np.asarray(array)[:1], x if _is_nest(x) else np.asarray(x))
    predicted = model.predict(first, verbose=0)
    heads = heads_of(model, y, task, predicted)
    given = by_output(list(heads), y, "y", partial=True)
    outputs = outputs_by_name(predicted, list(heads))
    count = len(keras.tree.flatten(x)[0] if _is_nest(x) else x)
    targets = {
        name: None
        if given[name] is None
        else head.targets(given[name], (count, *outputs[name].shape[1:]), f"{who}, output {name!r},")
        for name, head in heads.items()
    }
    return heads, targets


def _is_nest(values: Any) -> bool:
    return isinstance(values, Mapping) or is_several(values)


def check_training_targets(model: keras.Model, y: Any, who: str) -> None:
    """Refuse targets that a model's losses would take for something else without a word.

    Keras broadcasts targets `[B, 1]` to outputs `[B, C]`, and what it makes of a class that is not there differs from
    device to device. Outputs with a loss of another kind are not looked at.

    Args:
        model: built and compiled.
        y: targets, a list or dict of them for several outputs.
        who: asks, for the message.

    Raises:
        TypeError: targets that are no numbers.
        ValueError: targets of another shape than the outputs, or out of range.
    """
    heads = heads_of(model, y)
    losses = _losses_of(model, list(heads))
    given = by_output(list(heads), y, "y", partial=True)
    for name, (_, shape) in _outputs_of(model).items():
        said, targets = _task_of_loss(losses[name]), given[name]
        if said is None or targets is None or len(shape) < 2:
            continue
        array = np.asarray(targets)
        sizes = tuple(given if size is None else size for size, given in zip(shape, (*array.shape, None), strict=False))
        soft = said == BINARY and array.dtype.kind == "f" and array.size and 0 <= array.min() <= array.max() <= 1
        head = Head(REGRESSION) if soft else heads[name]
        head.targets(array, (*sizes, *shape[len(sizes) :]), f"{who}, output {name!r},")


def outputs_by_name(outputs: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What `model.predict` returned, by the name of the output.

    Args:
        outputs: an array, or a list or dict of them.
        names: of the outputs, as `heads_of` gives them.

    Raises:
        ValueError: another number of outputs.
    """
    if isinstance(outputs, Mapping):
        return dict(outputs)
    arrays = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    if len(arrays) != len(names):
        raise ValueError(f"Received {len(arrays)} outputs; expected {len(names)}: {', '.join(names)}.")
    return dict(zip(names, arrays, strict=True))


def _losses_of(model: keras.Model, names: list[str]) -> dict[str, Any]:
    """The loss of each output; None where there is none. One alone is for all."""
    loss = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
    if isinstance(loss, (Mapping, list, tuple)):
        return by_output(names, loss, "loss", partial=True)
    return dict.fromkeys(names, loss)


def _numbered(count: int) -> list[str]:
    return [f"output_{index}" for index in range(count)] if count > 1 else ["output"]


def _outputs_of(model: keras.Model, outputs: Any = None) -> dict[str, tuple[str | None, tuple]]:
    """The last activation and the shape of each output by its name, in the order in which the model gives them."""
    try:
        graph = graph_of(model)
    except ValueError:  # a subclassed model: nothing can be read
        arrays = outputs if isinstance(outputs, (list, tuple, Mapping)) else [outputs]
        if not isinstance(arrays, Mapping):
            arrays = dict(zip(_numbered(len(arrays)), arrays, strict=True))
        return {name: (None, np.shape(array) if outputs is not None else ()) for name, array in arrays.items()}
    names, tensors = output_names(model), keras.tree.flatten(model.outputs)
    if names:
        listed = dict(zip(sorted(names), tensors, strict=True))  # as Keras flattens a dict
        tensors = [listed[name] for name in names]
    else:
        names = _names_in_list(graph)
    return {
        name: (_activation_at(graph, key), tuple(tensor.shape))
        for name, key, tensor in zip(names, graph.outputs, tensors, strict=True)
    }


def _names_in_list(graph: Graph) -> list[str]:
    """The names of the layers that give the outputs; where one gives several, with a number."""
    names = [key[0] for key in graph.outputs]
    return [name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)]


def _activation_at(graph: Graph, key: TensorKey) -> str | None:
    """The activation that a tensor of a graph went through last, None where none can be read."""
    node = next((node for node in graph.nodes if node.output[:2] == key[:2]), None)
    if node is None:
        return None
    layer = node.layer
    if isinstance(layer, keras.Model):
        inner = graph_of(layer)
        return _activation_at(inner, as_numbered(layer, list(inner.outputs))[key[2]])
    while isinstance(layer, keras.layers.Wrapper) and not hasattr(layer, "activation"):
        layer = layer.layer
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    function = getattr(layer, "activation", None)
    name = None if function is None else activation_name(function).rpartition(".")[2]
    passing = isinstance(layer, _PASSING) or (isinstance(layer, keras.layers.Activation) and name in (None, "linear"))
    if passing and len(node.inputs) == 1:
        return _activation_at(graph, node.inputs[0])
    return name or "linear"


def _head(activation: str | None, shape: tuple, loss: Any, y: Any, task: Any) -> Head:
    """The head of one output; see `heads_of`."""
    if isinstance(task, Head):
        return task
    single = len(shape) < 2 or shape[-1] == 1
    probabilities = activation in _SIGMOIDS or _from_logits(loss) is False
    threshold = 0.5 if probabilities else 0.0
    if task is not None:
        return Head(task, threshold)
    said = _task_of_loss(loss)
    if activation in _SOFTMAXES and not single:
        return Head(CLASSES)
    if said == CLASSES and not single:
        return Head(CLASSES)
    if said == BINARY:
        return Head(BINARY if single else MULTI_LABEL, threshold)
    labels = None if y is None else _labels(y)
    if activation in _SIGMOIDS and not (said == REGRESSION and labels is not None and not are_whole(labels)):
        if single:
            return Head(BINARY)
        classes = labels is not None and labels.ndim < len(shape) and labels.shape[-1:] != shape[-1:]
        return Head(CLASSES if classes else MULTI_LABEL)
    if said == REGRESSION or labels is None or not are_whole(labels):
        return Head(REGRESSION)
    return _head_of_labels(labels, shape, single)


def _head_of_labels(labels: np.ndarray, shape: tuple, single: bool) -> Head:
    """What whole numbers as targets of a linear output say."""
    truth = labels.size > 0 and labels.min() >= 0 and labels.max() <= 1
    if single:
        decides = labels.dtype.kind in "biu" or (labels.size > 0 and labels.min() < labels.max())
        return Head(BINARY, 0.0) if truth and decides else Head(REGRESSION)
    in_rows = labels.ndim == len(shape) and labels.shape[-1] == shape[-1]
    if in_rows:
        if not truth or not labels.any():
            return Head(REGRESSION)
        return Head(CLASSES) if (labels.sum(axis=-1) == 1).all() else Head(MULTI_LABEL, 0.0)
    return Head(CLASSES)


def _labels(y: Any) -> np.ndarray | None:
    """Targets that numbers can be read from; others are refused later, by `Head.targets`."""
    try:
        array = np.asarray(y)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def _loss_name(loss: Any) -> str:
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.replace("_", "").lower()


def _task_of_loss(loss: Any) -> str | None:
    """What a loss says of an output; None if it says nothing that is known."""
    name = _loss_name(loss)
    if "categorical" in name or name.startswith(("kldivergence", "kld")):
        return CLASSES
    if name.startswith("binary") or name == "bce":
        return BINARY
    return REGRESSION if name.startswith(_OF_QUANTITIES) else None


def _from_logits(loss: Any) -> bool | None:
    """Whether a loss takes logits; None where it does not say."""
    if _task_of_loss(loss) != BINARY:
        return None
    if isinstance(loss, keras.losses.Loss):
        return bool(loss.get_config().get("from_logits", False))
    return False
