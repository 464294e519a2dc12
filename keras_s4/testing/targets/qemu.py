"""Complete firmware images on the machines of QEMU."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import tempfile
from pathlib import Path

from keras_s4.testing.targets.image import Image

_CALIBRATION = 200_000  # instructions, as in c/firmware.h


@dataclasses.dataclass(frozen=True)
class Report:
    """What a firmware image printed.

    Args:
        status: with which it left: 0 if all was equal, 1 if not, 2 after a fault.
        wrong: how many bytes of outputs and final states differed.
        steps: how many it ran.
        instructions_per_step: the mean over the steps, from the core's clock.
        stack_bytes: the deepest use of the stack by a step, without its arguments.
    """

    status: int
    wrong: int
    steps: int
    instructions_per_step: float
    stack_bytes: int


# By architecture: command, Debian's package, and how an image talks and leaves.
EMULATORS = {
    "arm": ("qemu-system-arm", "qemu-system-arm", ("-serial", "none", "-semihosting")),
    "riscv": ("qemu-system-riscv32", "qemu-system-misc", ("-serial", "stdio", "-bios", "none")),
}


def qemu(architecture: str = "arm") -> str:
    """The emulator.

    Raises:
        RuntimeError: it is not installed.
    """
    name, package, _ = EMULATORS[architecture]
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed: apt-get install {package}.")
    return path


def boot(image: Image, timeout: float = 120) -> Report:
    """Start an image that was built with vectors, and wait for its end.

    Raises:
        RuntimeError: QEMU is not installed, or the image ended without a report.
    """
    # Each instruction takes 2**4 ns of the machine's time, so that its clock counts the same each time.
    options = ("-display", "none", "-monitor", "none", "-icount", "shift=4", *EMULATORS[image.core.architecture][2])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.elf"
        file.write_bytes(image.elf)
        result = subprocess.run(
            [qemu(image.core.architecture), "-machine", image.core.machine, *options, "-kernel", str(file)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    lines = [line.split() for line in (result.stdout + result.stderr).splitlines()]
    values = {line[0]: int(line[1], 16) for line in lines if len(line) == 2 and len(line[1]) == 8}
    if "stack" not in values:
        raise RuntimeError(f"{image.core.machine}: status {result.returncode}, {result.stdout}{result.stderr}")
    instructions = values["ticks"] * _CALIBRATION / values["calibration"] / values["steps"]
    return Report(result.returncode, values["wrong"], values["steps"], instructions, values["stack"])
