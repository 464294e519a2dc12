/* One step of a DSS layer: `modes` complex states a channel, in delta form. */
#ifndef KERAS_S4_DIAGONAL_H
#define KERAS_S4_DIAGONAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The constants of a mode are four words, as cores load them best: the two gains; 16 bits of the decay and above them
 * the rotation; the readout and above it the rest of the decay, which is 0 or -1.
 *
 * decay: -65536 to 0; rotation: 16 bits; readout: 8 bits.
 */
#define S4_MODE(gain_re, gain_im, decay, rotation, readout) \
    gain_re, gain_im, S4_PAIR(decay, rotation), S4_PAIR(readout, (decay) < -32768 ? -1 : 0)
#define S4_PAIR(low, high) ((int32_t)((uint32_t)(low) & 0xFFFFU) + (int32_t)(high) * 65536)

/*
 * A mode's state is two int32, real and imaginary part, in units of 2**-30. With h the old state / 2**15, rounded and
 * saturated to int16:
 *
 *     sum = sum over the modes of a channel of readout * h_re
 *     re += gain_re * input + decay * h_re - rotation * h_im
 *     im += gain_im * input + decay * h_im + rotation * h_re
 *
 * `decay + i rotation` is pole - 1 in units of 2**-15.
 */
typedef struct {
    const int32_t *constants; /* [channels][modes][4] */
    const uint8_t *plain;     /* [channels]: how many modes, the first ones, have a decay of at least -32768 */
    uint16_t channels;
    uint16_t modes;  /* at most 255 */
    int32_t clamped; /* whether the new state is clamped to -2**30 .. 2**30 - 1 */
} s4_diagonal;

/* `state` is [channels][modes][re, im], `sums` [channels]. */
void s4_diagonal_step(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums);

#ifdef __cplusplus
}
#endif

#endif
