"""Generated C on microcontroller cores and under sanitizers: built, run, and measured from the real images."""

from targets.cores import CORES, Core
from targets.image import Image, build
from targets.unicorn_core import Run, run
from targets.vectors import Vectors, from_any_state, from_reset

__all__ = ["CORES", "Core", "Image", "Run", "Vectors", "build", "from_any_state", "from_reset", "run"]
