"""What a network of some kind is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_s4.checks import choice, number, quote, truth_value, whole_number
from keras_s4.encoders import Front

KINDS = ("dss", "gru", "lstm", "rnn", "cnn", "tcn")
_SIZES = ("width", "blocks", "states", "kernel", "downsample")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network, described in the same words whatever its kind; what does not concern a kind is ignored.

    Args:
        kind: "dss" (S4 blocks), "gru", "lstm", "rnn" (simple recurrent layers whose recurrent matrix may be of low
            rank), "cnn" (depthwise-separable convolutions) or "tcn" (dilated causal convolutions with residuals).
        width: channels of blocks and convolutions, units of recurrent layers.
        blocks: S4 blocks, recurrent layers, separable convolutions, or dilated convolutions.
        states: modes a channel, of "dss"; with `shared_modes` those of a whole block.
        rank: of the mixing matrices of "dss", of the recurrent matrix of "rnn"; None for whole matrices.
        kernel: taps of the convolutions of "cnn" and "tcn".
        front: kernel and stride of a convolution in front, behind which all runs at every `stride`-th sample; or None.
        downsample: in front of each block behind the first, averages of so many steps take their place; of "cnn" the
            stride of these convolutions.
        gate: of the S4 blocks, see `keras_s4.layers.S4Block`.
        shared_modes: whether all channels of a block of "dss" share its modes (`keras_s4.layers.DiagonalSSM`), or each
            has its own (`keras_s4.layers.DSS`).
        feedthrough: of blocks with shared modes, "full", "diagonal" or None; each channel of the others sees its own
            input.
        time_steps: the smallest and the largest time step that the channels of "dss", or shared modes, begin with:
            short ones remember long. None for the layer's own, 1e-3 and 1e-1.
        pooling: over time, a key of `keras_s4.models.POOLINGS`.
        pooling_arguments: of that layer.
        dropout: while training; of S4 blocks in each, of the others in front of the head.
        activation: of S4 blocks; the others have their usual ones.

    Raises:
        ValueError: another kind, or a value that is none of these.
    """

    kind: str = "dss"
    width: int = 32
    blocks: int = 2
    states: int = 8
    rank: int | None = None
    kernel: int = 9
    front: tuple[int, int] | None = None
    downsample: int = 1
    gate: str | None = "dense"
    shared_modes: bool = False
    feedthrough: str | None = "full"
    time_steps: tuple[float, float] | None = None
    pooling: str = "average"
    pooling_arguments: Mapping[str, Any] | None = None
    dropout: float = 0.1
    activation: str = "gelu"

    def __post_init__(self):
        choice(self.kind, "Architecture got kind=", KINDS)
        for name in _SIZES:
            object.__setattr__(self, name, whole_number(getattr(self, name), f"Architecture got {name}="))
        if self.rank is not None:
            whole_number(self.rank, "Architecture got rank=")
            if self.rank > self.width:
                raise ValueError(
                    f"Architecture got rank={self.rank} and width={self.width}; a rank is at most the width."
                )
        if self.gate is not None:
            choice(self.gate, "Architecture got gate=", ("dense", "channel"))
        shared = truth_value(self.shared_modes, "Architecture got shared_modes=")
        object.__setattr__(self, "shared_modes", shared)
        if self.feedthrough is not None:
            choice(self.feedthrough, "Architecture got feedthrough=", ("full", "diagonal"))
        number(self.dropout, "Architecture got dropout=", 0.0, 1.0)
        if self.front is not None:
            front = Front.of(self.front, "Architecture")
            object.__setattr__(self, "front", (int(front.kernel), int(front.stride)))
        if self.time_steps is not None:
            object.__setattr__(self, "time_steps", _read_time_steps(self.time_steps))

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Architecture:
        """From what `figures` gave.

        Raises:
            ValueError: names that an architecture does not have.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(figures) - known):
            raise ValueError(
                f"An architecture got {', '.join(map(repr, unknown))}; it has {', '.join(map(repr, sorted(known)))}."
            )
        return cls(**figures)

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        pairs = {name: list(pair) for name in ("front", "time_steps") if (pair := getattr(self, name)) is not None}
        return {**dataclasses.asdict(self), **pairs}

    def __str__(self) -> str:
        """What concerns its kind, on one line."""
        parts = [self.kind.upper(), f"{self.blocks} x {self.width}"]
        if self.kind == "dss":
            parts.append(f"{self.states} shared modes" if self.shared_modes else f"{self.states} modes")
        if self.kind in ("cnn", "tcn"):
            parts.append(f"kernel {self.kernel}")
        if self.kind in ("dss", "rnn") and self.rank is not None:
            parts.append(f"rank {self.rank}")
        if self.kind == "dss" and self.gate != "dense":
            parts.append(f"gate {self.gate}")
        if self.kind == "dss" and self.shared_modes and self.feedthrough != "full":
            parts.append(f"{self.feedthrough or 'no'} feedthrough")
        if self.kind == "dss" and self.time_steps is not None:
            parts.append(f"time steps {self.time_steps[0]:g} to {self.time_steps[1]:g}")
        if self.front is not None:
            parts.append(f"front {self.front[0]}/{self.front[1]}")
        if self.downsample > 1:
            parts.append(f"downsample {self.downsample}")
        return ", ".join(parts)


def _read_time_steps(value: Any) -> tuple[float, float]:
    try:
        smallest, largest = map(float, value)
    except (TypeError, ValueError):
        smallest = largest = 0.0
    if not 0.0 < smallest <= largest:
        raise ValueError(f"Architecture got time_steps={quote(value)}; expected (smallest, largest), both above 0.")
    return smallest, largest
