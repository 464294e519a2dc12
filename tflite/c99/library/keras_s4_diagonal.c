#include "keras_s4_diagonal.h"

#include <stddef.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif

#include "keras_s4_arithmetic.h"

/* The constants of one channel. */
typedef struct {
    const int32_t *gain;
    const int16_t *narrow_poles;
    const int32_t *poles;
    const int8_t *readout;
} constants;

#if defined(__ARM_FEATURE_DSP)

/*
 * The rounded state in the upper 16 bits. The emulator rounds x / 2**15 twice: ties upwards to 2**-1, then the rest with
 * ties away from zero, which is floor((x + 16385) / 2**15) from 0 upwards and floor((x + 16383) / 2**15) below. Twice
 * the numerator fits 32 bits but for states that saturate, so the saturating sum does both; x >> 30 without sign is 3
 * for the negative numbers that do not saturate.
 */
static inline int32_t hidden_above(int32_t x)
{
    const int32_t half = 32770 - (int32_t)((uint32_t)x >> 30);
    int32_t sum;
    __asm__("qdadd %0, %1, %2" : "=r"(sum) : "r"(half), "r"(x));
    return sum;
}

/* Upper halves of two words in one: that of `low` goes to the lower half. */
static inline int16x2_t upper_halves(int32_t high, int32_t low)
{
    int16x2_t pair;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(high), "r"(low));
    return pair;
}

#else

/* See the emulator: ties upwards, then away from zero. */
static inline int32_t hidden(int32_t x)
{
    return s4_to_int16(s4_shift_rounded((x >> 1) + (x & 1), 14U));
}

#endif

/* One mode: its state moves on; returns `sum` and what the mode reads out before. */
S4_INLINE int32_t step_mode(const constants *mode, int32_t *state, int32_t input, int wide, int clamp,
                           int32_t sum)
{
    int32_t re = s4_add(state[0], s4_multiply(mode->gain[0], input));
    int32_t im = s4_add(state[1], s4_multiply(mode->gain[1], input));
#if defined(__ARM_FEATURE_DSP)
    const int16x2_t h = upper_halves(hidden_above(state[1]), hidden_above(state[0]));
    if (!wide) {
        int16x2_t pole;
        memcpy(&pole, mode->narrow_poles, sizeof pole);
        re = __smlsd(h, pole, re);
        im = __smladx(h, pole, im);
    } else {
        const int32_t h_re = (int16_t)h;
        const int32_t h_im = h >> 16;
        re = s4_add(re, s4_subtract(s4_multiply(mode->poles[0], h_re), s4_multiply(mode->poles[1], h_im)));
        im = s4_add(im, s4_add(s4_multiply(mode->poles[0], h_im), s4_multiply(mode->poles[1], h_re)));
    }
    sum = __smlabb((int32_t)h, mode->readout[0], sum);
#else
    const int32_t h_re = hidden(state[0]);
    const int32_t h_im = hidden(state[1]);
    const int32_t decay = wide ? mode->poles[0] : mode->narrow_poles[0];
    const int32_t rotation = wide ? mode->poles[1] : mode->narrow_poles[1];
    re = s4_add(re, s4_subtract(s4_multiply(decay, h_re), s4_multiply(rotation, h_im)));
    im = s4_add(im, s4_add(s4_multiply(decay, h_im), s4_multiply(rotation, h_re)));
    sum += mode->readout[0] * h_re;
#endif
    state[0] = clamp ? s4_saturate_31(re) : re;
    state[1] = clamp ? s4_saturate_31(im) : im;
    return sum;
}

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#include <arm_mve.h>

/* As hidden_above, but moved down. */
static inline int32x4_t hidden_of_four(int32x4_t x)
{
    const int32x4_t above = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), 30));
    return vshrq_n_s32(vqaddq_n_s32(vqsubq_s32(vqaddq_s32(x, x), above), 32770), 16);
}

static inline int32x4_t clamped_four(int32x4_t x)
{
    return vshrq_n_s32(vqaddq_s32(x, x), 1);
}

/* Four modes at once, as step_mode does one. */
S4_INLINE int32_t step_four(const constants *modes, int32_t *state, int32_t input, int wide, int clamp,
                           int32_t sum)
{
    int32x4x2_t now = vld2q_s32(state);
    const int32x4_t h_re = hidden_of_four(now.val[0]);
    const int32x4_t h_im = hidden_of_four(now.val[1]);
    sum = vmladavaq_s32(sum, h_re, vldrbq_s32(modes->readout));
    const int32x4x2_t gain = vld2q_s32(modes->gain);
    now.val[0] = vmlaq_n_s32(now.val[0], gain.val[0], input);
    now.val[1] = vmlaq_n_s32(now.val[1], gain.val[1], input);
    int32x4_t decay;
    int32x4_t rotation;
    if (!wide) {
        const int16x8_t poles = vldrhq_s16(modes->narrow_poles);
        decay = vmovlbq_s16(poles);
        rotation = vmovltq_s16(poles);
    } else {
        const int32x4x2_t poles = vld2q_s32(modes->poles);
        decay = poles.val[0];
        rotation = poles.val[1];
    }
    now.val[0] = vaddq_s32(now.val[0], vsubq_s32(vmulq_s32(decay, h_re), vmulq_s32(rotation, h_im)));
    now.val[1] = vaddq_s32(now.val[1], vaddq_s32(vmulq_s32(decay, h_im), vmulq_s32(rotation, h_re)));
    if (clamp) {
        now.val[0] = clamped_four(now.val[0]);
        now.val[1] = clamped_four(now.val[1]);
    }
    vst2q_s32(state, now);
    return sum;
}
#endif

/* All modes of a channel; returns the sum of what they read out before. `wide` and `clamp` are known when inlined. */
S4_INLINE int32_t step_channel(constants mode, int32_t *state, int32_t input, uint32_t modes, int wide, int clamp)
{
    int32_t sum = 0;
    uint32_t left = modes;
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
    for (; left >= 4U; left -= 4U) {
        sum = step_four(&mode, state, input, wide, clamp, sum);
        state += 8;
        mode.gain += 8;
        mode.readout += 4;
        mode.poles = wide ? mode.poles + 8 : NULL;
        mode.narrow_poles = wide ? NULL : mode.narrow_poles + 8;
    }
#endif
    for (; left != 0U; --left) {
        sum = step_mode(&mode, state, input, wide, clamp, sum);
        state += 2;
        mode.gain += 2;
        mode.readout += 1;
        mode.poles = wide ? mode.poles + 2 : NULL;
        mode.narrow_poles = wide ? NULL : mode.narrow_poles + 2;
    }
    return sum;
}

S4_INLINE void step(const s4_diagonal *layer, int32_t *state, const int16_t *input, int8_t *bytes, int16_t *words,
                        int wide)
{
    constants mode = {layer->gain, wide ? NULL : layer->narrow_poles, wide ? layer->poles : NULL, layer->readout};
    const uint32_t modes = layer->modes;
    for (uint32_t channel = 0; channel < layer->channels; ++channel) {
        const int32_t u = input[channel];
        const int32_t sum = layer->clamped != 0U ? step_channel(mode, state, u, modes, wide, 1)
                                                 : step_channel(mode, state, u, modes, wide, 0);
        const uint32_t shift = layer->partial_shift[channel];
        const int32_t partial = s4_to_int16((sum + ((int32_t)1 << (shift - 1U))) >> shift);
        const int32_t total = s4_add(s4_multiply(partial, layer->partial_gain),
                                     s4_multiply(u, layer->feedthrough[channel]));
        const int32_t result = s4_scale(total, layer->mantissa, layer->shift);
        if (bytes != NULL) {
            bytes[channel] = s4_to_int8(result, layer->zero_point);
        } else {
            words[channel] = s4_to_int16(result);
        }
        state += 2U * modes;
        mode.gain += 2U * modes;
        mode.readout += modes;
        mode.poles = wide ? mode.poles + 2U * modes : NULL;
        mode.narrow_poles = wide ? NULL : mode.narrow_poles + 2U * modes;
    }
}

void s4_diagonal_narrow(const s4_diagonal *layer, int32_t *state, const int16_t *input, int8_t *bytes, int16_t *words)
{
    step(layer, state, input, bytes, words, 0);
}

void s4_diagonal_wide(const s4_diagonal *layer, int32_t *state, const int16_t *input, int8_t *bytes, int16_t *words)
{
    step(layer, state, input, bytes, words, 1);
}
