"""The random networks that the cost model is fitted to and tried on: as somebody, or a search, might choose them."""

from __future__ import annotations

import numpy as np

from keras_s4.modal_system import ModalSystem
from keras_s4.tflite.program.program import Program

POOLINGS = {
    "average": None,
    "max": None,
    "last": None,
    "recent": {"seconds": 2.0, "rate": 50.0},
    "sliding": {"window": 8, "hop": 4},
}
# Fields of modes that channels share, which are drawn by `draw_modes`.
SHARED = ("shared_modes", "shared_states", "feedthrough")
# Radius and angle up to which poles of shared modes are drawn, besides those that layers begin with.
_POLES = {1: (0.95, 0.3), 2: (0.9995, np.pi)}
_LONGEST = 32  # samples of a run: blocks that somebody would still call a step


def draw_program(kind: str, seed: int, weights: str | None = None) -> Program:
    """An architecture of a kind.

    Args:
        kind: of `keras_s4.architectures.KINDS`.
        seed: of the random numbers.
        weights: as of `keras_s4.tflite.convert`.
    """
    from keras_s4.architectures import Architecture, build, spaces
    from keras_s4.costs.untrained import own_weights, program_of

    random = np.random.default_rng(seed)
    own = {name: choices for name, choices in spaces(kind).items() if name not in SHARED}
    while True:
        fields = {name: choices[int(random.integers(len(choices)))] for name, choices in own.items()}
        period = (fields["front"][1] if fields["front"] else 1) * fields["downsample"] ** (fields["blocks"] - 1)
        if period <= _LONGEST and (fields.get("rank") or 0) <= fields["width"]:
            break
    pooling = str(random.choice(list(POOLINGS)))
    architecture = Architecture(kind, pooling=pooling, pooling_arguments=POOLINGS[pooling], **fields)
    features, outputs = int(random.choice([1, 2, 3, 6, 9, 13])), int(random.integers(2, 13))
    with own_weights():
        model = build(architecture, (int(random.choice([8, 12])) * _LONGEST, features), outputs)
    activations = "int8" if weights else str(random.choice(["int8", "int8", "int8", "int16"]))
    return program_of(model, activations, weights)


def draw_modes(seed: int) -> Program:
    """Residual blocks around `DiagonalSSM` layers as they begin, that forget at once, and that ring for long."""
    import keras

    from keras_s4.costs.untrained import own_weights, program_of
    from keras_s4.layers import DiagonalSSM
    from keras_s4.models import pooling_layer

    random = np.random.default_rng(seed)
    width, modes = int(random.choice([6, 11, 16, 24, 32, 48])), int(random.choice([4, 9, 16, 32, 48]))
    pooling, feedthrough = str(random.choice(["average", "last"])), str(random.choice(["full", "diagonal", ""]))
    with own_weights():
        inputs = keras.Input((64, int(random.choice([1, 3, 6, 9]))))
        hidden = keras.layers.Dense(width)(inputs)
        for _ in range(int(random.integers(1, 3))):
            layer = DiagonalSSM(width, modes, feedthrough or None)
            mixed = layer(hidden)
            if seed % 3:
                layer.set_system(_with_poles(layer.system(), *_POLES[seed % 3], random))
            hidden = keras.layers.Add()([hidden, keras.layers.Activation("gelu")(mixed)])
        pooled = pooling_layer("draw_modes", pooling, None)(hidden)
        model = keras.Model(inputs, keras.layers.Dense(int(random.integers(2, 13)), activation="softmax")(pooled))
    return program_of(model)


def _with_poles(system: ModalSystem, radius: float, angle: float, random: np.random.Generator) -> ModalSystem:
    """The same with poles of radii and angles up to these."""
    modes = len(system.poles)
    size = radius * random.random(modes) ** 0.25
    poles = size * np.exp(1j * random.uniform(0.0, angle, modes))
    drive = system.inputs * np.sqrt(1.0 - size**2)[:, None]
    return ModalSystem(poles, drive, system.outputs, system.feedthrough)
