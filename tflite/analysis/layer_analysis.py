"""What integers lose in one state space layer."""

from __future__ import annotations

import dataclasses

from keras_s4.brief import Brief
from keras_s4.tflite.analysis.states import States


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LayerAnalysis(Brief):
    """A DSS or DiagonalSSM layer of a program.

    Args:
        name: "block_1/dss" for the DSS layer of a block.
        states: its states, one by one; those of a DiagonalSSM as of one channel.
        predicted: signal-to-noise ratio of its output in dB by the noise model; what earlier layers lose is in it.
        measured: the same from the emulator.
        largest_output: the largest magnitude of its output on the data, in the units of its tensor.
    """

    name: str
    states: States
    predicted: float | None
    measured: float | None
    largest_output: float = 0.0
