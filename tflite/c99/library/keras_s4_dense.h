/* Products with a matrix of weights of 8 or 4 bits. */
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

/*
 * Weights of 4 bits, -7 to 7, eight to a word, the first in its lowest bits. The words of four outputs take turns: the
 * first word of each, the second word of each. Zeros stand for inputs that are missing to a word, and outputs to four.
 */
typedef struct {
    const uint32_t *weights;
    const int32_t *bias; /* as many as outputs with those that are missing */
    uint16_t inputs;
    uint16_t outputs;
    int32_t mantissa;
    int32_t shift;
    int32_t zero_point;
} s4_dense_packed;

/* Of these s4_dense_int4 takes so many inputs. */
#define S4_DENSE_INT4_INPUTS 128

/* As s4_dense_int8, of any number of outputs. */
void s4_dense_int4(const s4_dense_packed *layer, const int8_t *input, int8_t *output);

/* As s4_dense_int8_any. */
void s4_dense_int4_any(const s4_dense_packed *layer, const int8_t *input, int8_t *output);

/* int16 to int16 by s4_multiply_high, without a shift; at least 4 outputs, and no sum exceeds 32 bits. */
void s4_dense_int16(const s4_dense *layer, const int16_t *input, int16_t *output);

/* int16 to int16 by s4_scale_once, with sums of 64 bits. */
void s4_dense_int16_any(const s4_dense *layer, const int16_t *input, int16_t *output);

#ifdef __cplusplus
}
#endif

#endif
