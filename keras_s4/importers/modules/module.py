"""What is recognised in a checkpoint: modules, and the arrays that stand under a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.network import Network

Build = Callable[[Network, int, Mapping[str, str]], int]


@dataclass(frozen=True)
class Module:
    """A module of the source.

    Args:
        path: that it stands under, such as "s4_layers.0".
        title: what it is, in words.
        kind: "linear", "normalization", "s4", "bank", "recurrent", "convolution" or "embedding".
        features: channels that it reads.
        build: adds its nodes behind one of a network, with settings of this module; returns the last.
        outputs: channels that it gives.
    """

    path: str
    title: str
    kind: str
    features: int
    build: Build
    outputs: int

    @property
    def name(self) -> str:
        """Its path, or for the whole checkpoint its kind."""
        return self.path or self.kind


@dataclass
class Scope:
    """The arrays under a path; remembers which were read.

    Args:
        arrays: of the checkpoint, by their whole names.
        path: with which names begin.
        used: whole names that were read, shared between scopes.
    """

    arrays: Mapping[str, np.ndarray]
    path: str
    used: set[str] = field(default_factory=set)

    def whole(self, name: str) -> str:
        """The whole name of an array."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, *names: str) -> bool:
        """Whether all of these are there."""
        return all(self.whole(name) in self.arrays for name in names)

    def first(self, *names: str) -> str | None:
        """The first of these names that is there."""
        return next((name for name in names if self.has(name)), None)

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """An array, once its shape is found right.

        Args:
            name: under the path.
            shape: what is expected; None for any length. Without it any shape will do.

        Raises:
            ValueError: it is missing, or of another shape.
        """
        whole = self.whole(name)
        if whole not in self.arrays:
            raise CheckpointError(f"The checkpoint lacks {whole!r}, without which {self.path or 'it'} is partial.")
        array = self.arrays[whole]
        fits = len(array.shape) == len(shape) and all(
            want in (None, there) for want, there in zip(shape, array.shape, strict=False)
        )
        if shape and not fits:
            expected = ", ".join("?" if length is None else str(length) for length in shape)
            raise CheckpointError(f"{whole!r} has the shape {list(array.shape)}; expected [{expected}].")
        self.used.add(whole)
        return array

    def pairs(self, name: str, *shape: int | None) -> np.ndarray:
        """A complex array, stored as such or as pairs of its parts in a last axis of 2."""
        array = self.arrays.get(self.whole(name))
        if array is not None and np.iscomplexobj(array):
            return self.take(name, *shape)
        parts = self.take(name, *shape, 2)
        return parts[..., 0] + 1j * parts[..., 1]

    def below(self, name: str) -> Scope:
        """The scope of a path below this one."""
        return Scope(self.arrays, self.whole(name), self.used)
