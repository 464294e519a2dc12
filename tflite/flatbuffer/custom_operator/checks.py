"""What the kernel of KERAS_S4_DSS demands of its tensors and options; see the package."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from keras_s4.tflite.flatbuffer.custom_operator.expansion import LAYOUT_VERSION
from keras_s4.tflite.flatbuffer.operators.operands import Operand
from keras_s4.tflite.program.diagonal_kernel import MOST_MODES

_FORMAT = "<8i"
MOST_CHANNELS = 2**16 - 1


def check_step(inputs: Sequence[Operand], outputs: Sequence[Operand], options: bytes) -> None:
    """Refuse a step that the kernel would refuse or, of constants, could not compute.

    Args:
        inputs: operands whose types and number are right, constants from the third on.
        outputs: operands whose types and number are right.
        options: the operator's options as bytes.

    Raises:
        ValueError: anything that it would refuse.
    """
    if len(options) != struct.calcsize(_FORMAT):
        raise ValueError(f"KERAS_S4_DSS has {len(options)} bytes of options; expected {struct.calcsize(_FORMAT)}.")
    version, channels, modes, _, _, shift, _, _ = struct.unpack(_FORMAT, options)
    if version != LAYOUT_VERSION or not (0 < channels <= MOST_CHANNELS and 0 < modes <= MOST_MODES):
        raise ValueError(f"KERAS_S4_DSS has options of version {version}, {channels} channels and {modes} modes.")
    if not -31 <= shift <= 30:
        raise ValueError(f"KERAS_S4_DSS shifts its output by {shift}; expected -31 to 30.")
    state, words = (1, channels, modes, 2), (channels, modes, 4)
    expected = [state, words, *[(channels,)] * 4]
    samples, result = inputs[0].shape, outputs[0].shape
    fits = samples == result and samples[-1] == channels and math.prod(samples) % channels == 0
    found = [operand.shape for operand in inputs[1:]]
    if found != expected or outputs[1].shape != state or outputs[1].type != "int32" or not fits:
        raise ValueError(
            f"KERAS_S4_DSS of {channels} channels and {modes} modes was given {[samples, *found]} -> "
            f"{[result, outputs[1].shape]}."
        )
    plain, shifts = inputs[3].values, inputs[5].values
    if max(plain) > modes or not (min(shifts) >= 1 and max(shifts) <= 62):
        raise ValueError("KERAS_S4_DSS has more plain modes than modes, or shifts outside 1 to 62.")
