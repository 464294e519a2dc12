#include "keras_s4_diagonal.h"

/* Before it assigns registers GCC moves loads to where there are too few of them. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_DSP)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "keras_s4_arithmetic.h"

#if S4_DSP
#include <arm_acle.h>

/*
 * The rounded state in the upper 16 bits. The emulator rounds x / 2**15 twice: ties upwards to 2**-1, then the rest
 * with ties away from zero, which is floor((x + 16385) / 2**15) from 0 upwards and floor((x + 16383) / 2**15) below.
 * Twice the numerator fits 32 bits but for states that saturate, so the saturating sum does both; x >> 30 without sign
 * is 3 for the negative numbers that do not saturate.
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

/* Two words in one instruction that moves the pointer on, which compilers find by chance only. */
typedef struct {
    int32_t first;
    int32_t second;
} pair;

S4_INLINE pair take_pair(const int32_t **from)
{
    pair words;
    __asm__("ldrd %0, %1, [%2], #8" : "=&r"(words.first), "=&r"(words.second), "+&r"(*from) : : "memory");
    return words;
}

S4_INLINE void put_pair(int32_t **to, int32_t first, int32_t second)
{
    __asm__ volatile("strd %1, %2, [%0], #8" : "+&r"(*to) : "r"(first), "r"(second) : "memory");
}

S4_INLINE pair look_at_pair(const int32_t *from)
{
    pair words;
    __asm__("ldrd %0, %1, [%2]" : "=r"(words.first), "=r"(words.second) : "r"(from) : "memory");
    return words;
}

/* One mode: its state and the pointers move on; returns `sum` and what the mode reads out before. */
S4_INLINE int32_t step_mode(const int32_t **constants, int32_t **state, int32_t input, int plain, int clamp,
                            int32_t sum)
{
    const pair now = look_at_pair(*state);
    const pair gain = take_pair(constants);
    const pair rest = take_pair(constants);
    const int32_t above_re = hidden_above(now.first);
    const int32_t above_im = hidden_above(now.second);
    const int16x2_t h = upper_halves(above_im, above_re);
    int32_t re = s4_add(now.first, s4_multiply(gain.first, input));
    int32_t im = s4_add(now.second, s4_multiply(gain.second, input));
    re = __smlsd(h, rest.first, re);
    im = __smladx(h, rest.first, im);
    if (!plain && rest.second < 0) {
        re = s4_subtract(re, (int32_t)((uint32_t)h << 16));
        im = s4_subtract(im, (int32_t)((uint32_t)above_im & 0xFFFF0000U));
    }
    put_pair(state, clamp ? s4_saturate_31(re) : re, clamp ? s4_saturate_31(im) : im);
    return __smlabb(h, rest.second, sum);
}

#else

/* See the emulator: ties upwards, then away from zero. */
static inline int32_t hidden(int32_t x)
{
    return s4_saturate_16(s4_shift_rounded((x >> 1) + (x & 1), 14U));
}

/* One mode: its state and the pointers move on; returns `sum` and what the mode reads out before. */
S4_INLINE int32_t step_mode(const int32_t **constants, int32_t **state, int32_t input, int plain, int clamp,
                            int32_t sum)
{
    const int32_t *mode = *constants; /* gains, pole, readout */
    int32_t *now = *state;
    const int32_t h_re = hidden(now[0]);
    const int32_t h_im = hidden(now[1]);
    const int32_t decay = (int16_t)mode[2] + (plain ? 0 : (mode[3] >> 16) * 65536);
    const int32_t rotation = mode[2] >> 16;
    int32_t re = s4_add(now[0], s4_multiply(mode[0], input));
    int32_t im = s4_add(now[1], s4_multiply(mode[1], input));
    re = s4_add(re, s4_subtract(s4_multiply(decay, h_re), s4_multiply(rotation, h_im)));
    im = s4_add(im, s4_add(s4_multiply(decay, h_im), s4_multiply(rotation, h_re)));
    now[0] = clamp ? s4_saturate_31(re) : re;
    now[1] = clamp ? s4_saturate_31(im) : im;
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
    "vmovlt.s16 q7, q7\n\t" /* the rest of the decay */         \
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

/* Modes in fours up to `end`; the pointers move on; returns the sum of what the modes read out before. */
S4_INLINE int32_t step_fours(const int32_t **constants, int32_t **states, int32_t input, const int32_t *end, int clamp)
{
    const int32_t *modes = *constants;
    int32_t *state = *states;
    int32_t sum = 0;
    while (modes != end) {
        if (clamp) {
            S4_STEP_FOUR(S4_CLAMP);
        } else {
            S4_STEP_FOUR("");
        }
    }
    *constants = modes;
    *states = state;
    return sum;
}
#endif

/* Modes up to `end`; the pointers move on. `plain` and `clamp` are known when it is inlined. */
S4_INLINE int32_t step_modes(const int32_t **constants, int32_t **state, int32_t input, const int32_t *end, int plain,
                             int clamp)
{
    int32_t sum = 0;
    while (*constants != end) {
        sum = step_mode(constants, state, input, plain, clamp, sum);
    }
    return sum;
}

/* The first modes of a channel, in the fastest way that the core has. */
S4_INLINE int32_t step_first(const int32_t **constants, int32_t **state, int32_t input, const int32_t *end,
                             uint32_t plain, int clamp)
{
#if S4_HELIUM
    (void)plain;
    return step_fours(constants, state, input, end - ((uint32_t)(end - *constants) & 15U), clamp);
#elif S4_DSP
    (void)end;
    return step_modes(constants, state, input, *constants + 4U * plain, 1, clamp);
#else
    (void)constants, (void)state, (void)input, (void)end, (void)plain, (void)clamp;
    return 0;
#endif
}

/* All channels; states and constants of the next one follow those of the last. */
S4_INLINE void step_channels(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums, int clamp)
{
    const int32_t *constants = layer->constants;
    const uint32_t words = 4U * (uint32_t)layer->modes;
    const uint8_t *plain = layer->plain;
    for (const int16_t *last = input + layer->channels; input != last; ++input) {
        const int32_t u = *input;
        const int32_t *end = constants + words;
        const int32_t sum = step_first(&constants, &state, u, end, *plain++, clamp);
        *sums++ = sum + step_modes(&constants, &state, u, end, 0, clamp);
    }
}

void s4_diagonal_step(const s4_diagonal *layer, int32_t *state, const int16_t *input, int32_t *sums)
{
    if (layer->clamped != 0) {
        step_channels(layer, state, input, sums, 1);
    } else {
        step_channels(layer, state, input, sums, 0);
    }
}
