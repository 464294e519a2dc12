"""An operator of a file on its C++, against a stand-in for TensorFlow Lite Micro: built, fed, run."""

import dataclasses
import os
import subprocess
from pathlib import Path

import numpy as np
import tflm_stand_in
from cpp_compiler import COMPILER, FLAGS
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.flatbuffer import custom_operator

SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
KERNELS = [name for name in custom_operator.library_files() if name.endswith(".c")]
OBJECTS = [name.replace(".c", ".o") for name in KERNELS]
TYPES = {"int32": 2, "uint8": 3, "int16": 7, "int8": 9}

HARNESS = """
#include <stdio.h>
#include <stdlib.h>
#include <vector>
#include "keras_s4_block_op.h"
#include "tensorflow/lite/micro/micro_context.h"
namespace tflite {
namespace micro {
namespace {

std::vector<TfLiteTensor> tensors;
std::vector<TfLiteEvalTensor> values;
std::vector<void*> scratch;

class Context : public MicroContext {
 public:
  void* AllocatePersistentBuffer(size_t bytes) override { return malloc(bytes); }
  TfLiteStatus RequestScratchBufferInArena(size_t bytes, int* index) override {
    *index = static_cast<int>(scratch.size());
    scratch.push_back(malloc(bytes));
    return kTfLiteOk;
  }
  void* GetScratchBuffer(int index) override { return scratch[static_cast<size_t>(index)]; }
  TfLiteTensor* AllocateTempTfLiteTensor(int index) override { return &tensors[static_cast<size_t>(index)]; }
  void DeallocateTempTfLiteTensor(TfLiteTensor*) override {}
  TfLiteEvalTensor* GetEvalTensor(int index) override { return &values[static_cast<size_t>(index)]; }
};

void Read(void* to, size_t bytes) {
  if (fread(to, 1, bytes, stdin) != bytes) exit(4);
}
int32_t Number() {
  int32_t number;
  Read(&number, sizeof(number));
  return number;
}

// Every tensor in memory of its own, whose ends the sanitizers watch.
TfLiteIntArray Tensors() {
  TfLiteIntArray indices = {};
  for (indices.size = 0; Number() == 1; ++indices.size) {
    const TfLiteType type = static_cast<TfLiteType>(Number());
    const size_t bytes = static_cast<size_t>(Number());
    TfLitePtrUnion data;
    data.raw = static_cast<char*>(malloc(bytes));
    Read(data.raw, bytes);
    indices.data[indices.size] = static_cast<int>(tensors.size());
    tensors.push_back(TfLiteTensor{type, data, bytes});
    values.push_back(TfLiteEvalTensor{data, nullptr, type});
  }
  return indices;
}

int Run() {
  Context micro;
  TfLiteContext context = {};
  context.impl_ = &micro;
  std::vector<char> options(static_cast<size_t>(Number()));
  Read(options.data(), options.size());
  TfLiteIntArray inputs = Tensors(), outputs = Tensors();
  const TFLMRegistration* operation = Register_KERAS_S4_BLOCK();
  TfLiteNode node = {};
  node.inputs = &inputs;
  node.outputs = &outputs;
  node.user_data = operation->init(&context, options.data(), options.size());
  if (operation->prepare(&context, &node) != kTfLiteOk) return 3;
  for (int32_t steps = Number(); steps > 0; --steps) {
    // All inputs but the constants.
    for (size_t i = 0; i + 2 < static_cast<size_t>(inputs.size); ++i) Read(tensors[i].data.raw, tensors[i].bytes);
    if (operation->invoke(&context, &node) != kTfLiteOk) return 2;
    for (int i = 0; i < outputs.size; ++i) {
      const TfLiteTensor& tensor = tensors[static_cast<size_t>(outputs.data[i])];
      fwrite(tensor.data.raw, 1, tensor.bytes, stdout);
    }
  }
  return 0;
}

}  // namespace
}  // namespace micro
}  // namespace tflite
int main() { return tflite::micro::Run(); }
"""


@dataclasses.dataclass
class Node:
    """A custom operator of a file, as TensorFlow's own reader has it: its options, and (type, content) of tensors."""

    options: bytes
    inputs: list[tuple[str, bytes]]
    outputs: list[tuple[str, bytes]]

    def message(self, *steps: bytes) -> bytes:
        """What the harness reads: the operator, then inputs and states before the steps."""
        number = lambda value: np.int32(value).tobytes()  # noqa: E731
        text = number(len(self.options)) + self.options
        for tensors in (self.inputs, self.outputs):
            text += b"".join(number(1) + number(TYPES[t]) + number(len(data)) + data for t, data in tensors) + number(0)
        return text + number(len(steps)) + b"".join(steps)


def node_of(data: bytes) -> Node:
    """The only custom operator of a file."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    (code,) = (i for i, code in enumerate(model.operatorCodes) if code.customCode == b"KERAS_S4_BLOCK")
    assert model.operatorCodes[code].builtinCode == schema.BuiltinOperator.CUSTOM
    (graph,) = model.subgraphs
    (operator,) = (operator for operator in graph.operators if operator.opcodeIndex == code)
    names = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def tensor(index: int) -> tuple[str, bytes]:
        record = graph.tensors[index]
        type, content = names[record.type], model.buffers[record.buffer].data
        size = int(np.prod(record.shape)) * np.dtype(type).itemsize
        return type, bytes(size) if content is None else bytes(content)

    ends = [[tensor(index) for index in indices] for indices in (operator.inputs, operator.outputs)]
    return Node(bytes(operator.customOptions), *ends)


def build(folder: Path, namespace: tuple[str, str], sanitizers: list[str] = SANITIZERS) -> Path:
    tflm_stand_in.write_headers(folder, tflm_stand_in.kernel_headers(namespace))
    for name, text in {**custom_operator.library_files(), "main.cc": HARNESS}.items():
        (folder / name).write_text(text)
    commands = [
        [*compiler(), "-std=c99", *sanitizers, "-c", *KERNELS],
        [*COMPILER, *FLAGS, *sanitizers, "-I.", "keras_s4_block_op.cc", "main.cc", *OBJECTS, "-o", "harness"],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "harness"


def run(harness: Path, message: bytes) -> subprocess.CompletedProcess:
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([harness], input=message, env=environment, capture_output=True, check=False)
