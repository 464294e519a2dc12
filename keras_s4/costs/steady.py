"""Streams that show what a step costs on the average, long after a reset.

Most steps cost alike. Those of sums over hops cost more when a hop is full, and averages that wait for their first
value cost less until it comes.
"""

from __future__ import annotations

import math

import numpy as np

from keras_s4.testing.targets.vectors import Vectors, from_reset
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.operations import RecentMean, SlidingSum
from keras_s4.tflite.program.program import Program

_SAMPLES = 8
_MOST = 512  # steps, where hops have no small multiple in common


def steady_vectors(program: Program) -> Vectors:
    """One stream of random integers: whole hops of all sums, from when they have begun.

    Args:
        program: the integer program.
    """
    steps = max(2, _SAMPLES // program.steps)
    sums = [operation for operation in program.operations if isinstance(operation, SlidingSum)]
    means = [operation for operation in program.operations if isinstance(operation, RecentMean)]
    begun = max([each.start + each.hop for each in sums] + [each.start + 1 for each in means], default=0)
    if not begun:
        return from_reset(program, 1, steps)
    hops = math.lcm(*(each.hop for each in sums))
    length = min(_MOST, -(-steps // hops) * hops)
    given = from_reset(program, 1, begun + length).inputs
    names = [state.after.name for state in program.states]
    before = Emulator(program).trace([array[:, :begun] for array in given])
    inputs = tuple(array[:, begun:] for array in given)
    after = Emulator(program).trace(list(inputs), record=names, states=before.final_states)
    starts = tuple(np.asarray(state) for state in before.final_states)
    return Vectors(inputs, after.outputs, starts, tuple(after.tensors[name][:, -1] for name in names))
