/* Functions of one int16 value. */
#ifndef KERAS_S4_GATES_H
#define KERAS_S4_GATES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Sigmoid and hyperbolic tangent as TensorFlow Lite computes them, with results in units of 2**-15. `table` [256] holds
 * the sigmoid at multiples of 1/24 in units of 2**-16; `factor` is 3 for inputs of scale 2**-12, 6 for 2**-11.
 */
void s4_sigmoid(const uint16_t *table, int32_t factor, const int16_t *input, int16_t *output, uint32_t count);
void s4_tanh(const uint16_t *table, int32_t factor, const int16_t *input, int16_t *output, uint32_t count);

/* A function as straight lines: row (x + 2**15) >> row_shift of `slope` and `offset`. */
typedef struct {
    const int8_t *slope;
    const int16_t *offset;
    int32_t offset_gain;
    int32_t mantissa; /* as for s4_scale_once */
    uint8_t shift;
    uint8_t row_shift;
} s4_lines;

void s4_interpolate(const s4_lines *lines, const int16_t *input, int16_t *output, uint32_t count);

#ifdef __cplusplus
}
#endif

#endif
