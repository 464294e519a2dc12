"""Parts with known spectra, choices and costs, and metrics of them that need no model."""

import dataclasses
import zlib
from typing import ClassVar

import numpy as np

from keras_s4.compression.part import Cost, Part


@dataclasses.dataclass(frozen=True, eq=False)
class MadeUpPart(Part):
    """A part that is all known.

    Args:
        values: its spectrum.
        steps: its choices; by default every rank.
        flash: bytes at every choice; by default 10 a rank.
        ram: the same.
    """

    kind: ClassVar[str] = "matrix"

    values: tuple[float, ...]
    steps: tuple[int, ...] | None = None
    flash: tuple[int, ...] | None = None
    ram: tuple[int, ...] | None = None
    name: str = "made up"

    shape = (8, 8)

    @property
    def max_rank(self):
        return len(self.values)

    @property
    def choices(self):
        return self.steps or tuple(range(1, self.max_rank + 1))

    @property
    def spectrum(self):
        return np.array(self.values)

    def cost(self, rank):
        index = self.choices.index(rank)
        flash = self.flash[index] if self.flash else 10 * rank
        ram = self.ram[index] if self.ram else 0
        return Cost(flash, ram, flash)

    def error_bound(self, rank):
        return self.values[rank] / self.values[0] if rank < self.max_rank else 0.0

    def truncate(self, rank):
        raise NotImplementedError


def whole(parts):
    return {name: part.max_rank for name, part in parts.items()}


def total(parts, ranks, kind):
    return sum(getattr(part.cost(ranks[name]), kind) for name, part in parts.items())


def random_metric(parts, seed):
    """Metrics without any order, from 0 to 1, and 1 for whole parts."""

    def measure(ranks):
        if ranks == whole(parts):
            return 1.0
        return zlib.crc32(repr((seed, sorted(ranks.items()))).encode()) / 2**32

    return measure
