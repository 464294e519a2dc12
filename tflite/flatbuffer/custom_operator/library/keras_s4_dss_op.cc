#include "keras_s4_dss_op.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/kernels/kernel_util.h"
#include "tensorflow/lite/micro/micro_common.h"
#include "tensorflow/lite/micro/micro_context.h"
#include "tensorflow/lite/micro/micro_log.h"

extern "C" {
#include "keras_s4_arithmetic.h"
#include "keras_s4_diagonal.h"
}

namespace tflite {
namespace micro {
namespace {

enum Input { kSamples, kState, kModes, kPlain, kPartialMantissa, kPartialShift, kFeedthrough, kInputs };
enum Output { kResult, kNextState, kOutputs };

constexpr int32_t kLayoutVersion = 1;
constexpr int32_t kMostChannels = 0xFFFF;
constexpr int32_t kMostModes = 255;

// The operator's options: so many int32 in little-endian order.
constexpr size_t kFields = 8;

struct Step {
  int32_t version;
  int32_t channels;
  int32_t modes;
  int32_t partial_gain;
  int32_t mantissa;
  int32_t shift;
  int32_t zero_point;
  int32_t clamped;
  // Known when tensors are: steps of a block, and where the sums of the channels go.
  int32_t rows;
  int sums;
};

int32_t ReadInt32(const char* bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return static_cast<int32_t>(value);
}

// Memory is asked for through MicroContext: recent versions have no functions in TfLiteContext any more.
void* Init(TfLiteContext* context, const char* buffer, size_t length) {
  Step* step = static_cast<Step*>(GetMicroContext(context)->AllocatePersistentBuffer(sizeof(Step)));
  if (step == nullptr) return nullptr;
  memset(step, 0, sizeof(*step));
  if (buffer == nullptr || length != kFields * sizeof(int32_t)) return step;
  int32_t* const fields[kFields] = {&step->version,  &step->channels, &step->modes,      &step->partial_gain,
                                    &step->mantissa, &step->shift,    &step->zero_point, &step->clamped};
  for (size_t i = 0; i < kFields; ++i) *fields[i] = ReadInt32(buffer + i * sizeof(int32_t));
  return step;
}

// The bytes of a tensor, or 0 if it is missing or of another type.
size_t BytesOf(MicroContext* context, const TfLiteNode* node, bool input, int index, TfLiteType type) {
  TfLiteTensor* tensor =
      input ? context->AllocateTempInputTensor(node, index) : context->AllocateTempOutputTensor(node, index);
  if (tensor == nullptr) return 0;
  const size_t bytes = tensor->type == type ? tensor->bytes : 0;
  context->DeallocateTempTfLiteTensor(tensor);
  return bytes;
}

// What is wrong with the tensors, or nullptr. The kernel trusts all of this.
const char* Check(TfLiteContext* context, TfLiteNode* node, Step* step) {
  if (step == nullptr || step->version != kLayoutVersion) return "options of another version";
  if (node->inputs->size != kInputs || node->outputs->size != kOutputs) return "another number of tensors";
  if (step->channels < 1 || step->channels > kMostChannels) return "the number of channels";
  if (step->modes < 1 || step->modes > kMostModes) return "the number of modes";
  MicroContext* micro = GetMicroContext(context);
  const size_t channels = static_cast<size_t>(step->channels);
  const size_t all_modes = channels * static_cast<size_t>(step->modes);
  const size_t sample = channels * sizeof(int16_t);
  const size_t samples = BytesOf(micro, node, true, kSamples, kTfLiteInt16);
  if (samples == 0 || samples % sample != 0) return "the samples";
  step->rows = static_cast<int32_t>(samples / sample);
  const size_t state = all_modes * 2 * sizeof(int32_t);
  if (BytesOf(micro, node, true, kState, kTfLiteInt32) != state) return "the state";
  if (BytesOf(micro, node, true, kModes, kTfLiteInt32) != all_modes * 4 * sizeof(int32_t)) return "the modes";
  if (BytesOf(micro, node, true, kPlain, kTfLiteUInt8) != channels) return "the kinds of modes";
  const size_t words = channels * sizeof(int32_t);
  if (BytesOf(micro, node, true, kPartialMantissa, kTfLiteInt32) != words) return "the mantissas";
  if (BytesOf(micro, node, true, kPartialShift, kTfLiteUInt8) != channels) return "the shifts";
  if (BytesOf(micro, node, true, kFeedthrough, kTfLiteInt32) != words) return "the feedthrough";
  if (BytesOf(micro, node, false, kNextState, kTfLiteInt32) != state) return "the next state";
  const bool bytes = BytesOf(micro, node, false, kResult, kTfLiteInt8) == samples / 2;
  if (!bytes && BytesOf(micro, node, false, kResult, kTfLiteInt16) != samples) return "the result";
  if (step->shift < -31 || step->shift > 30) return "the multiplier";
  if (micro->RequestScratchBufferInArena(words, &step->sums) != kTfLiteOk) return "where to put the sums";
  return nullptr;
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  const char* wrong = Check(context, node, static_cast<Step*>(node->user_data));
  if (wrong == nullptr) return kTfLiteOk;
  MicroPrintf("KERAS_S4_DSS does not know %s of this file.", wrong);
  return kTfLiteError;
}

template <typename T>
const T* InputData(const TfLiteContext* context, const TfLiteNode* node, int index) {
  return GetTensorData<T>(GetEvalInput(context, node, index));
}

// The outputs of a layer from the sums of its channels: what generated C does behind the kernel.
template <typename T>
void Rescale(const Step& step, const int32_t* sums, const int32_t* mantissas, const uint8_t* shifts,
             const int32_t* feedthrough, const int16_t* samples, T* result) {
  for (int32_t i = 0; i < step.channels; ++i) {
    const int32_t partial = s4_saturate_16(s4_scale_once(sums[i], mantissas[i], shifts[i]));
    const int32_t total = s4_add(s4_multiply(partial, step.partial_gain), s4_multiply(samples[i], feedthrough[i]));
    const int32_t scaled = s4_scale(total, step.mantissa, step.shift);
    result[i] = static_cast<T>(sizeof(T) == 1 ? s4_to_int8(scaled, step.zero_point) : s4_to_int16(scaled));
  }
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  const Step& step = *static_cast<const Step*>(node->user_data);
  const int16_t* samples = InputData<int16_t>(context, node, kSamples);
  const uint8_t* plain = InputData<uint8_t>(context, node, kPlain);
  const int32_t* mantissas = InputData<int32_t>(context, node, kPartialMantissa);
  const uint8_t* shifts = InputData<uint8_t>(context, node, kPartialShift);
  const int32_t* feedthrough = InputData<int32_t>(context, node, kFeedthrough);
  int32_t* sums = static_cast<int32_t*>(GetMicroContext(context)->GetScratchBuffer(step.sums));
  int32_t* state = GetTensorData<int32_t>(GetEvalOutput(context, node, kNextState));
  TfLiteEvalTensor* result = GetEvalOutput(context, node, kResult);

  // A damaged file must not make the kernel leave its arrays.
  for (int32_t i = 0; i < step.channels; ++i) {
    if (plain[i] > step.modes || shifts[i] < 1 || shifts[i] > 62) return kTfLiteError;
  }
  s4_diagonal layer;
  layer.constants = InputData<int32_t>(context, node, kModes);
  layer.plain = plain;
  layer.channels = static_cast<uint16_t>(step.channels);
  layer.modes = static_cast<uint16_t>(step.modes);
  layer.clamped = step.clamped;

  // The kernel works in place, and the file has both states.
  memcpy(state, InputData<int32_t>(context, node, kState), sizeof(int32_t) * 2 * layer.channels * layer.modes);
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t start = row * step.channels;
    s4_diagonal_step(&layer, state, samples + start, sums);
    if (result->type == kTfLiteInt8) {
      Rescale(step, sums, mantissas, shifts, feedthrough, samples + start, GetTensorData<int8_t>(result) + start);
    } else {
      Rescale(step, sums, mantissas, shifts, feedthrough, samples + start, GetTensorData<int16_t>(result) + start);
    }
  }
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration* Register_KERAS_S4_DSS() {
  static TFLMRegistration registration = RegisterOp(Init, Prepare, Eval);
  return &registration;
}

}  // namespace micro
}  // namespace tflite
