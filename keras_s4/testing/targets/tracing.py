"""Which blocks of an image's code run in a step, and how often: on Unicorn, or from QEMU's log."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import unicorn

from keras_s4.testing.targets.image import Image
from keras_s4.testing.targets.qemu import qemu
from keras_s4.testing.targets.unicorn_core import Machine

_TRANSLATED = re.compile(r"^0x([0-9a-f]{8}):\s+([0-9a-f]{4})( ?[0-9a-f]{4})?\b")
_EXECUTED = re.compile(r"^Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/")


@dataclasses.dataclass(frozen=True)
class Trace:
    """What ran of a step's code.

    Args:
        image: that it belongs to.
        steps: how many steps.
        blocks: how often each block ran, by first address, bytes, and the address that ran next.
        stack_bytes: the deepest use of the stack, where it was watched.
    """

    image: Image
    steps: int
    blocks: dict[tuple[int, int, int], int]
    stack_bytes: int | None = None

    def read(self, address: int, size: int) -> bytes:
        """The code at an address; nothing where the image has none."""
        for segment in self.image.file.iter_segments("PT_LOAD"):
            offset = address - segment["p_vaddr"]
            if 0 <= offset < segment["p_filesz"]:
                return segment.data()[offset : offset + size]
        return b""


def trace_on_unicorn(image: Image, inputs: Sequence[np.ndarray], starts: Sequence[np.ndarray] | None = None) -> Trace:
    """Runs streams, one after the other.

    Args:
        image: for a core that Unicorn has, without vectors.
        inputs: for each input of the program, integers `[B, L, ...]`.
        starts: for each state where the streams start, `[B, ...]`; a reset when omitted.
    """
    machine = Machine(image, aligned=False)
    blocks: Counter[tuple[int, int, int]] = Counter()
    running = None

    def count(uc: unicorn.Uc, address: int, size: int, _: object) -> None:
        nonlocal running
        if running is not None:
            blocks[*running, address] += 1
        running = address, size

    batch, length = inputs[0].shape[:2]
    for stream in range(batch):
        machine.reset(None if starts is None else [start[stream] for start in starts])
        hook = machine.emulator.hook_add(unicorn.UC_HOOK_BLOCK, count)
        for step in range(length):
            machine.step([array[stream, step] for array in inputs])
            if running is not None:
                blocks[*running, 0] += 1  # it has returned
            running = None
        machine.emulator.hook_del(hook)
    return Trace(image, batch * length, dict(blocks), machine.stack_bytes())


def trace_on_qemu(image: Image, steps: int, timeout: float = 120) -> Trace:
    """Starts an image on its machine of QEMU, and reads what it logs of every block.

    Args:
        image: built with vectors.
        steps: that it runs.
        timeout: seconds.

    Raises:
        RuntimeError: QEMU is not installed, or no step was logged.
    """
    text = image.file.get_section_by_name(".text")
    first, end = text["sh_addr"], text["sh_addr"] + text["sh_size"]
    # Of a log of everything most is the test around the step: only what lies in the model's code is written.
    log = ("-d", "in_asm,exec,nochain", "-dfilter", f"{first:#x}..{end - 1:#x}")
    options = ("-nographic", "-monitor", "none", "-serial", "none", "-semihosting")
    with tempfile.TemporaryDirectory() as folder:
        file, found = Path(folder) / "image.elf", Path(folder) / "log"
        file.write_bytes(image.elf)
        command = [qemu(), "-machine", image.core.machine, *options, *log, "-D", str(found), "-kernel", str(file)]
        subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        with found.open() as lines:
            blocks = _read_log(lines, image)
    if not blocks:
        raise RuntimeError(f"QEMU's log of {image.core.machine} has no block of {image.core.name}.")
    return Trace(image, steps, blocks)


def _read_log(lines: Iterable[str], image: Image) -> dict[tuple[int, int, int], int]:
    """Blocks between the entry of the step's function and its end; a block's bytes stand where it was translated."""
    sizes: dict[int, int] = {}
    blocks: Counter[tuple[int, int, int]] = Counter()
    start = None  # of the block that is being listed
    running = None
    for line in lines:
        if line.startswith("IN:"):
            start = -1
        elif listed := _TRANSLATED.match(line):
            address = int(listed[1], 16)
            start = address if start in (-1, None) else start
            sizes[start] = address - start + (4 if listed[3] else 2)
        elif executed := _EXECUTED.match(line):
            address = int(executed[1], 16)
            if address == image.step.address:
                _finish(blocks, running)
            elif address == image.reset:
                _finish(blocks, running)
                running = None
                continue
            elif running is not None:
                blocks[*running, address] += 1
            elif not blocks:
                continue  # of the reset
            if address == image.step.address or running is not None:
                running = address, sizes[address]
    _finish(blocks, running)
    return dict(blocks)


def _finish(blocks: Counter, running: tuple[int, int] | None) -> None:
    """The last block of a step has gone back to its caller."""
    if running is not None:
        blocks[*running, 0] += 1
