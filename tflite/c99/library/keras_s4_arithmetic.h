/*
 * 32-bit arithmetic that wraps, and multiplication by real numbers, as TensorFlow Lite computes them.
 *
 * A real multiplier is mantissa * 2**(shift - 31). Nothing here is undefined whatever the operands: sums and products
 * that may leave 32 bits are unsigned. Relied on, since every compiler for these cores does it: a conversion to a
 * signed type keeps the low bits, and a right shift of a negative number rounds downwards. `int` may have 16 bits.
 */
#ifndef KERAS_S4_ARITHMETIC_H
#define KERAS_S4_ARITHMETIC_H

#include <stdint.h>

#if (-3 >> 1) != -2
#error "Right shifts of negative numbers must round downwards."
#endif

/* Cores with DSP instructions, and with Helium, whose instructions are written as GCC and Clang take them. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP)
#define S4_DSP 1
#else
#define S4_DSP 0
#endif
#if defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define S4_HELIUM 1
#else
#define S4_HELIUM 0
#endif

/* Cores whose products have 32 bits: a product of 64 is a function of the compiler's library, which takes long. */
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define S4_SHORT_PRODUCTS 1
#else
#define S4_SHORT_PRODUCTS 0
#endif

/*
 * A few bytes from any address: yours where it is defined before, as by the compiler's command. Freestanding builds
 * call memcpy each time, so compilers that have a function of their own take that.
 */
#if !defined(S4_COPY)
#if defined(__GNUC__)
#define S4_COPY(to, from, size) (void)__builtin_memcpy(to, from, size)
#else
#include <string.h>
#define S4_COPY(to, from, size) (void)memcpy(to, from, size)
#endif
#endif

/* Functions whose loops are to be compiled for each value of their constant arguments; and functions that stay so. */
#if defined(__GNUC__)
#define S4_INLINE static inline __attribute__((always_inline))
#define S4_NOINLINE static __attribute__((noinline))
#else
#define S4_INLINE static inline
#define S4_NOINLINE static
#endif

/* In front of a loop of four: so that arrays of four may be registers. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 8
#define S4_UNROLL_4 _Pragma("GCC unroll 4")
#else
#define S4_UNROLL_4
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The mantissa of powers of two. */
#define S4_HALF ((int32_t)1 << 30)

static inline int32_t s4_add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

static inline int32_t s4_subtract(int32_t a, int32_t b) { return (int32_t)((uint32_t)a - (uint32_t)b); }

static inline int32_t s4_multiply(int32_t a, int32_t b) { return (int32_t)((uint32_t)a * (uint32_t)b); }

static inline int32_t s4_minimum(int32_t a, int32_t b) { return a < b ? a : b; }

static inline int32_t s4_maximum(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t s4_clamp(int32_t x, int32_t low, int32_t high) { return s4_maximum(s4_minimum(x, high), low); }

/* (a * b) / 2**32, rounded, ties upwards: an instruction on cores that have it. */
static inline int32_t s4_multiply_high(int32_t a, int32_t b)
{
#if S4_DSP
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
    return high;
#elif S4_SHORT_PRODUCTS
    const uint32_t a_low = (uint32_t)a & 0xFFFFU;
    const uint32_t b_low = (uint32_t)b & 0xFFFFU;
    const int32_t a_high = a >> 16;
    const int32_t b_high = b >> 16;
    const int32_t crossed = (int32_t)(a_low * (uint32_t)b_high);
    const int32_t rest = (int32_t)((uint32_t)a_high * b_low + ((a_low * b_low) >> 16));
    const int32_t carry = ((crossed & 0xFFFF) + (rest & 0xFFFF) + 0x8000) >> 16;
    return a_high * b_high + (crossed >> 16) + (rest >> 16) + carry;
#else
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
#endif
}

/* s4_multiply_high(a, b) + c: an instruction as well. */
static inline int32_t s4_multiply_high_add(int32_t a, int32_t b, int32_t c)
{
#if S4_DSP
    int32_t high;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(high) : "r"(a), "r"(b), "r"(c));
    return high;
#else
    return s4_multiply_high(a, b) + c;
#endif
}

/* x / 2**shift, rounded to the nearest, ties away from zero; 0 <= shift <= 31. */
static inline int32_t s4_shift_rounded(int32_t x, uint32_t shift)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << shift) - 1U);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> shift) + ((x & mask) > threshold ? 1 : 0);
}

/* x * mantissa * 2**(shift - 31), rounded twice: to 31 bits (ties upwards), then by the shift (ties away from zero). */
static inline int32_t s4_scale(int32_t x, int32_t mantissa, int32_t shift)
{
    const int32_t shifted = shift > 0 ? (int32_t)((uint32_t)x << (uint32_t)shift) : x;
    const int32_t high = mantissa == S4_HALF ? (shifted >> 1) + (shifted & 1)
                                             : (int32_t)(((int64_t)shifted * mantissa + S4_HALF) >> 31);
    return shift < 0 ? s4_shift_rounded(high, (uint32_t)(-shift)) : high;
}

/* s4_scale(x, mantissa, -right) for right >= 1 and |x| < 2**30. */
static inline int32_t s4_scale_down(int32_t x, int32_t mantissa, uint32_t right)
{
    /* A product that rounds to 0 is 0 after the shift, whatever the sign of x adds. */
    return s4_multiply_high_add(2 * x, mantissa, ((int32_t)1 << (right - 1U)) + (x >> 31)) >> right;
}

/* What s4_multiply_high_add adds, besides the sign, before a shift to the right by 1 to 21 bits; and a zero point. */
static inline int32_t s4_rounding(uint32_t right, int32_t zero_point)
{
    return ((int32_t)1 << (right - 1U)) + zero_point * ((int32_t)1 << right);
}

/* s4_scale(x, S4_HALF, 1 - right) for right >= 2 and |x| < 2**31 - 2**right. */
static inline int32_t s4_halve(int32_t x, uint32_t right)
{
    return (x + ((int32_t)1 << (right - 1U)) + 1 + 2 * (x >> 31)) >> right;
}

/* x * mantissa / 2**shift with a mantissa of 15 bits, rounded once (ties upwards); shift >= 1, |x| < 2**47. */
static inline int32_t s4_scale_once(int64_t x, int32_t mantissa, uint32_t shift)
{
    return (int32_t)((x * mantissa + ((int64_t)1 << (shift - 1U))) >> shift);
}

/* Saturation to signed integers of so many bits: an instruction on cores that have it. */
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
#define S4_SATURATE(name, bits)                                            \
    static inline int32_t name(int32_t x)                                  \
    {                                                                      \
        int32_t saturated;                                                 \
        __asm__("ssat %0, #" #bits ", %1" : "=r"(saturated) : "r"(x));     \
        return saturated;                                                  \
    }
#else
#define S4_SATURATE(name, bits)                                                                                  \
    static inline int32_t name(int32_t x)                                                                        \
    {                                                                                                            \
        return s4_clamp(x, -((int32_t)1 << ((bits) - 1)), (int32_t)((UINT32_C(1) << ((bits) - 1)) - UINT32_C(1))); \
    }
#endif

S4_SATURATE(s4_saturate_8, 8)
S4_SATURATE(s4_saturate_16, 16)
S4_SATURATE(s4_saturate_31, 31)

static inline int16_t s4_to_int16(int32_t x) { return (int16_t)s4_saturate_16(x); }

/* |x| < 2**31 - 2**8. */
static inline int8_t s4_to_int8_near(int32_t x, int32_t zero_point) { return (int8_t)s4_saturate_8(x + zero_point); }

static inline int8_t s4_to_int8(int32_t x, int32_t zero_point)
{
    return (int8_t)s4_saturate_8(s4_saturate_16(x) + zero_point);
}

#ifdef __cplusplus
}
#endif

#endif
