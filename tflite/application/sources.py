"""The C++ application, its Makefile and its README, rendered from templates."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.application.names import camel_case, identifiers, printable
from keras_s4.tflite.operations import Accumulate
from keras_s4.tflite.program import Program, limits
from keras_s4.tflite.rendering import render
from keras_s4.tflite.tensors import Tensor

TEMPLATES = Path(__file__).parent / "templates"
SOURCES = (
    "model_data.h",
    "model_data.cc",
    "keras_s4_model.h",
    "keras_s4_model.cc",
    "main.cc",
    "golden.h",
    "Makefile",
    "README.md",
)
# The golden vectors of the application are flashed with it, so they are few.
STREAMS, STEPS = 3, 32
BYTES_A_LINE, INTEGERS_A_LINE = 12, 8


@dataclasses.dataclass(frozen=True)
class End:
    """An input, output or state as the templates need it.

    Args:
        tensor: of the program.
        integers: the least and the largest that it may hold.
        field: its name in a C++ struct.
        activation: what is left to do for an output once it is a real number: "linear" or "softmax".
        rows: values of a sequence in an output.
    """

    tensor: Tensor
    integers: tuple[int, int]
    field: str
    activation: str = "linear"
    rows: int = 1

    @property
    def name(self) -> str:
        """The tensor's name, safe in a comment."""
        return printable(self.tensor.name)

    @property
    def camel(self) -> str:
        """The name in functions and constants."""
        return camel_case(self.field)

    @property
    def c_type(self) -> str:
        """`int16_t` for example."""
        return f"{self.tensor.type}_t"

    @property
    def tflm_type(self) -> str:
        """`kTfLiteInt16` for example."""
        return f"kTfLite{self.tensor.type.capitalize()}"

    @property
    def size(self) -> int:
        """How many integers."""
        return math.prod(self.tensor.shape)

    @property
    def is_token(self) -> bool:
        """Whether an input holds the number of a row of a table: a whole number as it is, not quantised."""
        return self.tensor.type == "int32"

    @property
    def scale(self) -> float:
        """The real value of one unit."""
        return float(self.tensor.scale)

    @property
    def steps_per_unit(self) -> str:
        """The reciprocal of the scale as a `float` literal where multiplying by it is exact, otherwise "".

        That is the case for powers of two, and `float` then gives what `Converted.quantize` gives in `double`.
        """
        fraction, exponent = math.frexp(self.scale)
        if fraction != 0.5 or abs(exponent) > 100 or self.tensor.type not in ("int8", "int16"):
            return ""
        return f"{1 / self.scale!r}f"

    @property
    def range(self) -> list[float]:
        """The least and the largest real value."""
        return [(integer - self.tensor.zero_point) * self.scale for integer in self.integers]


def render_sources(program: Program, manifest: dict[str, Any], tflite: bytes, golden: Golden) -> dict[str, str]:
    """The text of every file of `SOURCES`, by name.

    Args:
        program: the integer program.
        manifest: the facts about it, as `manifest_of` gives them.
        tflite: the bytes of its `.tflite`.
        golden: vectors of at least `STREAMS` streams and `STEPS` steps.
    """
    inputs, outputs, states = _ends(program)
    context = {
        "name": printable(program.name),
        "manifest": manifest,
        "inputs": inputs,
        "outputs": outputs,
        # Templates know the states that the application keeps; variables are the interpreter's.
        "states": [] if manifest["states_kept_as"] == "variables" else states,
        "variables": len(states) if manifest["states_kept_as"] == "variables" else 0,
        "averages": any(isinstance(operation, Accumulate) for operation in program.operations),
        "model_lines": _lines([f"0x{byte:02x}" for byte in tflite], BYTES_A_LINE),
        "golden": _golden_initializers(golden.first(STREAMS, STEPS)),
    }
    return {name: render(TEMPLATES / f"{name}.jinja", **context) for name in SOURCES}


def _ends(program: Program) -> tuple[list[End], list[End], list[End]]:
    tensors = [*program.inputs, *program.outputs, *(state.before for state in program.states)]
    activations = ["linear"] * len(tensors)
    for index, activation in enumerate(program.output_activations, len(program.inputs)):
        activations[index] = activation
    rows = [1] * len(tensors)
    for index, count in enumerate(program.output_rows, len(program.inputs)):
        rows[index] = count
    fields = identifiers(tensor.name for tensor in tensors)
    integers = [limits(program, tensor) for tensor in tensors]
    ends = [End(*values) for values in zip(tensors, integers, fields, activations, rows, strict=True)]
    first_output, first_state = len(program.inputs), len(program.inputs) + len(program.outputs)
    return ends[:first_output], ends[first_output:first_state], ends[first_state:]


def _golden_initializers(golden: Golden) -> dict[str, Any]:
    """The initialisers of the structs: `inputs[stream][step]`, `outputs[stream][step]`, `states[stream]` after all."""
    streams, steps = golden.inputs[0].shape[:2]

    def each_step(arrays: tuple[np.ndarray, ...]) -> list[list[str]]:
        return [
            [_struct([array[stream, step] for array in arrays]) for step in range(steps)] for stream in range(streams)
        ]

    return {
        "streams": streams,
        "steps": steps,
        "inputs": each_step(golden.inputs),
        "outputs": each_step(golden.outputs),
        "states": [_struct([array[stream, -1] for array in golden.states]) for stream in range(streams)],
    }


def _struct(arrays: list[np.ndarray]) -> str:
    """The initialiser of a struct of arrays; long ones take several lines."""
    fields = [_lines([str(value) for value in array.ravel().tolist()], INTEGERS_A_LINE) for array in arrays]
    return "{" + ",\n     ".join("{" + "\n      ".join(lines) + "}" for lines in fields) + "}"


def _lines(values: list[str], count: int) -> list[str]:
    """Comma-separated values, `count` a line; no comma after the last."""
    lines = [", ".join(values[start : start + count]) for start in range(0, len(values), count)]
    return [line + "," for line in lines[:-1]] + lines[-1:]
