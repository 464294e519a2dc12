"""The networks of one kind to choose from, and those among them that budgets allow."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from keras_s4.architecture_search.prices import Prices
from keras_s4.architectures import Architecture, architecture_of, idle_fields
from keras_s4.architectures.spaces import SHARED_STATES
from keras_s4.compression.search.engine import keras_tuner

WIDTH, SHARE = "width", "share"
# Costs grow with about this power of the width, from linear ones of small networks to squares of large ones.
GROWTH = 1.5
# Points that are looked at around a known one before a space counts as exhausted.
MOST_LOOKED_AT = 400
# Towards less work; of other fields the first choice is where a search for the cheapest network begins.
_CHEAP = {WIDTH: min, "blocks": min, "states": min, SHARED_STATES: min, "kernel": min, "downsample": max}
_CHEAP_FEEDTHROUGHS = (None, "diagonal", "full")
# Indices of choices, by field.
Point = dict[str, int]


class Space:
    """The networks of a kind as hyperparameters of keras-tuner.

    Under budgets the width is not chosen but found: the largest with which a network takes no more than a share of each
    budget. So proposals are never over a budget, and never far below what they may take.

    Args:
        kind: one of `keras_s4.architectures.KINDS`.
        choices: of each field of `Architecture`.
        prices: what networks take.
        budgets: limits by measure; empty for none.
        shares: parts of the budgets that proposals are to take.
    """

    def __init__(
        self,
        kind: str,
        choices: Mapping[str, Sequence[Any]],
        prices: Prices,
        budgets: Mapping[str, float],
        shares: Sequence[float] = (1.0,),
    ):
        self.kind = kind
        self.choices = {name: tuple(values) for name, values in choices.items()}
        self._prices, self._budgets = prices, dict(budgets)
        self._shares = tuple(shares)
        self._fields = [name for name in self.choices if not (budgets and name == WIDTH)]

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """A `Choice` of indices for each field that leaves one, and for the share of the budgets."""
        found = keras_tuner.HyperParameters()
        for name in self._fields:
            if len(self.choices[name]) > 1:
                found.Choice(name, list(range(len(self.choices[name]))))
        found.Choice(SHARE, list(range(len(set(self._shares)))))
        return found

    def share_index(self, share: float) -> int:
        """The value of the hyperparameter for a share."""
        return sorted(set(self._shares)).index(share)

    def fill(self, point: Mapping[str, int], share: float) -> Architecture | None:
        """The network of a point, as wide as a share of the budgets allows, or as the point says where there are none.

        Returns:
            Where even the narrowest is over the share but within the budgets, that one; None if it is not, or if no
            width can be built.
        """
        made = list(self._widths(point))
        if not self._budgets:
            return next((network for network in made if self._prices.of(network) is not None), None)
        below, above, index = -1, len(made), (len(made) - 1) // 2
        while above - below > 1:
            load = self.load(made[index])
            below, above = (index, above) if load <= share else (below, index)
            index = min(max(_expected(made, index, share / max(load, 1e-9)), below + 1), above - 1)
        if below >= 0:
            return made[below]
        return made[0] if made and self.load(made[0]) <= 1.0 else None

    def load(self, network: Architecture) -> float:
        """The largest part of a budget that a network takes; infinite if it cannot be built or exported."""
        measures = self._prices.of(network)
        if measures is None:
            return float("inf")
        return max((measures[name] / limit for name, limit in self._budgets.items()), default=0.0)

    def nearest(self, point: Mapping[str, int], share: float, taken: Collection[str]) -> tuple[Point, Architecture]:
        """The point nearest to one whose network fits and is not taken, and the network.

        Fields that make no difference to the network, such as modes a channel where modes are shared, are at 0.

        Args:
            point: indices by field; others are ignored.
            share: of the budgets.
            taken: figures of networks as text.

        Raises:
            LookupError: there is none, as far as was looked.
        """
        start = self._towards_cheap({name: int(point.get(name, 0)) for name in self._fields}, share)
        queue, seen, looked = collections.deque([start]), {tuple(start.values())}, 0
        while queue and looked < MOST_LOOKED_AT:
            here, looked = queue.popleft(), looked + 1
            network = self.fill(here, share)
            if network is not None and str(network.figures()) not in taken:
                return self._told_apart(here), network
            for neighbour in self._neighbours(here):
                if tuple(neighbour.values()) not in seen:
                    seen.add(tuple(neighbour.values()))
                    queue.append(neighbour)
        raise LookupError(f"No other network of kind {self.kind} fits.")

    def cheapest(self) -> tuple[Point, Architecture]:
        """A point within the budgets, or if there is none, what takes least of what was tried.

        It begins with the least of each field, and looks at all choices of one field after the other.
        """
        best = {name: self._cheap_index(name) for name in self._fields}
        found = next(iter(self._widths(best)), None)
        least = float("inf") if found is None else self.load(found)
        for name in self._fields:
            for index in range(len(self.choices[name])):
                if least <= 1.0:
                    return best, found
                tried = {**best, name: index}
                network = next(iter(self._widths(tried)), None)
                if network is not None and self.load(network) < least:
                    best, found, least = tried, network, self.load(network)
        if found is None:
            raise ValueError(f"The choices of kind {self.kind} make no network.")
        return best, found

    def _widths(self, point: Mapping[str, int]) -> Iterator[Architecture]:
        """The networks of a point by their width, ascending; those that contradict themselves left out."""
        fields = {name: self.choices[name][point.get(name, 0)] for name in self._fields}
        for width in [fields.pop(WIDTH)] if WIDTH in fields else sorted(self.choices[WIDTH]):
            try:
                yield architecture_of(self.kind, {**fields, WIDTH: width})
            except ValueError:  # as a rank above the width
                continue

    def _towards_cheap(self, point: Point, share: float) -> Point:
        """The point, or if no width of it fits, the first on the way to the cheapest of which one does."""
        if not self._budgets or self.fill(point, share) is not None:
            return point
        goal, _ = self.cheapest()
        while point != goal and self.fill(point, share) is None:
            name = max(self._fields, key=lambda name: abs(point[name] - goal[name]))
            point = {**point, name: point[name] + (1 if goal[name] > point[name] else -1)}
        return point

    def _neighbours(self, point: Point) -> Iterator[Point]:
        idle = self._idle(point)
        for name in self._fields:
            if name in idle:
                continue
            for index in (point[name] - 1, point[name] + 1):
                if 0 <= index < len(self.choices[name]):
                    yield {**point, name: index}

    def _told_apart(self, point: Point) -> Point:
        """The one point that stands for all of the same network."""
        idle = self._idle(point)
        return {name: 0 if name in idle else index for name, index in point.items()}

    def _idle(self, point: Point) -> tuple[str, ...]:
        return idle_fields(self.kind, {name: self.choices[name][index] for name, index in point.items()})

    def _cheap_index(self, name: str) -> int:
        values = self.choices[name]
        if name in _CHEAP:
            return values.index(_CHEAP[name](values))
        if name == "rank":
            whole = [value for value in values if value is not None]
            return values.index(min(whole)) if whole else 0
        if name == "gate":
            return values.index(None) if None in values else 0
        if name == "feedthrough":
            return values.index(min(values, key=_CHEAP_FEEDTHROUGHS.index))
        return 0


def _expected(made: Sequence[Architecture], index: int, factor: float) -> int:
    """The index of the widest network that is expected to take at most `factor` times what the one of an index does."""
    reach = made[index].width * factor ** (1 / GROWTH)
    return sum(network.width <= reach for network in made) - 1
