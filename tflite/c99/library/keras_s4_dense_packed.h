/* Products with a matrix of weights of 4 bits. */
#ifndef KERAS_S4_DENSE_PACKED_H
#define KERAS_S4_DENSE_PACKED_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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

/* As s4_dense_int8 of keras_s4_dense.h, of any number of outputs. */
void s4_dense_int4(const s4_dense_packed *layer, const int8_t *input, int8_t *output);

/* As s4_dense_int8_any. */
void s4_dense_int4_any(const s4_dense_packed *layer, const int8_t *input, int8_t *output);

#ifdef __cplusplus
}
#endif

#endif
