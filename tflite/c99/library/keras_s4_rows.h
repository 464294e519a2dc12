/* What products with matrices share: four rows at once, their sums and their results. For files of kernels alone. */
#ifndef KERAS_S4_ROWS_H
#define KERAS_S4_ROWS_H

/* Before it assigns registers GCC moves loads to where there are too few of them: a tenth more instructions. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_DSP)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "keras_s4_arithmetic.h"

#if S4_HELIUM
#include <arm_mve.h>
#elif S4_DSP
#include <arm_acle.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The sums of four rows, which share the loads of the input. */
enum { ROWS = 4 };

typedef struct {
    int32_t of[ROWS];
} sums;

static inline sums sums_from(const int32_t *bias)
{
    const sums total = {{bias[0], bias[1], bias[2], bias[3]}};
    return total;
}

#if S4_DSP && !S4_HELIUM

/* Four bytes, wherever they lie. */
static inline uint32_t four(const int8_t *from)
{
    uint32_t values;
    S4_COPY(&values, from, sizeof values);
    return values;
}

/* Values 0 and 2 of four, widened to int16; and values 1 and 3. */
static inline int16x2_t even(uint32_t values)
{
    int16x2_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(values));
    return pair;
}

static inline int16x2_t odd(uint32_t values)
{
    int16x2_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(values));
    return pair;
}

/* The lower halves of two words, and the upper ones. */
static inline int16x2_t lower_halves(uint32_t first, uint32_t second)
{
    int16x2_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(first), "r"(second));
    return pair;
}

static inline int16x2_t upper_halves(uint32_t first, uint32_t second)
{
    int16x2_t pair;
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(pair) : "r"(first), "r"(second));
    return pair;
}

#endif

#if S4_HELIUM

static inline int32x4_t vector_of(sums total)
{
    int32x4_t values;
    __asm__("vmov %q0[2], %q0[0], %1, %2\n\tvmov %q0[3], %q0[1], %3, %4"
            : "=&w"(values)
            : "r"(total.of[0]), "r"(total.of[2]), "r"(total.of[1]), "r"(total.of[3]));
    return values;
}

/* Four results, by s4_scale_down with a shift to the right. */
S4_INLINE void put_int8(sums total, int32_t mantissa, int32_t right, int32_t zero_point, int8_t *output)
{
    int32x4_t values = vqrdmulhq_n_s32(vector_of(total), mantissa);
    values = vrshlq_n_s32(vaddq_s32(values, vshrq_n_s32(values, 31)), -right);
    values = vaddq_n_s32(values, zero_point);
    const int16x8_t halves = vqmovnbq_s32(vdupq_n_s16(0), values);
    vstrbq_s32(output, vreinterpretq_s32_s8(vqmovnbq_s16(vdupq_n_s8(0), halves)));
}

#else

S4_INLINE void put_int8(sums total, int32_t mantissa, int32_t right, int32_t zero_point, int8_t *output)
{
    const uint32_t shift = (uint32_t)right;
    const int32_t rounding = s4_rounding(shift, zero_point);
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; ++r) {
        const int32_t x = total.of[r];
        output[r] = (int8_t)s4_saturate_8(s4_multiply_high_add(2 * x, mantissa, rounding + (x >> 31)) >> shift);
    }
}

#endif

#ifdef __cplusplus
}
#endif

#endif
