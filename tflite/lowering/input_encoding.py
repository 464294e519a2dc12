"""The integers of a model's inputs: a scale and, where the layers that read it allow it, an offset for each feature.

A leading Standardization, Normalization, BatchNormalization or Rescaling becomes part of the encoding: the host does it
along with the division by the scale. Features that are alike then share one power of two. Others have one each, so that
the integers of each use their range, and the first layers take them into their coefficients (`lowering/units.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_s4.layers import Standardization
from keras_s4.streaming.plan import UNCHANGING
from keras_s4.surgery.graph import Graph, TensorKey, as_numbered, graph_of
from keras_s4.tflite.lowering.calibration import power_of_two_scale
from keras_s4.tflite.lowering.normalization import gain_and_offset
from keras_s4.tflite.lowering.registry import Takes, is_lowered_inside, takes_of
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import ALIKE
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.tensors import Tensor

# In units of its own a feature reaches at most 1.
OWN_SCALE = 2.0**-15
# Features of equal spread share a scale where their largest values lie within this factor: 10 bits are left of each.
MOST_ALIKE = 32.0
# Where features have units, one whose largest value is so many times its swing has an offset.
FAR = 1.25
# Where all are alike but some far from zero by this much, they have units and offsets as well.
VERY_FAR = 16.0
# A feature with fewer integers between its least and its largest value on the calibration data is worth a warning.
LEAST_LEVELS = 64
# What one in so many samples may be an outlier, if it is so many times further from the median than all others: a fall
# or an impact among steps is nearer.
RARE, OUTLYING = 1e-4, 8.0
# Outliers are looked for in so many samples or more, all of them in one of so many pieces of the data or more.
LEAST_SAMPLES, PIECES = 200, 64
# What is left of the range beyond the rest of the samples.
ROOM_FOR_OUTLIERS = 2.0

_SCALINGS = (
    keras.layers.BatchNormalization,
    keras.layers.Normalization,
    keras.layers.Rescaling,
    Standardization,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """A layer that reads an input, behind layers that only scale it.

    Args:
        takes: what it takes of units and offsets.
        gain: `[F]`; it reads `gain * x + offset`.
        offset: `[F]`.
    """

    takes: Takes
    gain: np.ndarray
    offset: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """An input of the program before its scale is chosen.

    Args:
        name: of the input.
        data: what is left of the representative data where outliers are clipped, `[B, L, .., F]`.
        counted: bool `[B, L]`, the steps that are no padding; None for all.
        gain: of the scaling that all readers have in common.
        offset: the same.
        takes: "units" if some reader takes those alone, else "both" if one does; it is settled for those that do not.
        headroom: room above the largest value.
        clipped: for each feature how many values are clipped.
    """

    name: str
    data: np.ndarray
    counted: np.ndarray | None
    gain: np.ndarray
    offset: np.ndarray
    takes: Takes
    headroom: float
    clipped: np.ndarray

    @property
    def samples(self) -> np.ndarray:
        """The data of the steps that count, `[N, F]`."""
        data = self.data if self.counted is None else self.data[self.counted]
        return data.reshape(-1, data.shape[-1])

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each feature as the first layers read it, `[F]`."""
        scaled = self.samples * self.gain + self.offset
        return scaled.min(axis=0), scaled.max(axis=0)

    @property
    def spreads(self) -> np.ndarray:
        """The root of the mean square of each feature about its median, as the first layers read it, `[F]`."""
        return np.sqrt(np.mean((self.samples * self.gain + self.offset - self.medians) ** 2, axis=0))

    @property
    def medians(self) -> np.ndarray:
        """The median of each feature as the first layers read it, `[F]`."""
        return np.median(self.samples * self.gain + self.offset, axis=0)


def source_of(
    name: str,
    graph: Graph,
    key: TensorKey,
    data: np.ndarray,
    headroom: float,
    counted: np.ndarray | None = None,
) -> Source:
    """An input with what its readers want of it.

    Args:
        name: of the input.
        graph: of the model.
        key: of the input.
        data: `[B, L, .., F]`.
        headroom: room above the largest value.
        counted: bool `[B, L]`, the steps that are no padding; None for all.
    """
    features = data.shape[-1]
    data, clipped = clip_outliers(data, counted)
    readings = list(_readings(graph, key, data, np.ones(features), np.zeros(features)))
    wanted = {reading.takes for reading in readings}
    takes = next((each for each in ("units", "both") if each in wanted), "nothing")
    gain, offset = np.ones(features), np.zeros(features)
    if readings and len({(each.gain.tobytes(), each.offset.tobytes()) for each in readings}) == 1:
        gain, offset = readings[0].gain, readings[0].offset
    # A feature of which nothing is left is read as it is.
    gain, offset = np.where(gain == 0.0, 1.0, gain), np.where(gain == 0.0, 0.0, offset)
    return Source(name, data, counted, gain, offset, takes, headroom, clipped)


def encode(sources: list[Source]) -> list[Signal]:
    """The signals of the inputs: in one scale where their features are alike, else in units of their own."""
    if not sources:
        return []
    peaks = np.concatenate([np.maximum(*np.abs(source.ends)) for source in sources])
    swings = np.concatenate([(source.ends[1] - source.ends[0]) / 2.0 for source in sources])
    moving = swings > 0.0
    alike = not moving.any() or _are_alike(
        peaks[moving], np.concatenate([source.spreads for source in sources])[moving]
    )
    offsets = any(source.takes == "both" for source in sources)
    far = offsets and moving.any() and (peaks[moving] / swings[moving]).max() > VERY_FAR
    if alike and not far:
        return [_in_one_scale(source) for source in sources]
    largest = float(swings.max())
    return [
        _in_one_scale(source) if source.takes == "nothing" else _in_own_units(source, largest) for source in sources
    ]


def _are_alike(peaks: np.ndarray, spreads: np.ndarray) -> bool:
    """Whether features share a scale.

    Weights are rounded in units of the features: where those are alike but for rare peaks, units by the peaks would
    make weights coarser and gain nothing, since 16 bits hold both.
    """
    within = peaks.max() / peaks.min()
    return within <= ALIKE or (within <= MOST_ALIKE and spreads.max() <= ALIKE * spreads.min())


def _in_one_scale(source: Source) -> Signal:
    # Zeros say nothing of a range, which must be some.
    largest = float(np.abs(source.ends).max()) or 1.0
    scale = power_of_two_scale(largest, 16, source.headroom)
    return _signal(source, Encoding.plain(source.data.shape[-1]), scale)


def _in_own_units(source: Source, largest: float) -> Signal:
    low, high = source.ends
    peaks, swings = np.maximum(np.abs(low), np.abs(high)), (high - low) / 2.0
    # What rounding of weights does shows in proportion to the integers: where the signal mostly is they are near 0, not
    # where rare events have their middle.
    middle = np.where((source.takes == "both") & (peaks > FAR * swings), source.medians, 0.0)
    reach = np.maximum(np.abs(low - middle), np.abs(high - middle))
    # A feature that calibration saw at one value only may still move: by as much as it is large, or as others do.
    reach = np.where(reach > 0.0, reach, np.where(peaks > 0.0, peaks, largest))
    scales = np.array([power_of_two_scale(float(each), 16, source.headroom) for each in reach])
    # A whole number of integers, so that products with it are exact.
    middle = np.rint(middle / scales) * scales
    return _signal(source, Encoding(scales / OWN_SCALE, middle), OWN_SCALE)


def _signal(source: Source, encoding: Encoding, scale: float) -> Signal:
    """Of an encoding of what the first layers read."""
    encoding = encoding.before(source.gain, source.offset)
    tensor = Tensor(source.name, source.data.shape[2:], "int16", scale)
    values = encoding.values(source.data)
    return Signal(tensor, values, encoding=None if encoding.is_plain else encoding)


def clip_outliers(data: np.ndarray, counted: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Data without single values that are far beyond all others, for which the rest would pay with its resolution.

    What is that far away more often, or in two windows, is what the signal does: a rare event may be what the
    model is there for.

    Args:
        data: `[B, L, .., F]`.
        counted: bool `[B, L]`, the steps that are looked at; None for all.

    Returns:
        The data, outliers clipped to twice the reach of all other values around the median; for each feature how many.
    """
    features = data.shape[-1]
    looked_at = data if counted is None else data[counted]
    rows = looked_at.reshape(-1, features)
    count = np.zeros(features, int)
    if len(rows) < LEAST_SAMPLES:
        return data, count
    clipped = rows.copy()
    allowed = max(1, int(RARE * len(rows)))
    # Pieces are of one stream each, as long as each has a sample.
    pieces = np.arange(len(rows)) * max(PIECES, len(data)) // len(rows)
    for feature in range(features):
        median = np.median(rows[:, feature])
        distance = np.abs(rows[:, feature] - median)
        rest = np.partition(distance, -allowed - 1)[-allowed - 1]
        outlying = distance > OUTLYING * rest
        if rest == 0.0 or np.unique(pieces[outlying]).size != 1:
            continue
        count[feature] = np.count_nonzero(outlying)
        reach = ROOM_FOR_OUTLIERS * distance[~outlying].max()
        clipped[:, feature] = np.clip(rows[:, feature], median - reach, median + reach)
    if not count.any():
        return data, count
    result = data.copy()
    result[... if counted is None else counted] = clipped.reshape(looked_at.shape)
    return result, count


def warnings_of(sources: list[Source], signals: list[Signal], first: str = "") -> tuple[str, ...]:
    """Sentences on outliers that are clipped, and on features whose integers are too few for what they say."""
    found = [first] if first else []
    for source, signal in zip(sources, signals, strict=True):
        if not source.samples.any():
            found.append(
                f"The representative data of input {source.name!r} are zero throughout: its range is set to 1, and all "
                "others are guesses. Pass windows of the training data."
            )
        for feature in np.flatnonzero(source.clipped):
            found.append(
                f"Feature {feature} of input {source.name!r} has {source.clipped[feature]} outliers in the "
                f"representative data, more than {OUTLYING:.0f} times as far out as all other samples: they are "
                f"clipped to {source.samples[:, feature].min():.6g} .. {source.samples[:, feature].max():.6g}, as they "
                "will be on the device. If that range really occurs, add data that reach it more often."
            )
        found += coarse_features(signal.tensor, signal.encoding, source.samples)
    return tuple(found)


def levels(tensor: Tensor, encoding: Encoding | None, data: np.ndarray) -> np.ndarray:
    """How many integers lie between the least and the largest value of each feature, both counted, `[F]`."""
    axes = tuple(range(data.ndim - 1))
    swing = data.max(axis=axes) - data.min(axis=axes)
    unit = np.ones_like(swing) if encoding is None else np.abs(encoding.unit)
    return np.floor(swing / (unit * tensor.scale)) + 1.0


def coarse_features(tensor: Tensor, encoding: Encoding | None, data: np.ndarray) -> list[str]:
    """A sentence for each feature that moves, but in too few integers."""
    axes = tuple(range(data.ndim - 1))
    low, high, found = data.min(axis=axes), data.max(axis=axes), levels(tensor, encoding, data)
    return [
        f"Feature {feature} of input {tensor.name!r} has {found[feature]:.0f} levels over its range of "
        f"{low[feature]:.6g} to {high[feature]:.6g}; {LEAST_LEVELS} or more keep what it says. Bring it near zero and "
        "to the size of the others: with a Normalization as the model's first layer the host does that."
        for feature in np.flatnonzero((high > low) & (found < LEAST_LEVELS))
    ]


def _readings(
    graph: Graph,
    key: TensorKey,
    data: np.ndarray,
    gain: np.ndarray,
    offset: np.ndarray,
    behind: Callable[[TensorKey, np.ndarray, np.ndarray], Iterator[Reading]] | None = None,
) -> Iterator[Reading]:
    """The layers that read a tensor which is `gain * x + offset` of an input; `behind` gives those of an output."""
    if key in graph.outputs:
        yield from behind(key, gain, offset) if behind else [Reading("nothing", gain, offset)]
    for node in graph.nodes:
        if key not in node.inputs:
            continue
        layer = node.layer
        if len(node.inputs) == 1 and isinstance(layer, _SCALINGS):
            step = Signal(Tensor("x", data.shape[2:], "int16"), data)
            factor, more = (np.broadcast_to(each.ravel(), gain.shape) for each in gain_and_offset(layer, step))
            yield from _readings(graph, node.output, data, gain * factor, offset * factor + more, behind)
        elif len(node.inputs) == 1 and _changes_nothing(layer):
            yield from _readings(graph, node.output, data, gain, offset, behind)
        elif is_lowered_inside(layer):
            inner = graph_of(layer)
            numbered = as_numbered(layer, list(inner.outputs))

            def outside(key, gain, offset, node=node, numbered=numbered):
                outer = (*node.output[:2], numbered.index(key))
                return _readings(graph, outer, data, gain, offset, behind)

            for source in (source for source, read in zip(inner.inputs, node.inputs, strict=True) if read == key):
                yield from _readings(inner, source, data, gain, offset, outside)
        else:
            yield Reading(takes_of(layer), gain, offset)


def _changes_nothing(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear
    return isinstance(layer, UNCHANGING)
