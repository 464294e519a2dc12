"""Programs of models that nobody has trained yet: random weights cost what trained ones do."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_s4 import models
from keras_s4.checks import whole_number
from keras_s4.tflite.conversion import convert
from keras_s4.tflite.program.program import Program

_CALIBRATION = 2  # random sequences
# Of poolings that must be told how long they remember, which hardly changes what a step costs.
_POOLING_ARGUMENTS = {"recent": {"seconds": 1.0, "rate": 50.0}, "sliding": {"window": 16, "hop": 4}}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a model is going to be.

    Args:
        features: of a sample.
        outputs: classes, or quantities.
        channels: of each block.
        states: modes a channel.
        blocks: S4 blocks.
        pooling: a key of `keras_s4.models.POOLINGS`, or "none": an output at every step.
        pooling_arguments: of that layer; usual ones when omitted.
        activation: in the blocks.
        front: kernel size and stride of a convolution in front of the blocks, or None.
        activations: "int8" or "int16".
        steps: of a window.
    """

    features: int = 6
    outputs: int = 7
    channels: int = 32
    states: int = 8
    blocks: int = 2
    pooling: str = "average"
    pooling_arguments: Mapping[str, Any] | None = None
    activation: str = "gelu"
    front: tuple[int, int] | None = None
    activations: str = "int8"
    steps: int = 64


def untrained_program(sizes: Sizes) -> Program:
    """The integer program of a model with random weights.

    Raises:
        ValueError: a size below 1, an unknown pooling, or arguments that do not belong together.
    """
    for name in ("features", "outputs", "channels", "states", "blocks", "steps"):
        whole_number(getattr(sizes, name), f"{name}=")
    shape = (sizes.steps, sizes.features)
    body = {
        "channels": sizes.channels,
        "states": sizes.states,
        "blocks": sizes.blocks,
        "activation": sizes.activation,
        "front": sizes.front,
    }
    # Its own generator: the caller's random numbers stay what they are.
    state = np.random.default_rng(0)
    if sizes.pooling == "none":
        model = models.sequence_to_sequence(shape, sizes.outputs, **body)
    else:
        arguments = sizes.pooling_arguments or _POOLING_ARGUMENTS.get(sizes.pooling)
        model = models.classifier(shape, sizes.outputs, **body, pooling=sizes.pooling, pooling_arguments=arguments)
    data = state.normal(size=(_CALIBRATION, *shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the random data
        return convert(model, data, activations=sizes.activations).program
