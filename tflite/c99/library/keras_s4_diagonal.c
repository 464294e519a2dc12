#include "keras_s4_diagonal.h"

#include "keras_s4_arithmetic.h"

#if S4_HELIUM
#include <arm_mve.h>
#endif

/* Which forms of a step there are: each has what those before it have. */
enum { FREE, CLAMPED, FED_BACK };

#if S4_HELIUM || !S4_DSP

/*
 * x / 2**15, rounded and saturated to int16. The emulator rounds twice: ties upwards to 2**-1, then the rest with ties
 * away from zero, which is floor((x + 16385) / 2**15) from 0 upwards and floor((x + 16383) / 2**15) below.
 */
static inline int32_t hidden(int32_t x)
{
    return s4_saturate_16((s4_saturate_31(x) + 16385 + 2 * (x >> 31)) >> 15);
}

/* One mode: its state and the pointers move on; returns `sum` and what the mode reads out before. */
S4_INLINE int32_t step_mode(const int32_t **constants, int32_t **state, int32_t input, int form, int32_t sum)
{
    const int32_t *mode = *constants; /* gains, pole, readout */
    int32_t *now = *state;
    const int32_t h_re = hidden(now[0]);
    const int32_t h_im = hidden(now[1]);
    const int32_t decay = (int16_t)mode[2] + (mode[3] >> 31) * 65536;
    const int32_t rotation = mode[2] >> 16;
    int32_t re = s4_add(now[0], s4_multiply(mode[0], input));
    int32_t im = s4_add(now[1], s4_multiply(mode[1], input));
    re = s4_add(re, s4_subtract(s4_multiply(decay, h_re), s4_multiply(rotation, h_im)));
    im = s4_add(im, s4_add(s4_multiply(decay, h_im), s4_multiply(rotation, h_re)));
    if (form == FED_BACK && (mode[3] >> 16 & S4_FED_BACK) != 0) {
        const int32_t r_re = s4_saturate_16(now[0] - h_re * 32768);
        const int32_t r_im = s4_saturate_16(now[1] - h_im * 32768);
        const int32_t half_decay = decay >> 1;
        const int32_t half_rotation = rotation >> 1;
        re = s4_add(re, 2 * hidden(half_decay * r_re - half_rotation * r_im));
        im = s4_add(im, 2 * hidden(half_decay * r_im + half_rotation * r_re));
    }
    now[0] = form == FREE ? re : s4_saturate_31(re);
    now[1] = form == FREE ? im : s4_saturate_31(im);
    *constants += 4;
    *state += 2;
    return sum + (int16_t)mode[3] * h_re;
}

#endif

#if S4_HELIUM

/*
 * Four modes at once, as step_mode does one. In assembler, since all eight vector registers are in use: compilers take
 * half as many instructions again to move them. Clamping to 31 bits is doubling with saturation, and halving.
 */
#define S4_HIDDEN(to, from, spare)            \
    "vqadd.s32 " to ", " from ", " from "\n\t"  \
    "vshr.u32 " spare ", " from ", #30\n\t"    \
    "vqsub.s32 " to ", " to ", " spare "\n\t"  \
    "vqadd.s32 " to ", " to ", %[half]\n\t"    \
    "vshr.s32 " to ", " to ", #16\n\t"
#define S4_FOUR(clamp)                                          \
    "vld20.32 {q0, q1}, [%[state]]\n\t"                         \
    "vld21.32 {q0, q1}, [%[state]]\n\t"                         \
    S4_HIDDEN("q2", "q0", "q4")                                 \
    S4_HIDDEN("q3", "q1", "q4")                                 \
    "vld40.32 {q4, q5, q6, q7}, [%[mode]]\n\t"                  \
    "vld41.32 {q4, q5, q6, q7}, [%[mode]]\n\t"                  \
    "vld42.32 {q4, q5, q6, q7}, [%[mode]]\n\t"                  \
    "vld43.32 {q4, q5, q6, q7}, [%[mode]]!\n\t"                 \
    "vmla.s32 q0, q4, %[input]\n\t"                             \
    "vmla.s32 q1, q5, %[input]\n\t"                             \
    "vmovlb.s16 q4, q7\n\t" /* readout */                       \
    "vmladava.s32 %[sum], q2, q4\n\t"                           \
    "vshr.s32 q7, q7, #31\n\t" /* the rest of the decay */      \
    "vshl.i32 q7, q7, #16\n\t"                                  \
    "vmovlb.s16 q5, q6\n\t"                                     \
    "vadd.i32 q5, q5, q7\n\t" /* decay */                       \
    "vmovlt.s16 q6, q6\n\t"   /* rotation */                    \
    "vmul.i32 q4, q5, q2\n\t"                                   \
    "vadd.i32 q0, q0, q4\n\t"                                   \
    "vmul.i32 q4, q6, q3\n\t"                                   \
    "vsub.i32 q0, q0, q4\n\t"                                   \
    "vmul.i32 q4, q5, q3\n\t"                                   \
    "vadd.i32 q1, q1, q4\n\t"                                   \
    "vmul.i32 q4, q6, q2\n\t"                                   \
    "vadd.i32 q1, q1, q4\n\t" clamp                             \
    "vst20.32 {q0, q1}, [%[state]]\n\t"                         \
    "vst21.32 {q0, q1}, [%[state]]!"
#define S4_CLAMP                                                \
    "vqadd.s32 q0, q0, q0\n\t"                                  \
    "vqadd.s32 q1, q1, q1\n\t"                                  \
    "vshr.s32 q0, q0, #1\n\t"                                   \
    "vshr.s32 q1, q1, #1\n\t"
#define S4_STEP_FOUR(clamp)                                                                       \
    __asm__(S4_FOUR(clamp)                                                                        \
            : [state] "+r"(state), [mode] "+r"(modes), [sum] "+Te"(sum)                           \
            : [input] "r"(input), [half] "r"(32770)                                               \
            : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory")

static inline int32x4_t hidden_four(int32x4_t x)
{
    const uint32x4_t sign = vshrq_n_u32(vreinterpretq_u32_s32(x), 30);
    const int32x4_t half = vqsubq_s32(vdupq_n_s32(32770), vreinterpretq_s32_u32(sign));
    return vshrq_n_s32(vqaddq_s32(vqaddq_s32(x, x), half), 16);
}

/* What a rounded state leaves out. */
static inline int32x4_t residue_four(int32x4_t x, int32x4_t h)
{
    return vmovlbq_s16(vqmovnbq_s32(vdupq_n_s16(0), vsubq_s32(x, vshlq_n_s32(h, 15))));
}

/* Four modes, some of which are fed back. */
static int32_t step_four_fed_back(const int32_t *modes, int32_t *state, int32_t input, int32_t sum)
{
    const int32x4x4_t mode = vld4q_s32(modes); /* gains, pole, readout */
    int32x4x2_t now = vld2q_s32(state);
    const int32x4_t wide = vshlq_n_s32(vshrq_n_s32(mode.val[3], 31), 16);
    const int32x4_t decay = vaddq_s32(vmovlbq_s16(vreinterpretq_s16_s32(mode.val[2])), wide);
    const int32x4_t rotation = vshrq_n_s32(mode.val[2], 16);
    const int32x4_t h_re = hidden_four(now.val[0]);
    const int32x4_t h_im = hidden_four(now.val[1]);
    const int32x4_t r_re = residue_four(now.val[0], h_re);
    const int32x4_t r_im = residue_four(now.val[1], h_im);
    const int32x4_t half_decay = vshrq_n_s32(decay, 1);
    const int32x4_t half_rotation = vshrq_n_s32(rotation, 1);
    const int32x4_t turned_re = vsubq_s32(vmulq_s32(half_decay, r_re), vmulq_s32(half_rotation, r_im));
    const int32x4_t turned_im = vaddq_s32(vmulq_s32(half_decay, r_im), vmulq_s32(half_rotation, r_re));
    const mve_pred16_t fed = vcmpltq_n_s32(vshlq_n_s32(mode.val[3], 1), 0); /* S4_FED_BACK as the sign */
    int32x4_t re = vmlaq_n_s32(now.val[0], mode.val[0], input);
    int32x4_t im = vmlaq_n_s32(now.val[1], mode.val[1], input);
    re = vaddq_s32(re, vsubq_s32(vmulq_s32(decay, h_re), vmulq_s32(rotation, h_im)));
    im = vaddq_s32(im, vaddq_s32(vmulq_s32(decay, h_im), vmulq_s32(rotation, h_re)));
    re = vaddq_m_s32(re, re, vshlq_n_s32(hidden_four(turned_re), 1), fed);
    im = vaddq_m_s32(im, im, vshlq_n_s32(hidden_four(turned_im), 1), fed);
    now.val[0] = vshrq_n_s32(vqaddq_s32(re, re), 1);
    now.val[1] = vshrq_n_s32(vqaddq_s32(im, im), 1);
    vst2q_s32(state, now);
    return vmladavaq_s32(sum, h_re, vmovlbq_s16(vreinterpretq_s16_s32(mode.val[3])));
}

/* Modes in fours up to `end`; the pointers move on; returns the sum of what the modes read out before. */
S4_INLINE int32_t step_fours(const int32_t **constants, int32_t **states, int32_t input, const int32_t *end, int form)
{
    const int32_t *modes = *constants;
    int32_t *state = *states;
    int32_t sum = 0;
    while (modes != end) {
        if (form == FREE) {
            S4_STEP_FOUR("");
        } else if (form == FED_BACK && (modes[15] >> 16 & S4_FED_BACK) != 0) {
            sum = step_four_fed_back(modes, state, input, sum);
            modes += 16;
            state += 8;
        } else {
            S4_STEP_FOUR(S4_CLAMP);
        }
    }
    *constants = modes;
    *states = state;
    return sum;
}
#endif

#if S4_DSP && !S4_HELIUM

/*
 * All channels, a mode at a time, in assembler: compilers run out of registers, and load each constant by itself.
 *
 * A rounded state is made in the upper 16 bits of a word. Twice the numerator that `hidden` divides fits 32 bits but
 * for states that saturate, so the saturating sum does both; x >> 30 without sign is 3 for the negative numbers that do
 * not saturate.
 */
#if defined(__clang__) || !defined(__OPTIMIZE__)
/* There are two registers fewer. */
#define S4_A "%[a]"
#define S4_B "%[b]"
#define S4_C "%[c]"
#define S4_POLE S4_A
#define S4_REST S4_B
#define S4_TAKE_GAINS "ldrd " S4_A ", " S4_B ", [%[mode]], #8\n\t"
#define S4_TAKE_POLE S4_TAKE_GAINS
#define S4_TAKE_REST "ldr " S4_REST ", [%[mode], #-4]\n\t"
#define S4_NEXT "[%[next]]"
#define S4_END "[%[next], #8]"
#define S4_SCRATCH , [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c)
#define S4_PLACES [next] "r"(&next)
#define S4_CLOBBERED "cc", "memory"
#else
#define S4_A "r2"
#define S4_B "r3"
#define S4_C "r4"
#define S4_POLE S4_C
#define S4_REST "r5"
#define S4_TAKE_GAINS "ldmia %[mode]!, {r2, r3, r4, r5}\n\t"
#define S4_TAKE_POLE ""
#define S4_TAKE_REST ""
#define S4_NEXT "%[next]"
#define S4_END "%[end]"
#define S4_SCRATCH
#define S4_PLACES [next] "m"(next), [end] "m"(next.end)
#define S4_CLOBBERED "r2", "r3", "r4", "r5", "cc", "memory"
#endif
#define S4_TAKE                                           \
    "ldrd %[re], %[im], [%[state]]\n\t" S4_TAKE_GAINS     \
    "sub %[h], %[half], %[re], lsr #30\n\t"               \
    "qdadd %[h], %[h], %[re]\n\t"                         \
    "mla %[re], " S4_A ", %[u], %[re]\n\t"                \
    "sub " S4_A ", %[half], %[im], lsr #30\n\t"           \
    "qdadd " S4_A ", " S4_A ", %[im]\n\t"                 \
    "mla %[im], " S4_B ", %[u], %[im]\n\t"                \
    "pkhtb %[h], " S4_A ", %[h], asr #16\n\t" S4_TAKE_POLE \
    "smlsd %[re], %[h], " S4_POLE ", %[re]\n\t"           \
    "smladx %[im], %[h], " S4_POLE ", %[im]\n\t"
#define S4_WIDE /* what 16 bits of the decay leave out */ \
    "cmp " S4_REST ", #0\n\t"                             \
    "bge 3f\n\t"                                          \
    "sub %[re], %[re], %[h], lsl #16\n\t"                 \
    "lsr " S4_C ", %[h], #16\n\t"                         \
    "sub %[im], %[im], " S4_C ", lsl #16\n"               \
    "3:\n\t"
/* The error of a rounded state as two halves, turned by the halves of the pole, and rounded as a state is. */
#define S4_ROUND(x, to)                                 \
    "sub " S4_A ", %[half], " x ", lsr #30\n\t"         \
    "qdadd " S4_A ", " S4_A ", " x "\n\t"               \
    "asr " S4_A ", " S4_A ", #16\n\t"                   \
    "add " to ", " to ", " S4_A ", lsl #1\n\t"
#define S4_FEED                                         \
    "tst " S4_REST ", #0x40000000\n\t"                  \
    "beq 6f\n\t"                                        \
    "ldrd " S4_A ", " S4_B ", [%[state]]\n\t"           \
    "sxth " S4_C ", %[h]\n\t"                           \
    "sub " S4_A ", " S4_A ", " S4_C ", lsl #15\n\t"     \
    "asr " S4_C ", %[h], #16\n\t"                       \
    "sub " S4_B ", " S4_B ", " S4_C ", lsl #15\n\t"     \
    "ssat " S4_A ", #16, " S4_A "\n\t"                  \
    "ssat " S4_B ", #16, " S4_B "\n\t"                  \
    "pkhbt " S4_A ", " S4_A ", " S4_B ", lsl #16\n\t"   \
    "ldr " S4_C ", [%[mode], #-8]\n\t"                  \
    "mov " S4_B ", #0\n\t"                              \
    "shadd16 " S4_C ", " S4_C ", " S4_B "\n\t"          \
    "ldr " S4_B ", [%[mode], #-4]\n\t"                  \
    "cmp " S4_B ", #0\n\t"                              \
    "it lt\n\t"                                         \
    "eorlt " S4_C ", " S4_C ", #0x8000\n\t"             \
    "smusd " S4_B ", " S4_C ", " S4_A "\n\t"            \
    "smuadx " S4_C ", " S4_C ", " S4_A "\n\t"           \
    S4_ROUND(S4_B, "%[re]") S4_ROUND(S4_C, "%[im]") S4_TAKE_REST "6:\n\t"
#define S4_CLAMP "ssat %[re], #31, %[re]\n\tssat %[im], #31, %[im]\n\t"
#define S4_PUT                                            \
    "strd %[re], %[im], [%[state]], #8\n\t"               \
    "smlabb %[sum], %[h], " S4_REST ", %[sum]\n\t"        \
    "lsls " S4_REST ", " S4_REST ", #15\n\t" /* N: the last of its kind; C: the last of the channel */
#define S4_BEGIN /* a channel; C: with the second kind, as the decay's or S4_FED_BACK's bit says */ \
    "ldr " S4_B ", [%[mode], #12]\n\t"                    \
    "mov %[sum], #0\n\t"                                  \
    "cmp " S4_B ", #0x40000000\n\t"
#define S4_CHANNELS(feed, clamp)                                                                      \
    __asm__ volatile(S4_BEGIN                                                                         \
                     "bcs 2f\n"                                                                       \
                     "1:\n\t" S4_TAKE clamp S4_PUT                                                    \
                     "bpl 1b\n\t"                                                                     \
                     "bcs 4f\n"                                                                       \
                     "2:\n\t" S4_TAKE S4_WIDE feed clamp S4_PUT                                       \
                     "bcc 2b\n"                                                                       \
                     "4:\n\t"                                                                         \
                     "ldrd " S4_A ", " S4_B ", " S4_NEXT "\n\t"                                       \
                     "ldr %[h], " S4_END "\n\t"                                                       \
                     "str %[sum], [" S4_A "], #4\n\t"                                                 \
                     "cmp " S4_B ", %[h]\n\t"                                                         \
                     "beq 5f\n\t"                                                                     \
                     "ldrsh %[u], [" S4_B "], #2\n\t"                                                 \
                     "strd " S4_A ", " S4_B ", " S4_NEXT "\n\t" S4_BEGIN                              \
                     "bcc 1b\n\t"                                                                     \
                     "b 2b\n"                                                                         \
                     "5:"                                                                             \
                     : [mode] "+&r"(constants), [state] "+&r"(state), [u] "+&r"(u), [sum] "=&r"(sum), \
                       [re] "=&r"(re), [im] "=&r"(im), [h] "=&r"(h)S4_SCRATCH                         \
                     : [half] "r"(32770), S4_PLACES                                                   \
                     : S4_CLOBBERED)

S4_INLINE void step_channels(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums, int form)
{
    const int32_t *constants = layer->constants;
    struct {
        int32_t *sum;
        const int16_t *input;
        const int16_t *end;
    } next = {sums, input + 1, input + layer->channels};
    int32_t u = *input;
    int32_t sum;
    int32_t re;
    int32_t im;
    int32_t h;
#if defined(__clang__) || !defined(__OPTIMIZE__)
    int32_t a;
    int32_t b;
    int32_t c;
#endif
    if (form == FED_BACK) {
        S4_CHANNELS(S4_FEED, S4_CLAMP);
    } else if (form == CLAMPED) {
        S4_CHANNELS("", S4_CLAMP);
    } else {
        S4_CHANNELS("", "");
    }
}

#else

/* All channels; states and constants of the next one follow those of the last. */
S4_INLINE void step_channels(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums, int form)
{
    const int32_t *constants = layer->constants;
    const uint32_t modes = layer->modes;
    const uint32_t fours = S4_HELIUM ? modes & ~UINT32_C(3) : 0U;
    for (const int16_t *last = input + layer->channels; input != last; ++input) {
        int32_t sum = 0;
#if S4_HELIUM
        sum = step_fours(&constants, &state, *input, constants + 4U * fours, form);
#endif
        for (const int32_t *end = constants + 4U * (modes - fours); constants != end;) {
            sum = step_mode(&constants, &state, *input, form, sum);
        }
        *sums++ = sum;
    }
}

#endif

void s4_diagonal_step(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums)
{
    step_channels(layer, state, input, sums, FREE);
}

void s4_diagonal_step_clamped(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums)
{
    step_channels(layer, state, input, sums, CLAMPED);
}

void s4_diagonal_step_fed_back(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums)
{
    step_channels(layer, state, input, sums, FED_BACK);
}
