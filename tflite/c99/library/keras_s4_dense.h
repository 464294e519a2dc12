/* Products with a matrix of weights of 8 bits. */
#ifndef KERAS_S4_DENSE_H
#define KERAS_S4_DENSE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const int8_t *weights; /* [outputs][inputs] */
    const int32_t *bias;   /* [outputs]; what the input's zero point adds is in it */
    uint16_t inputs;
    uint16_t outputs;
    int32_t mantissa; /* from the accumulator's scale to the output's */
    int32_t shift;
    int32_t zero_point; /* of the output */
} s4_dense;

/* int8 to int8 by s4_scale_down, with `shift` to the right; at least 4 outputs, and no sum reaches 2**30. */
void s4_dense_int8(const s4_dense *layer, const int8_t *input, int8_t *output);

/* int8 to int8 by s4_scale; sums wrap in 32 bits. */
void s4_dense_int8_any(const s4_dense *layer, const int8_t *input, int8_t *output);

/* int16 to int16 by s4_multiply_high, without a shift; at least 4 outputs, and no sum exceeds 32 bits. */
void s4_dense_int16(const s4_dense *layer, const int16_t *input, int16_t *output);

/* int16 to int16 by s4_scale_once, with sums of 64 bits. */
void s4_dense_int16_any(const s4_dense *layer, const int16_t *input, int16_t *output);

#ifdef __cplusplus
}
#endif

#endif
