"""What a model takes of flash and RAM, counted in its C, and whether the small boards have that."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

# Arrays with the bits of their elements, as generated C declares them.
_STATE = re.compile(r"^    u?int(\d+)_t \w+\[(\d+)\];", re.MULTILINE)
_CONSTANT = re.compile(r"^static const u?int(\d+)_t \w+\[(\d+)\]", re.MULTILINE)
# Bytes of RAM of the boards with an AVR, and what Arduino and the application take of them besides the model.
AVR_BOARDS = {"an Uno": 2048, "a Mega": 8192}
AROUND = 900


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that a model takes.

    Args:
        constants: of its tables and weights.
        state: of a stream, working memory included.
    """

    constants: int
    state: int

    @property
    def avr_advice(self) -> str:
        """Which boards have RAM for both, a phrase."""
        need = self.constants + self.state + AROUND
        found = [
            f"{board} has {room:,}, which {'is enough' if need <= room else 'is too small'}"
            for board, room in AVR_BOARDS.items()
        ]
        return ", and ".join(found)


def memory_of(sources: Mapping[str, str], name: str) -> Memory:
    """Counted in `NAME.c` and `NAME.h`."""
    return Memory(_bytes(_CONSTANT, sources[f"{name}.c"]), _bytes(_STATE, sources[f"{name}.h"]))


def _bytes(declaration: re.Pattern[str], source: str) -> int:
    return sum(int(bits) // 8 * int(size) for bits, size in declaration.findall(source))
