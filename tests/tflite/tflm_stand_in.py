"""A stand-in for a TensorFlow Lite Micro tree, so that the saved application can be compiled and run without one.

The headers declare what the application uses, with the signatures of the public API. The interpreter computes nothing:
it looks the contents of its input tensors up in a file of recorded steps and writes the outputs of that step, so that
an application that does not feed the states back is found out. States that are variables it keeps itself, so that one
that does not reset them is found out. As in the real arena, the memory of inputs is used for
something else during a step: outputs overlap inputs, and everything else is overwritten; and more of it is needed for a
moment than is kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS
from keras_s4.tflite.flatbuffer.reader import read_summary

# Bytes of the arena that are needed to plan its use, and then are free again.
MOMENT = 1000
# Where recent trees have the types of C and the classes of the library, and where older ones have them.
RECENT, OLDER = ("namespace tflite { namespace micro {", "}}"), ("", "")

_COMMON = """
#pragma once
#include <stddef.h>
#include <stdint.h>
OPEN
typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
typedef enum {
  kTfLiteFloat32 = 1, kTfLiteInt32 = 2, kTfLiteUInt8 = 3, kTfLiteInt64 = 4, kTfLiteInt16 = 7, kTfLiteInt8 = 9
} TfLiteType;
typedef union TfLitePtrUnion { int32_t* i32; int16_t* i16; int8_t* int8; char* raw; void* data; } TfLitePtrUnion;
typedef struct TfLiteTensor { TfLiteType type; TfLitePtrUnion data; size_t bytes; } TfLiteTensor;
typedef struct TfLiteIntArray { int size; int data[8]; } TfLiteIntArray;
typedef struct TfLiteEvalTensor { TfLitePtrUnion data; TfLiteIntArray* dims; TfLiteType type; } TfLiteEvalTensor;
typedef struct TfLiteNode { TfLiteIntArray* inputs; TfLiteIntArray* outputs; void* user_data; } TfLiteNode;
typedef struct TfLiteContext { void* impl_; } TfLiteContext;
CLOSE
"""

_MICRO_COMMON = """
#pragma once
#include "tensorflow/lite/c/common.h"
OPEN
struct TFLMRegistration {
  void* (*init)(TfLiteContext* context, const char* buffer, size_t length);
  void (*free)(TfLiteContext* context, void* buffer);
  TfLiteStatus (*prepare)(TfLiteContext* context, TfLiteNode* node);
  TfLiteStatus (*invoke)(TfLiteContext* context, TfLiteNode* node);
  void (*reset)(TfLiteContext* context, void* buffer);
  int32_t builtin_code;
  const char* custom_name;
};
CLOSE
"""

_CONTEXT = """
#pragma once
#include "tensorflow/lite/c/common.h"
namespace tflite {
OPEN_MICRO
class MicroContext {
 public:
  virtual ~MicroContext() = default;
  virtual void* AllocatePersistentBuffer(size_t bytes) = 0;
  virtual TfLiteStatus RequestScratchBufferInArena(size_t bytes, int* buffer_idx) = 0;
  virtual void* GetScratchBuffer(int buffer_idx) = 0;
  virtual TfLiteTensor* AllocateTempTfLiteTensor(int tensor_idx) = 0;
  virtual void DeallocateTempTfLiteTensor(TfLiteTensor* tensor) = 0;
  virtual TfLiteEvalTensor* GetEvalTensor(int tensor_idx) = 0;
  TfLiteTensor* AllocateTempInputTensor(const TfLiteNode* node, int index) {
    return AllocateTempTfLiteTensor(node->inputs->data[index]);
  }
  TfLiteTensor* AllocateTempOutputTensor(const TfLiteNode* node, int index) {
    return AllocateTempTfLiteTensor(node->outputs->data[index]);
  }
};
inline MicroContext* GetMicroContext(const TfLiteContext* context) {
  return static_cast<MicroContext*>(context->impl_);
}
CLOSE_MICRO
}
"""

_KERNEL_UTIL = """
#pragma once
#include "tensorflow/lite/micro/micro_common.h"
#include "tensorflow/lite/micro/micro_context.h"
namespace tflite {
namespace micro {
inline TFLMRegistration RegisterOp(
    void* (*init)(TfLiteContext*, const char*, size_t), TfLiteStatus (*prepare)(TfLiteContext*, TfLiteNode*),
    TfLiteStatus (*invoke)(TfLiteContext*, TfLiteNode*), void (*free)(TfLiteContext*, void*) = nullptr,
    void (*reset)(TfLiteContext*, void*) = nullptr) {
  return TFLMRegistration{init, free, prepare, invoke, reset, 0, nullptr};
}
inline const TfLiteEvalTensor* GetEvalInput(const TfLiteContext* context, const TfLiteNode* node, int index) {
  return GetMicroContext(context)->GetEvalTensor(node->inputs->data[index]);
}
inline TfLiteEvalTensor* GetEvalOutput(const TfLiteContext* context, const TfLiteNode* node, int index) {
  return GetMicroContext(context)->GetEvalTensor(node->outputs->data[index]);
}
template <typename T>
T* GetTensorData(TfLiteEvalTensor* tensor) { return reinterpret_cast<T*>(tensor->data.raw); }
template <typename T>
const T* GetTensorData(const TfLiteEvalTensor* tensor) { return reinterpret_cast<const T*>(tensor->data.raw); }
}
}
"""

_LOG = """
#pragma once
#include <stdio.h>
#define MicroPrintf(...) fprintf(stderr, __VA_ARGS__)
"""

_SCHEMA = """
#pragma once
#include <stdint.h>
#include <string.h>
namespace tflite {
struct Model { uint32_t version() const; };
inline const Model* GetModel(const void* buffer) { return static_cast<const Model*>(buffer); }
inline uint32_t Model::version() const {
  const bool aligned = reinterpret_cast<uintptr_t>(this) % 16 == 0;
  return aligned && memcmp(reinterpret_cast<const char*>(this) + 4, "TFL3", 4) == 0 ? 3 : 0;
}
}  // namespace tflite
"""

_RESOLVER = """
#pragma once
#include <string.h>
#include "tensorflow/lite/micro/micro_common.h"
namespace tflite {{
class MicroOpResolver {{
 public:
  virtual ~MicroOpResolver() {{}}
  virtual bool Has(const char* name) const = 0;
  virtual unsigned int capacity() const = 0;
}};
template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {{
 public:
  explicit MicroMutableOpResolver() {{}}
{methods}
  TfLiteStatus AddCustom(const char* name, const TFLMRegistration* registration) {{
    return strcmp(name, "KERAS_S4_BLOCK") == 0 && registration->invoke ? Add("AddCustom") : kTfLiteError;
  }}
  bool Has(const char* name) const override {{
    for (unsigned int i = 0; i < count_; ++i) if (strcmp(names_[i], name) == 0) return true;
    return false;
  }}
  unsigned int capacity() const override {{ return tOpCount; }}
 private:
  TfLiteStatus Add(const char* name) {{
    if (count_ == tOpCount || Has(name)) return kTfLiteError;
    names_[count_++] = name;
    return kTfLiteOk;
  }}
  const char* names_[tOpCount];
  unsigned int count_ = 0;
}};
}}  // namespace tflite
"""

_ALLOCATOR = """
#pragma once
#include <stddef.h>
#include <stdint.h>
namespace tflite {
class MicroAllocator {
 public:
  static MicroAllocator* Create(uint8_t* tensor_arena, size_t arena_size) {
    static MicroAllocator allocator;
    allocator.arena_ = tensor_arena;
    allocator.size_ = arena_size;
    return &allocator;
  }
  uint8_t* arena_ = nullptr;
  size_t size_ = 0;
};
}  // namespace tflite
"""

_VARIABLES = """
#pragma once
#include <string.h>
#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/micro_allocator.h"
namespace tflite {{
class MicroResourceVariables {{
 public:
  static MicroResourceVariables* Create(MicroAllocator* allocator, int num_variables) {{
    static MicroResourceVariables variables;
    if (allocator == nullptr || num_variables != {variable_count}) return nullptr;
    memset(variables.data_, 0x5a, sizeof(variables.data_));
    return &variables;
  }}
  TfLiteStatus ResetAll() {{
    memset(data_, 0, sizeof(data_));
    return kTfLiteOk;
  }}
  char data_[{variable_bytes} + 1];
}};
}}  // namespace tflite
"""

_INTERPRETER = """
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"
#define TFLITE_SCHEMA_VERSION (3)
namespace tflite {{
class MicroProfilerInterface;
class MicroInterpreter {{
 public:
  MicroInterpreter(const Model*, const MicroOpResolver& op_resolver, uint8_t* tensor_arena, size_t tensor_arena_size,
                   MicroResourceVariables* resource_variables = nullptr, MicroProfilerInterface* = nullptr,
                   bool = false)
      : resolver_(op_resolver), arena_(tensor_arena), size_(tensor_arena_size), variables_(resource_variables),
        inputs_{{{inputs}}}, outputs_{{{outputs}}} {{}}
  MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver, MicroAllocator* allocator,
                   MicroResourceVariables* resource_variables = nullptr, MicroProfilerInterface* = nullptr)
      : MicroInterpreter(model, op_resolver, allocator->arena_, allocator->size_, resource_variables) {{}}
  TfLiteStatus AllocateTensors() {{
    const char* const operators[] = {{{operators}}};
    for (const char* name : operators) if (!resolver_.Has(name)) return kTfLiteError;
    if (resolver_.capacity() != sizeof(operators) / sizeof(operators[0])) return kTfLiteError;
    if (reinterpret_cast<uintptr_t>(arena_) % 16 != 0) return kTfLiteError;
    if ((variables_ != nullptr) != ({variable_count} > 0)) return kTfLiteError;
    if (variables_ != nullptr) variables_->ResetAll();
    size_t inputs = 0, outputs = 0;
    for (TfLiteTensor& tensor : inputs_) Place(&tensor, &inputs);
    // In the opposite order, so that the output of one state lies over the input of another.
    for (size_t i = outputs_size(); i > 0; --i) Place(&outputs_[i - 1], &outputs);
    used_ = inputs > outputs ? inputs : outputs;
    return used_ + {moment} > size_ ? kTfLiteError : kTfLiteOk;
  }}
  TfLiteStatus Invoke() {{
    FILE* file = fopen(getenv("RECORDED_STEPS"), "rb");
    if (file == nullptr) return kTfLiteError;
    static char record[{record_bytes}];
    TfLiteStatus status = kTfLiteError;
    while (status != kTfLiteOk && fread(record, sizeof(record), 1, file) == 1) {{
      const char* place = record;
      bool equal = true;
      for (const TfLiteTensor& tensor : inputs_) {{
        equal = equal && memcmp(tensor.data.raw, place, tensor.bytes) == 0;
        place += tensor.bytes;
      }}
      if (variables_ != nullptr) equal = equal && memcmp(variables_->data_, place, {variable_bytes}) == 0;
      place += {variable_bytes};
      if (!equal) continue;
      memset(arena_, 0xa5, used_);
      for (const TfLiteTensor& tensor : outputs_) {{
        memcpy(tensor.data.raw, place, tensor.bytes);
        place += tensor.bytes;
      }}
      if (variables_ != nullptr) memcpy(variables_->data_, place, {variable_bytes});
      status = kTfLiteOk;
    }}
    fclose(file);
    return status;
  }}
  TfLiteTensor* input(size_t index) {{ return &inputs_[index]; }}
  size_t inputs_size() const {{ return sizeof(inputs_) / sizeof(inputs_[0]); }}
  TfLiteTensor* output(size_t index) {{ return &outputs_[index]; }}
  size_t outputs_size() const {{ return sizeof(outputs_) / sizeof(outputs_[0]); }}
  size_t arena_used_bytes() const {{ return used_; }}
 private:
  void Place(TfLiteTensor* tensor, size_t* offset) {{
    tensor->data.data = arena_ + *offset;
    *offset += (tensor->bytes + 15) / 16 * 16;
  }}
  const MicroOpResolver& resolver_;
  uint8_t* arena_;
  size_t size_;
  size_t used_ = 0;
  MicroResourceVariables* variables_;
  TfLiteTensor inputs_[{input_count}];
  TfLiteTensor outputs_[{output_count}];
}};
}}  // namespace tflite
"""


def write_tree(folder: Path, tflite: bytes) -> None:
    """Writes the headers for one model: its operators, and the types and sizes of its inputs and outputs."""
    summary = read_summary(tflite)
    ends = {}
    for name, indices in (("input", summary.inputs), ("output", summary.outputs)):
        tensors = [summary.tensors[index] for index in indices]
        ends[f"{name}s"] = ", ".join(
            f"{{kTfLite{tensor.type.capitalize()}, {{nullptr}}, {tensor.bytes}}}" for tensor in tensors
        )
        ends[f"{name}_count"] = len(tensors)
    variables = {"variable_count": len(summary.variables), "variable_bytes": sum(v.bytes for v in summary.variables)}
    size = sum(summary.tensors[index].bytes for index in (*summary.inputs, *summary.outputs))
    size += 2 * variables["variable_bytes"]
    names = sorted(summary.registrations)
    methods = [*(operator.registration for operator in OPERATORS.values()), "AddNothingOfOurs"]
    headers = {
        **kernel_headers(),
        "schema/schema_generated.h": _SCHEMA,
        "micro/micro_mutable_op_resolver.h": _RESOLVER.format(
            methods="\n".join(f'  TfLiteStatus {name}() {{ return Add("{name}"); }}' for name in methods)
        ),
        "micro/micro_allocator.h": _ALLOCATOR,
        "micro/micro_resource_variable.h": _VARIABLES.format(**variables),
        "micro/micro_interpreter.h": _INTERPRETER.format(
            **ends, **variables, moment=MOMENT, record_bytes=size, operators=", ".join(f'"{name}"' for name in names)
        ),
    }
    write_headers(folder, headers)


def kernel_headers(namespace: tuple[str, str] = OLDER) -> dict[str, str]:
    """What a custom operator needs, by path; types and classes are where trees of that age have them."""
    headers = {
        "c/common.h": _COMMON,
        "micro/micro_common.h": _MICRO_COMMON,
        "micro/micro_context.h": _CONTEXT,
        "micro/micro_log.h": _LOG,
        "micro/kernels/kernel_util.h": _KERNEL_UTIL,
    }
    micro = ("namespace micro {", "}") if namespace == RECENT else ("", "")
    words = {"OPEN_MICRO": micro[0], "CLOSE_MICRO": micro[1], "OPEN": namespace[0], "CLOSE": namespace[1]}
    for word, text in words.items():
        headers = {path: header.replace(f"\n{word}\n", f"\n{text}\n") for path, header in headers.items()}
    return headers


def write_headers(folder: Path, headers: dict[str, str]) -> None:
    """Write headers into a tree."""
    for name, text in headers.items():
        path = folder / "tensorflow" / "lite" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def recorded_steps(golden: Golden) -> np.ndarray:
    """Every step of golden vectors as bytes `[B, L, size]`: inputs, states before, outputs, states after."""
    streams, steps = golden.inputs[0].shape[:2]
    before = [np.concatenate([np.zeros_like(state[:, :1]), state[:, :-1]], axis=1) for state in golden.states]
    arrays = [*golden.inputs, *before, *golden.outputs, *golden.states]
    parts = [np.ascontiguousarray(array.reshape(streams, steps, -1)).view(np.uint8) for array in arrays]
    return np.concatenate(parts, axis=2)
