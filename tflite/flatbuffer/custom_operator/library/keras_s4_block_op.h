// KERAS_S4_BLOCK: an S4 block, or a DSS or DiagonalSSM layer alone, as a custom operator of TensorFlow Lite Micro.
//
//     resolver.AddCustom("KERAS_S4_BLOCK", tflite::micro::Register_KERAS_S4_BLOCK());
#ifndef KERAS_S4_BLOCK_OP_H_
#define KERAS_S4_BLOCK_OP_H_

#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/micro_common.h"

// Recent versions of TensorFlow Lite Micro declare TFLMRegistration in this namespace, older ones outside of any.
namespace tflite {
namespace micro {

TFLMRegistration* Register_KERAS_S4_BLOCK();

}  // namespace micro
}  // namespace tflite

#endif  // KERAS_S4_BLOCK_OP_H_
