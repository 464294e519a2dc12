#include "keras_s4_modal.h"

/* GCC makes a pointer of each part of an array, more than there are registers: a tenth more instructions. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_SAT)
#pragma GCC optimize("no-ivopts")
#endif

#include "keras_s4_arithmetic.h"

/*
 * x / 2**15, rounded and saturated to int16. The emulator rounds twice: ties upwards to 2**-1, then the rest with ties
 * away from zero, which is floor((x + 16385) / 2**15) from 0 upwards and floor((x + 16383) / 2**15) below.
 */
static inline int32_t hidden(int32_t x)
{
#if S4_DSP
    /* In the upper half of a word: twice the numerator fits 32 bits but for states that saturate. */
    int32_t half = 32770 - (int32_t)((uint32_t)x >> 30);
    __asm__("qdadd %0, %0, %1" : "+r"(half) : "r"(x));
    return half >> 16;
#else
    return s4_saturate_16((s4_saturate_31(x) + 16385 + 2 * (x >> 31)) >> 15);
#endif
}

/* Modes up to `end`; the pointers move on. */
S4_INLINE void step_modes(const int32_t **modes, const int32_t *end, int32_t **state, const int16_t **input,
                          int16_t **output, uint32_t count, int clamps, int feeds_back)
{
    const int32_t *mode = *modes; /* gains, decay, rotation */
    int32_t *now = *state;
    const int16_t *u = *input;
    int16_t *h = *output;
    while (mode != end) {
        const int32_t decay = mode[2];
        const int32_t rotation = mode[3];
        const int32_t h_re = hidden(now[0]);
        const int32_t h_im = hidden(now[count]);
        int32_t re = s4_add(now[0], s4_multiply(mode[0], u[0]));
        int32_t im = s4_add(now[count], s4_multiply(mode[1], u[count]));
        re = s4_subtract(s4_add(re, s4_multiply(decay, h_re)), s4_multiply(rotation, h_im));
        im = s4_add(s4_add(im, s4_multiply(decay, h_im)), s4_multiply(rotation, h_re));
        if (feeds_back != 0) {
            const int32_t r_re = s4_saturate_16(now[0] - h_re * 32768);
            const int32_t r_im = s4_saturate_16(now[count] - h_im * 32768);
            const int32_t half_decay = decay >> 1;
            const int32_t half_rotation = rotation >> 1;
            re = s4_add(re, 2 * hidden(half_decay * r_re - half_rotation * r_im));
            im = s4_add(im, 2 * hidden(half_decay * r_im + half_rotation * r_re));
        }
        if (clamps != 0) {
            re = s4_saturate_31(re);
            im = s4_saturate_31(im);
        }
        now[0] = re;
        now[count] = im;
        h[0] = (int16_t)hidden(re);
        h[count] = (int16_t)hidden(im);
        mode += 4;
        ++now;
        ++u;
        ++h;
    }
    *modes = mode;
    *state = now;
    *input = u;
    *output = h;
}

void s4_modal_step(const s4_modal *layer, int32_t *state, const int16_t *input, int16_t *output)
{
    const int32_t *mode = layer->constants;
    const uint32_t modes = layer->modes;
    step_modes(&mode, mode + 4U * modes, &state, &input, &output, modes, 0, 0);
}

void s4_modal_step_clamped(const s4_modal *layer, int32_t *state, const int16_t *input, int16_t *output)
{
    const int32_t *mode = layer->constants;
    const uint32_t modes = layer->modes;
    const int32_t *const end = mode + 4U * modes;
    step_modes(&mode, end - 4U * layer->fed_back, &state, &input, &output, modes, 1, 0);
    step_modes(&mode, end, &state, &input, &output, modes, 1, 1);
}
