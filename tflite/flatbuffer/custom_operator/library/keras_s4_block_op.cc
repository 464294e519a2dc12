#include "keras_s4_block_op.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "keras_s4_arithmetic.h"
#include "keras_s4_dense.h"
#include "keras_s4_diagonal.h"
#include "keras_s4_gates.h"
#include "keras_s4_modal.h"
#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/kernels/kernel_util.h"
#include "tensorflow/lite/micro/micro_common.h"
#include "tensorflow/lite/micro/micro_context.h"
#include "tensorflow/lite/micro/micro_log.h"

namespace tflite {
namespace micro {
namespace {

constexpr int32_t kLayoutVersion = 2;
// The operator's options: so many int32 in little-endian order.
constexpr size_t kFields = 5;

enum Code : int32_t {
  kAffine = 1,
  kLookup,
  kDense,
  kMultiply,
  kAdd,
  kMaximum,
  kMinimum,
  kSigmoid,
  kTanh,
  kLines,
  kDiagonal,
  kModal
};

// As the file stores it; what a code leaves out is 0.
struct Instruction {
  int32_t code;
  int32_t count;  // values that it writes
  int32_t inner;
  int32_t outer;
  int32_t type_a;  // bytes of a value
  int32_t type_b;
  int32_t type_out;
  int32_t a;  // addresses
  int32_t b;
  int32_t out;
  int32_t constants[6];
  int32_t mantissa;
  int32_t shift;
  int32_t zero_point;
  int32_t gain_a;
  int32_t gain_b;
  int32_t offset;
};

// The kinds of memory that an address may mean; its offset is in the lower bits.
constexpr int kScratch = 0, kConstant = 1, kFirstEnd = 2, kMostEnds = 16, kMemories = kFirstEnd + kMostEnds;
constexpr int32_t kOffsetBits = 24, kOffsets = INT32_C(1) << kOffsetBits;

struct Block {
  int32_t version;
  int32_t samples;  // inputs that are no states
  int32_t states;
  int32_t results;  // outputs that are no states
  int32_t scratch_bytes;
  // Known when tensors are.
  int scratch;
  int32_t instructions;
};

int FirstOutput(const Block& block) { return kFirstEnd + block.samples + block.states; }
int CodeInput(const Block& block) { return block.samples + block.states; }

int32_t ReadInt32(const char* bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return static_cast<int32_t>(value);
}

// Memory is asked for through MicroContext: recent versions have no functions in TfLiteContext any more.
void* Init(TfLiteContext* context, const char* buffer, size_t length) {
  Block* block = static_cast<Block*>(GetMicroContext(context)->AllocatePersistentBuffer(sizeof(Block)));
  if (block == nullptr) return nullptr;
  memset(block, 0, sizeof(*block));
  if (buffer == nullptr || length != kFields * sizeof(int32_t)) return block;
  int32_t* const fields[kFields] = {&block->version, &block->samples, &block->states, &block->results,
                                    &block->scratch_bytes};
  for (size_t i = 0; i < kFields; ++i) *fields[i] = ReadInt32(buffer + i * sizeof(int32_t));
  return block;
}

// What a file is checked against: sizes of all memories, and the constants.
struct Sizes {
  uint64_t of[kMemories];
  int first_output;
  int first_state;
  int memories;
  const uint8_t* constants;
};

enum Use { kRead, kWrite, kParameter, kState, kSums };

// Whether an array lies where it may, whole, and begins where its values may.
bool Holds(const Sizes& sizes, Use use, int32_t address, uint64_t values, int32_t bytes) {
  const int where = address >> kOffsetBits;
  const int32_t offset = address & (kOffsets - 1);
  if (where < 0 || where >= sizes.memories || offset % bytes != 0) return false;
  if (use == kParameter && where != kConstant) return false;
  if (use == kSums && where != kScratch) return false;
  if (use == kWrite && where != kScratch && (where < sizes.first_output || where >= sizes.first_state)) return false;
  if (use == kState && (where < sizes.first_state || offset != 0)) return false;
  return static_cast<uint64_t>(offset) + values * static_cast<uint64_t>(bytes) <= sizes.of[where];
}

bool IsType(int32_t bytes) { return bytes == 1 || bytes == 2 || bytes == 4; }
bool ShiftsTwice(const Instruction& x) { return x.shift >= -31 && x.shift <= 30; }
bool ShiftsOnce(const Instruction& x) { return x.shift >= 1 && x.shift <= 62; }

bool DenseIsSound(const Instruction& x) {
  if (x.type_a != 1 && x.type_a != 2) return false;
  if (x.type_b == 1) return x.outer >= 4 && (x.type_a == 2 || (x.shift >= 1 && x.shift <= 21));
  return x.type_b == 0 && (x.type_a == 1 ? ShiftsTwice(x) : ShiftsOnce(x));
}

// Whether each channel ends with its last mode, which kernels on cores with DSP go by, and has a shift.
bool ChannelsAreSound(const Instruction& x, const Sizes& sizes) {
  const int32_t* words = reinterpret_cast<const int32_t*>(sizes.constants + (x.constants[0] & (kOffsets - 1)));
  const uint8_t* shifts = sizes.constants + (x.constants[2] & (kOffsets - 1));
  for (int32_t channel = 0; channel < x.outer; ++channel) {
    for (int32_t mode = 1; mode <= x.inner; ++mode, words += 4) {
      const int32_t end = words[3] >> 16 & S4_LAST;
      if (end == S4_LAST - S4_LAST_PLAIN || (end == S4_LAST) != (mode == x.inner)) return false;
    }
    if (shifts[channel] < 1 || shifts[channel] > 62) return false;
  }
  return true;
}

// Whether each pole is inside the unit circle, so that what is fed back fits 32 bits.
bool ModesAreSound(const Instruction& x, const Sizes& sizes) {
  const int32_t* words = reinterpret_cast<const int32_t*>(sizes.constants + (x.constants[0] & (kOffsets - 1)));
  for (int32_t mode = 0; mode < x.inner; ++mode, words += 4) {
    const int32_t decay = words[2], rotation = words[3];
    if (decay > 0 || decay < -65536 || rotation > 32767 || rotation < -32767) return false;
  }
  return true;
}

// Whether the kernels can be trusted with an instruction: `custom_operator/checks.py` asks the same.
bool IsSound(const Instruction& x, const Sizes& sizes) {
  constexpr int32_t kMostCount = INT32_C(1) << 20, kMostSize = 0xFFFF;
  if (x.count < 1 || x.count > kMostCount) return false;
  if (x.inner < 0 || x.inner > kMostSize || x.outer < 0 || x.outer > kMostSize) return false;
  const uint64_t count = static_cast<uint64_t>(x.count), inner = static_cast<uint64_t>(x.inner);
  const uint64_t outer = static_cast<uint64_t>(x.outer);
  const int32_t* c = x.constants;
  switch (x.code) {
    case kAffine:
      return x.inner > 0 && x.count % x.inner == 0 && IsType(x.type_a) && IsType(x.type_out) && ShiftsTwice(x) &&
             Holds(sizes, kRead, x.a, count, x.type_a) && Holds(sizes, kWrite, x.out, count, x.type_out) &&
             Holds(sizes, kParameter, c[0], inner, 4) && Holds(sizes, kParameter, c[1], inner, 4);
    case kLookup:
      return Holds(sizes, kRead, x.a, count, 1) && Holds(sizes, kWrite, x.out, count, 1) &&
             Holds(sizes, kParameter, c[0], 256, 1);
    case kDense:
      return x.inner > 0 && x.outer > 0 && x.count % x.outer == 0 && DenseIsSound(x) &&
             Holds(sizes, kRead, x.a, count / outer * inner, x.type_a) &&
             Holds(sizes, kWrite, x.out, count, x.type_a) && Holds(sizes, kParameter, c[0], inner * outer, 1) &&
             Holds(sizes, kParameter, c[1], outer, 4);
    case kMultiply:
    case kAdd:
    case kMaximum:
    case kMinimum:
      return IsType(x.type_a) && IsType(x.type_b) && IsType(x.type_out) && ShiftsTwice(x) &&
             (x.code == kAdd || x.type_out == 4) && Holds(sizes, kRead, x.a, count, x.type_a) &&
             Holds(sizes, kRead, x.b, count, x.type_b) && Holds(sizes, kWrite, x.out, count, x.type_out);
    case kSigmoid:
    case kTanh:
      return (x.gain_a == 3 || x.gain_a == 6) && Holds(sizes, kRead, x.a, count, 2) &&
             Holds(sizes, kWrite, x.out, count, 2) && Holds(sizes, kParameter, c[0], 256, 2);
    case kLines:
      return x.inner >= 7 && x.inner <= 15 && ShiftsOnce(x) && Holds(sizes, kRead, x.a, count, 2) &&
             Holds(sizes, kWrite, x.out, count, 2) && Holds(sizes, kParameter, c[0], UINT64_C(65536) >> inner, 1) &&
             Holds(sizes, kParameter, c[1], UINT64_C(65536) >> inner, 2);
    case kDiagonal:
      return x.inner > 0 && x.outer > 0 && x.count % x.outer == 0 && ShiftsTwice(x) &&
             (x.type_out == 1 || x.type_out == 2) && x.gain_b >= 0 && x.gain_b <= 2 && Holds(sizes, kRead, x.a, count, 2) &&
             Holds(sizes, kState, x.b, outer * inner * 2, 4) && Holds(sizes, kWrite, x.out, count, x.type_out) &&
             Holds(sizes, kParameter, c[0], outer * inner * 4, 4) && Holds(sizes, kParameter, c[1], outer, 4) &&
             Holds(sizes, kParameter, c[2], outer, 1) && Holds(sizes, kParameter, c[3], outer, 4) &&
             Holds(sizes, kSums, c[4], outer, 4) &&
             ChannelsAreSound(x, sizes);
    case kModal:
      return x.inner > 0 && x.count % (2 * x.inner) == 0 && (x.gain_b == 0 || x.gain_b == 1) &&
             x.outer <= x.inner * x.gain_b && Holds(sizes, kRead, x.a, count, 2) &&
             Holds(sizes, kState, x.b, inner * 2, 4) && Holds(sizes, kWrite, x.out, count, 2) &&
             Holds(sizes, kParameter, c[0], inner * 4, 4) && ModesAreSound(x, sizes);
    default:
      return false;
  }
}

// A tensor's bytes and type for as long as it is looked at; `raw` is set for constants.
struct Look {
  size_t bytes;
  TfLiteType type;
  const void* raw;
};

bool LookAt(MicroContext* context, const TfLiteNode* node, bool input, int index, Look* look) {
  TfLiteTensor* tensor =
      input ? context->AllocateTempInputTensor(node, index) : context->AllocateTempOutputTensor(node, index);
  if (tensor == nullptr) return false;
  look->bytes = tensor->bytes;
  look->type = tensor->type;
  look->raw = tensor->data.raw;
  context->DeallocateTempTfLiteTensor(tensor);
  return true;
}

// What is wrong with the tensors, or nullptr. The kernels trust all of this.
const char* Check(TfLiteContext* context, TfLiteNode* node, Block* block) {
  if (block == nullptr || block->version != kLayoutVersion) return "options of another version";
  const int32_t samples = block->samples, states = block->states, results = block->results;
  if (samples < 0 || states < 0 || results < 0 || samples > kMostEnds || states > kMostEnds || results > kMostEnds ||
      samples + 2 * states + results > kMostEnds) {
    return "the number of ends";
  }
  if (node->inputs->size != samples + states + 2 || node->outputs->size != results + states) {
    return "another number of tensors";
  }
  if (block->scratch_bytes < 0 || block->scratch_bytes >= kOffsets) return "the size of the scratch memory";
  MicroContext* micro = GetMicroContext(context);
  Sizes sizes;
  Look look, after;
  sizes.first_output = FirstOutput(*block);
  sizes.first_state = sizes.first_output + results;
  sizes.memories = sizes.first_state + states;
  sizes.of[kScratch] = static_cast<uint64_t>(block->scratch_bytes);
  for (int i = 0; i < samples + states; ++i) {
    if (!LookAt(micro, node, true, i, &look)) return "an input";
    sizes.of[kFirstEnd + i] = look.bytes;
  }
  for (int i = 0; i < results + states; ++i) {
    if (!LookAt(micro, node, false, i, &look)) return "an output";
    sizes.of[sizes.first_output + i] = look.bytes;
  }
  for (int i = 0; i < states; ++i) {
    if (!LookAt(micro, node, true, samples + i, &look) || !LookAt(micro, node, false, results + i, &after) ||
        look.type != kTfLiteInt32 || after.type != kTfLiteInt32 || look.bytes != after.bytes) {
      return "a state";
    }
  }
  if (!LookAt(micro, node, true, CodeInput(*block) + 1, &look) || look.type != kTfLiteUInt8 || look.raw == nullptr) {
    return "the constants";
  }
  sizes.of[kConstant] = look.bytes;
  sizes.constants = static_cast<const uint8_t*>(look.raw);
  if (!LookAt(micro, node, true, CodeInput(*block), &look) || look.type != kTfLiteInt32 || look.raw == nullptr ||
      look.bytes == 0 || look.bytes % sizeof(Instruction) != 0) {
    return "the instructions";
  }
  const Instruction* instructions = static_cast<const Instruction*>(look.raw);
  for (size_t i = 0; i < look.bytes / sizeof(Instruction); ++i) {
    if (!IsSound(instructions[i], sizes)) return "an instruction";
  }
  block->instructions = static_cast<int32_t>(look.bytes / sizeof(Instruction));
  if (block->scratch_bytes != 0 &&
      micro->RequestScratchBufferInArena(static_cast<size_t>(block->scratch_bytes), &block->scratch) != kTfLiteOk) {
    return "where to compute";
  }
  return nullptr;
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  const char* wrong = Check(context, node, static_cast<Block*>(node->user_data));
  if (wrong == nullptr) return kTfLiteOk;
  MicroPrintf("KERAS_S4_BLOCK does not know %s of this file.", wrong);
  return kTfLiteError;
}

// Where each memory begins.
class Memories {
 public:
  Memories(TfLiteContext* context, TfLiteNode* node, const Block& block) {
    const int inputs = block.samples + block.states;
    from_[kScratch] =
        block.scratch_bytes == 0 ? nullptr : static_cast<char*>(GetMicroContext(context)->GetScratchBuffer(block.scratch));
    from_[kConstant] = Input(context, node, inputs + 1);
    for (int i = 0; i < inputs; ++i) from_[kFirstEnd + i] = Input(context, node, i);
    for (int i = 0; i < block.results + block.states; ++i) {
      from_[FirstOutput(block) + i] = GetTensorData<char>(GetEvalOutput(context, node, i));
    }
    states_ = block.states + block.results;
  }

  template <typename T>
  T* At(int32_t address) const {
    void* place = from_[address >> kOffsetBits] + (address & (kOffsets - 1));
    return static_cast<T*>(place);
  }

  // A state before the step, by the address of the one after it.
  const char* Before(int32_t address) const { return from_[(address >> kOffsetBits) - states_]; }

 private:
  // Nothing is written to an input: addresses of what is written are those of outputs or of scratch memory.
  static char* Input(TfLiteContext* context, TfLiteNode* node, int index) {
    return const_cast<char*>(GetTensorData<char>(GetEvalInput(context, node, index)));
  }

  char* from_[kMemories];
  int states_;  // how far the ends of a state are apart
};

// Values are computed in short rows of int32.
constexpr int32_t kRow = 16;

template <typename T>
void Widen(const T* from, int32_t count, int32_t* to) {
  for (int32_t i = 0; i < count; ++i) to[i] = from[i];
}

void Load(const Memories& memories, int32_t address, int32_t bytes, int32_t first, int32_t count, int32_t* to) {
  if (bytes == 1) {
    Widen(memories.At<const int8_t>(address) + first, count, to);
  } else if (bytes == 2) {
    Widen(memories.At<const int16_t>(address) + first, count, to);
  } else {
    Widen(memories.At<const int32_t>(address) + first, count, to);
  }
}

// s4_scale of a row; powers of two are frequent.
void ScaleRow(const Instruction& x, int32_t count, int32_t* values) {
  const int32_t mantissa = x.mantissa, shift = x.shift;
  if (mantissa == S4_HALF && shift < 0) {
    const uint32_t right = static_cast<uint32_t>(-shift);
    for (int32_t i = 0; i < count; ++i) values[i] = s4_shift_rounded((values[i] >> 1) + (values[i] & 1), right);
  } else {
    for (int32_t i = 0; i < count; ++i) values[i] = s4_scale(values[i], mantissa, shift);
  }
}

// Sums as the output wants them; int32 stay as they are.
void Store(const Instruction& x, const Memories& memories, int32_t first, int32_t count, int32_t* sums) {
  if (x.type_out == 4) {
    int32_t* to = memories.At<int32_t>(x.out) + first;
    for (int32_t i = 0; i < count; ++i) to[i] = sums[i];
    return;
  }
  ScaleRow(x, count, sums);
  if (x.type_out == 2) {
    int16_t* to = memories.At<int16_t>(x.out) + first;
    for (int32_t i = 0; i < count; ++i) to[i] = s4_to_int16(sums[i]);
  } else {
    int8_t* to = memories.At<int8_t>(x.out) + first;
    for (int32_t i = 0; i < count; ++i) to[i] = s4_to_int8(sums[i], x.zero_point);
  }
}

void RunAffine(const Instruction& x, const Memories& memories) {
  const int32_t* gains = memories.At<const int32_t>(x.constants[0]);
  const int32_t* offsets = memories.At<const int32_t>(x.constants[1]);
  int32_t values[kRow];
  for (int32_t start = 0; start < x.count; start += x.inner) {
    for (int32_t i = 0; i < x.inner; i += kRow) {
      const int32_t count = s4_minimum(kRow, x.inner - i);
      Load(memories, x.a, x.type_a, start + i, count, values);
      for (int32_t k = 0; k < count; ++k) values[k] = s4_add(s4_multiply(values[k], gains[i + k]), offsets[i + k]);
      Store(x, memories, start + i, count, values);
    }
  }
}

void RunLookup(const Instruction& x, const Memories& memories) {
  const int8_t* from = memories.At<const int8_t>(x.a);
  const int8_t* table = memories.At<const int8_t>(x.constants[0]) + 128;
  int8_t* to = memories.At<int8_t>(x.out);
  for (int32_t i = 0; i < x.count; ++i) to[i] = table[from[i]];
}

void RunDense(const Instruction& x, const Memories& memories) {
  const s4_dense layer = {memories.At<const int8_t>(x.constants[0]),
                          memories.At<const int32_t>(x.constants[1]),
                          static_cast<uint16_t>(x.inner),
                          static_cast<uint16_t>(x.outer),
                          x.mantissa,
                          x.shift,
                          x.zero_point};
  for (int32_t row = 0; row < x.count / x.outer; ++row) {
    if (x.type_a == 1) {
      const auto kernel = x.type_b != 0 ? s4_dense_int8 : s4_dense_int8_any;
      kernel(&layer, memories.At<const int8_t>(x.a) + row * x.inner, memories.At<int8_t>(x.out) + row * x.outer);
    } else {
      const auto kernel = x.type_b != 0 ? s4_dense_int16 : s4_dense_int16_any;
      kernel(&layer, memories.At<const int16_t>(x.a) + row * x.inner, memories.At<int16_t>(x.out) + row * x.outer);
    }
  }
}

// Of ADD the gains are factors, of the others zero points.
void Join(const Instruction& x, int32_t count, int32_t* a, const int32_t* b) {
  switch (x.code) {
    case kMultiply:
      for (int32_t i = 0; i < count; ++i) a[i] = s4_multiply(s4_subtract(a[i], x.gain_a), s4_subtract(b[i], x.gain_b));
      break;
    case kAdd:
      for (int32_t i = 0; i < count; ++i) {
        a[i] = s4_add(s4_add(s4_multiply(a[i], x.gain_a), s4_multiply(b[i], x.gain_b)), x.offset);
      }
      break;
    case kMaximum:
      for (int32_t i = 0; i < count; ++i) {
        a[i] = s4_maximum(s4_subtract(a[i], x.gain_a), s4_subtract(b[i], x.gain_b));
      }
      break;
    default:
      for (int32_t i = 0; i < count; ++i) {
        a[i] = s4_minimum(s4_subtract(a[i], x.gain_a), s4_subtract(b[i], x.gain_b));
      }
  }
}

void RunJoining(const Instruction& x, const Memories& memories) {
  int32_t a[kRow], b[kRow];
  for (int32_t i = 0; i < x.count; i += kRow) {
    const int32_t count = s4_minimum(kRow, x.count - i);
    Load(memories, x.a, x.type_a, i, count, a);
    Load(memories, x.b, x.type_b, i, count, b);
    Join(x, count, a, b);
    Store(x, memories, i, count, a);
  }
}

void RunGate(const Instruction& x, const Memories& memories) {
  const auto function = x.code == kSigmoid ? s4_sigmoid : s4_tanh;
  function(memories.At<const uint16_t>(x.constants[0]), x.gain_a, memories.At<const int16_t>(x.a),
           memories.At<int16_t>(x.out), static_cast<uint32_t>(x.count));
}

void RunLines(const Instruction& x, const Memories& memories) {
  const s4_lines lines = {memories.At<const int8_t>(x.constants[0]),
                          memories.At<const int16_t>(x.constants[1]),
                          x.gain_a,
                          x.mantissa,
                          static_cast<uint8_t>(x.shift),
                          static_cast<uint8_t>(x.inner)};
  s4_interpolate(&lines, memories.At<const int16_t>(x.a), memories.At<int16_t>(x.out), static_cast<uint32_t>(x.count));
}

// The state of so many modes after the step, for now as before it: kernels work in place, and the file has both ends.
int32_t* NextState(const Instruction& x, const Memories& memories, int32_t modes) {
  int32_t* state = memories.At<int32_t>(x.b);
  memcpy(state, memories.Before(x.b), sizeof(int32_t) * 2 * static_cast<size_t>(modes));
  return state;
}

void RunDiagonal(const Instruction& x, const Memories& memories) {
  const auto step = x.gain_b == 0 ? s4_diagonal_step : x.gain_b == 1 ? s4_diagonal_step_clamped : s4_diagonal_step_fed_back;
  s4_diagonal layer;
  layer.constants = memories.At<const int32_t>(x.constants[0]);
  layer.channels = static_cast<uint16_t>(x.outer);
  layer.modes = static_cast<uint16_t>(x.inner);
  const int32_t* mantissas = memories.At<const int32_t>(x.constants[1]);
  const uint8_t* shifts = memories.At<const uint8_t>(x.constants[2]);
  const int32_t* feedthrough = memories.At<const int32_t>(x.constants[3]);
  int32_t* sums = memories.At<int32_t>(x.constants[4]);
  int32_t* state = NextState(x, memories, x.outer * x.inner);
  for (int32_t start = 0; start < x.count; start += x.outer) {
    const int16_t* samples = memories.At<const int16_t>(x.a) + start;
    step(&layer, state, samples, sums);
    // What generated C does behind the kernel.
    for (int32_t i = 0; i < x.outer; ++i) {
      const int32_t partial = s4_saturate_16(s4_scale_once(sums[i], mantissas[i], shifts[i]));
      sums[i] = s4_add(s4_multiply(partial, x.gain_a), s4_multiply(samples[i], feedthrough[i]));
    }
    Store(x, memories, start, x.outer, sums);
  }
}

void RunModal(const Instruction& x, const Memories& memories) {
  const auto step = x.gain_b == 0 ? s4_modal_step : s4_modal_step_clamped;
  const s4_modal layer = {memories.At<const int32_t>(x.constants[0]), static_cast<uint16_t>(x.inner),
                          static_cast<uint16_t>(x.outer)};
  int32_t* state = NextState(x, memories, x.inner);
  for (int32_t start = 0; start < x.count; start += 2 * x.inner) {
    step(&layer, state, memories.At<const int16_t>(x.a) + start, memories.At<int16_t>(x.out) + start);
  }
}

void Run(const Instruction& x, const Memories& memories) {
  switch (x.code) {
    case kAffine:
      return RunAffine(x, memories);
    case kLookup:
      return RunLookup(x, memories);
    case kDense:
      return RunDense(x, memories);
    case kSigmoid:
    case kTanh:
      return RunGate(x, memories);
    case kLines:
      return RunLines(x, memories);
    case kDiagonal:
      return RunDiagonal(x, memories);
    case kModal:
      return RunModal(x, memories);
    default:
      return RunJoining(x, memories);
  }
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  const Block& block = *static_cast<const Block*>(node->user_data);
  const Memories memories(context, node, block);
  const Instruction* instructions = GetTensorData<Instruction>(GetEvalInput(context, node, CodeInput(block)));
  for (int32_t i = 0; i < block.instructions; ++i) Run(instructions[i], memories);
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration* Register_KERAS_S4_BLOCK() {
  static TFLMRegistration registration = RegisterOp(Init, Prepare, Eval);
  return &registration;
}

}  // namespace micro
}  // namespace tflite
