/* What a DSS layer gives, from the sums of its channels. */
#ifndef KERAS_S4_READOUT_H
#define KERAS_S4_READOUT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What a channel gives, from its sum:
 *
 *     partial = sum * 2**left * partial_mantissa / 2**32, by s4_multiply_high, saturated to int16
 *     value   = partial * gain + feedthrough * input, of which no magnitude reaches 2**30
 *     output  = value * mantissa / 2**(31 + right), by s4_scale_down, saturated
 */
typedef struct {
    const int32_t *partial_mantissas; /* [channels] */
    const int16_t *feedthrough;       /* [channels] */
    int32_t gain;
    int32_t mantissa;
    uint16_t channels;
    uint8_t left;
    uint8_t right; /* 1 to 21 */
} s4_readout;

/* An int8 output goes through a table of 256 entries. */
void s4_read_out_int8(const s4_readout *layer, const int32_t *sums, const int16_t *input, int32_t zero_point,
                      const int8_t *table, int8_t *output);
void s4_read_out_int16(const s4_readout *layer, const int32_t *sums, const int16_t *input, int16_t *output);

#ifdef __cplusplus
}
#endif

#endif
