/* Division by the root of a sum of squares. */
#ifndef KERAS_S4_NORMALIZE_H
#define KERAS_S4_NORMALIZE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The energy, in two scales, chooses a level in each of `ranges` tables; what the tables hold there makes up the
 * reciprocal root. Mantissas and shifts are those of s4_scale_once, but for those of `level` and of the output.
 */
typedef struct {
    const int32_t *coarse_gain; /* [ranges] */
    const int32_t *fine_gain;   /* [ranges] */
    const int8_t *table;        /* [ranges][256] */
    const int8_t *weights;      /* [ranges] */
    int32_t bias;
    uint16_t size;
    uint16_t ranges;
    int32_t coarse_mantissa;
    uint32_t coarse_shift;
    int32_t fine_mantissa;
    uint32_t fine_shift;
    int32_t level_mantissa;
    int32_t level_shift;
    int32_t level_zero_point;
    int32_t root_mantissa;
    uint32_t root_shift;
} s4_normalize;

/* The reciprocal root of `input` [size], to be multiplied with its values. */
int32_t s4_reciprocal_root(const s4_normalize *layer, const int16_t *input);

#ifdef __cplusplus
}
#endif

#endif
