/* One step of a DSS layer: `modes` complex states a channel, in delta form. */
#ifndef KERAS_S4_DIAGONAL_H
#define KERAS_S4_DIAGONAL_H

#include <stdint.h>

/*
 * A mode's state is two int32, real and imaginary part, in units of 2**-30:
 *
 *     h    = state / 2**15, rounded and saturated to int16
 *     y    = sum over modes of readout * h_re, divided by 2**partial_shift and saturated to int16
 *     out  = (y * partial_gain + input * feedthrough) * mantissa * 2**(shift - 31) + zero_point
 *     re  += gain_re * input + decay * h_re - rotation * h_im
 *     im  += gain_im * input + decay * h_im + rotation * h_re
 *
 * `decay + i rotation` is pole - 1 in units of 2**-15: in `narrow_poles` for s4_diagonal_narrow, which is the faster
 * one where all of them fit int16; in `poles` for s4_diagonal_wide.
 */
typedef struct {
    const int32_t *gain;          /* [channels][modes][re, im] */
    const int16_t *narrow_poles;  /* [channels][modes][decay, rotation] or NULL */
    const int32_t *poles;         /* [channels][modes][decay, rotation] or NULL */
    const int8_t *readout;        /* [channels][modes] */
    const uint8_t *partial_shift; /* [channels], 1 to 30 */
    const int32_t *feedthrough;   /* [channels] */
    uint16_t channels;
    uint16_t modes; /* at most 256 */
    int32_t partial_gain;
    int32_t mantissa;
    int32_t shift;
    int32_t zero_point; /* of an int8 output */
    uint8_t clamped;    /* whether the new state is clamped to -2**30 .. 2**30 - 1 */
} s4_diagonal;

/* The result goes to one of the two outputs [channels]; the other is NULL. */
void s4_diagonal_narrow(const s4_diagonal *layer, int32_t *state, const int16_t *input, int8_t *bytes, int16_t *words);
void s4_diagonal_wide(const s4_diagonal *layer, int32_t *state, const int16_t *input, int8_t *bytes, int16_t *words);

#endif
