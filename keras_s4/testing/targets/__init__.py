"""Generated C on microcontroller cores and under sanitizers: built, run, and measured from the real images."""

from keras_s4.testing.targets.cores import CORES, RISCV, Core
from keras_s4.testing.targets.costs import measure_cost
from keras_s4.testing.targets.image import Image, build
from keras_s4.testing.targets.unicorn_core import Run, run
from keras_s4.testing.targets.vectors import Vectors, from_any_state, from_reset

__all__ = [
    "CORES",
    "RISCV",
    "Core",
    "Image",
    "Run",
    "Vectors",
    "build",
    "from_any_state",
    "from_reset",
    "measure_cost",
    "run",
]
