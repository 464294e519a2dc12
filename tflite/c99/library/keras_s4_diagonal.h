/* One step of a DSS layer: `modes` complex states a channel, in delta form. */
#ifndef KERAS_S4_DIAGONAL_H
#define KERAS_S4_DIAGONAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The constants of a mode are four words, as cores load them best: the two gains; 16 bits of the decay and above them
 * the rotation; the readout and above it whether the decay is below -32768, and marks.
 *
 * decay: -65536 to 0; rotation: 16 bits; readout: 8 bits; marks: S4_LAST of the last mode of a channel, S4_LAST_PLAIN
 * of the mode before the first one that has a decay below -32768 or is fed back, plus S4_FED_BACK of the latter, which
 * are the last ones of a channel.
 */
#define S4_MODE(gain_re, gain_im, decay, rotation, readout, marks) \
    gain_re, gain_im, S4_PAIR(decay, rotation), S4_PAIR(readout, ((decay) < -32768 ? -32768 : 0) + (marks))
#define S4_PAIR(low, high) ((int32_t)((uint32_t)(low) & 0xFFFFU) + (int32_t)(high) * 65536)
#define S4_LAST_PLAIN 1
#define S4_LAST 3
#define S4_FED_BACK 0x4000

/*
 * A mode's state is two int32, real and imaginary part, in units of 2**-30. With h the old state / 2**15, rounded and
 * saturated to int16:
 *
 *     sum = sum over the modes of a channel of readout * h_re
 *     re += gain_re * input + decay * h_re - rotation * h_im
 *     im += gain_im * input + decay * h_im + rotation * h_re
 *
 * `decay + i rotation` is pole - 1 in units of 2**-15. Where it is fed back, a state turns what h leaves out as well:
 *
 *     r = x - 2**15 * h, saturated to int16
 *     re += 2 * rounded(((decay >> 1) * r_re - (rotation >> 1) * r_im) / 2**15), as h is
 *     im += 2 * rounded(((decay >> 1) * r_im + (rotation >> 1) * r_re) / 2**15)
 */
typedef struct {
    const int32_t *constants; /* [channels][modes][4] */
    uint16_t channels;
    uint16_t modes;
} s4_diagonal;

/*
 * `state` is [channels][modes][re, im], `sums` [channels]. The second clamps the new state to -2**30 .. 2**30 - 1; so
 * does the third, which alone knows feedback.
 */
void s4_diagonal_step(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums);
void s4_diagonal_step_clamped(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums);
void s4_diagonal_step_fed_back(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums);

#ifdef __cplusplus
}
#endif

#endif
