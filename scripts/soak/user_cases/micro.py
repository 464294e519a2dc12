"""C and A10: what a debug build of TensorFlow Lite Micro demands of a file, and C where `int` has 16 bits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS
from user_cases.case import Wrong, case, expect_near

LENGTH = 24
DATA = np.random.default_rng(0).normal(size=(16, LENGTH, 8)).astype("float32")
# Operators whose kernels assert that input and output have one shape.
EQUAL_SHAPES = {"CAST", "QUANTIZE", "LOGISTIC", "TANH", "RSQRT", "HARD_SWISH"}


def operators_of(tflite: bytes) -> list[tuple[str, list[tuple[list[int], str]], list[tuple[list[int], str]]]]:
    """Each operator's name, and the shapes and types of its inputs and outputs, read with TensorFlow's schema."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def ends(indices):
        tensors = [graph.tensors[i] for i in indices if i >= 0]
        return [([] if t.shape is None else list(map(int, t.shape)), types[t.type]) for t in tensors]

    found = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        found.append((name, ends(operator.inputs), ends(operator.outputs)))
    return found


def debug_build_takes(tflite: bytes) -> None:
    """Demands what the kernels assert without NDEBUG.

    Raises:
        Wrong: an operator breaks a rule.
    """
    for name, inputs, outputs in operators_of(tflite):
        if name in EQUAL_SHAPES and inputs[0][0] != outputs[0][0]:
            raise Wrong(f"{name} from {inputs[0][0]} to {outputs[0][0]}")
        if name == "FULLY_CONNECTED" and outputs[0][1] == "INT8":
            shape = outputs[0][0]
            if len(shape) > 2 and inputs[1][0][-1] % 4 == 0:
                raise Wrong(f"int8 FULLY_CONNECTED to {shape} of depth {inputs[1][0][-1]} hangs on CMSIS-NN")


NORMALIZATIONS = {
    "LayerNormalization": lambda: keras.layers.LayerNormalization(),
    "RMSNormalization": lambda: keras.layers.RMSNormalization(),
    "UnitNormalization": lambda: keras.layers.UnitNormalization(),
}
for title, layer in NORMALIZATIONS.items():
    for steps in (None, 4):

        @case("C1", f"{title}, steps={steps}", may_refuse=title == "UnitNormalization")
        def normalised(layer=layer, steps=steps):
            """Every assert of a debug build."""
            keras.utils.set_random_seed(7)
            layers = [keras.layers.Dense(8), layer(), keras.layers.GRU(8), keras.layers.Dense(4)]
            model = keras.Sequential([keras.Input((LENGTH, 8)), *layers])
            firmware = keras_s4.tflite.convert(model, DATA, steps=steps)
            debug_build_takes(firmware.tflite)
            expect_near(model.predict(DATA, verbose=0), firmware.predict(DATA), 15.0)


for steps in (1, 2, 4, 8):
    for activations in ("int8", "int16"):

        @case("C2", f"blocks of {steps} steps, {activations}")
        def blocks(steps=steps, activations=activations):
            """Fully connected layers have two axes."""
            keras.utils.set_random_seed(7)
            layers = [keras.layers.Dense(16, activation="gelu"), DSS(4), keras.layers.Dense(8, activation="relu")]
            layers += [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(4)]
            model = keras.Sequential([keras.Input((LENGTH, 8)), *layers])
            firmware = keras_s4.tflite.convert(model, DATA, steps=steps, activations=activations)
            debug_build_takes(firmware.tflite)
            expect_near(model.predict(DATA, verbose=0), firmware.predict(DATA), 15.0)


@case("A10", "the C on an AVR, where int has 16 bits: all golden outputs")
def on_avr() -> None:
    """Compiled by avr-gcc, run by simavr."""
    if not (shutil.which("avr-gcc") and shutil.which("simavr")):
        raise Wrong("not tried: avr-gcc and simavr are missing (Debian: gcc-avr avr-libc simavr)")
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "firmware_tests", "-k", "avr"], cwd=root, capture_output=True, text=True
    )
    if done.returncode or "passed" not in done.stdout:
        raise Wrong(done.stdout[-300:])
