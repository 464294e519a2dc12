/* One step of a bank of modes, each with a drive of its own, in delta form. */
#ifndef KERAS_S4_MODAL_H
#define KERAS_S4_MODAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A mode's state is two int32, real and imaginary part, in units of 2**-30. With h the old state / 2**15, rounded and
 * saturated to int16:
 *
 *     re += gain_re * input_re + decay * h_re - rotation * h_im
 *     im += gain_im * input_im + decay * h_im + rotation * h_re
 *     output = the new state / 2**15, rounded and saturated to int16
 *
 * `decay + i rotation` is pole - 1 in units of 2**-15, the pole inside the unit circle. The last `fed_back` modes turn
 * what h leaves out as well:
 *
 *     r = x - 2**15 * h, saturated to int16
 *     re += 2 * rounded(((decay >> 1) * r_re - (rotation >> 1) * r_im) / 2**15), as h is
 *     im += 2 * rounded(((decay >> 1) * r_im + (rotation >> 1) * r_re) / 2**15)
 */
typedef struct {
    const int32_t *constants; /* [modes][gain_re, gain_im, decay, rotation] */
    uint16_t modes;
    uint16_t fed_back;
} s4_modal;

/*
 * `state`, `input` and `output` are [re, im][modes]. The second clamps the new state to -2**30 .. 2**30 - 1, and alone
 * knows feedback.
 */
void s4_modal_step(const s4_modal *layer, int32_t *state, const int16_t *input, int16_t *output);
void s4_modal_step_clamped(const s4_modal *layer, int32_t *state, const int16_t *input, int16_t *output);

#ifdef __cplusplus
}
#endif

#endif
