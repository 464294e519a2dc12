#include "keras_s4_dense.h"

/* Before it assigns registers GCC moves loads to where there are too few of them: a tenth more instructions. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_DSP)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "keras_s4_arithmetic.h"

/* The sums of four rows, which share the loads of the input. */
enum { ROWS = 4 };

typedef struct {
    int32_t of[ROWS];
} sums;

/* Where four rows go on. */
typedef struct {
    const int8_t *at[ROWS];
} rows;

#if S4_HELIUM
#include <arm_mve.h>

/* Whole vectors without predicates, which compilers are slow with. */
S4_INLINE sums dot_int8(sums total, const int8_t *input, rows weights, uint32_t count)
{
    const uint32_t rest = count & 15U;
    for (const int8_t *last = input + (count - rest); input != last; input += 16) {
        const int8x16_t x = vldrbq_s8(input);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] = vmladavaq_s8(total.of[r], x, vldrbq_s8(weights.at[r]));
            weights.at[r] += 16;
        }
    }
    if (rest != 0U) {
        const mve_pred16_t there = vctp8q(rest);
        const int8x16_t x = vldrbq_z_s8(input, there);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] = vmladavaq_s8(total.of[r], x, vldrbq_z_s8(weights.at[r], there));
        }
    }
    return total;
}

S4_INLINE sums dot_int16(sums total, const int16_t *input, rows weights, uint32_t count)
{
    const uint32_t rest = count & 7U;
    for (const int16_t *last = input + (count - rest); input != last; input += 8) {
        const int16x8_t x = vldrhq_s16(input);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] = vmladavaq_s16(total.of[r], x, vldrbq_s16(weights.at[r]));
            weights.at[r] += 8;
        }
    }
    if (rest != 0U) {
        const mve_pred16_t there = vctp16q(rest);
        const int16x8_t x = vldrhq_z_s16(input, there);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] = vmladavaq_s16(total.of[r], x, vldrbq_z_s16(weights.at[r], there));
        }
    }
    return total;
}

#else

#if S4_DSP
#include <arm_acle.h>

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

/* Four products for each row. */
S4_INLINE void add_four(sums *total, int16x2_t x_even, int16x2_t x_odd, rows *weights)
{
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; ++r) {
        const uint32_t w = four(weights->at[r]);
        weights->at[r] += 4;
        total->of[r] = __smlad(x_odd, odd(w), __smlad(x_even, even(w), total->of[r]));
    }
}

#endif

S4_INLINE sums dot_int8(sums total, const int8_t *input, rows weights, uint32_t count)
{
    const int8_t *end = input + count;
#if S4_DSP
    for (const int8_t *fours = input + (count & ~UINT32_C(3)); input != fours; input += 4) {
        const uint32_t x = four(input);
        add_four(&total, even(x), odd(x), &weights);
    }
#endif
    for (; input != end; ++input) {
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] += (int32_t)*input * *weights.at[r]++;
        }
    }
    return total;
}

S4_INLINE sums dot_int16(sums total, const int16_t *input, rows weights, uint32_t count)
{
    const int16_t *end = input + count;
#if S4_DSP
    for (const int16_t *fours = input + (count & ~UINT32_C(3)); input != fours; input += 4) {
        uint32_t x[2];
        S4_COPY(x, input, sizeof x);
        const int16x2_t x_even = (int16x2_t)((x[0] & 0xFFFFU) | (x[1] << 16));
        const int16x2_t x_odd = (int16x2_t)((x[0] >> 16) | (x[1] & 0xFFFF0000U));
        add_four(&total, x_even, x_odd, &weights);
    }
#endif
    for (; input != end; ++input) {
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] += (int32_t)*input * *weights.at[r]++;
        }
    }
    return total;
}

#endif

static inline rows rows_from(const int8_t *first, uint32_t inputs)
{
    const rows weights = {{first, first + inputs, first + 2U * inputs, first + 3U * inputs}};
    return weights;
}

#if S4_HELIUM

static inline int32x4_t vector_of(sums total)
{
    int32x4_t values;
    __asm__("vmov %q0[2], %q0[0], %1, %2\n\tvmov %q0[3], %q0[1], %3, %4"
            : "=&w"(values)
            : "r"(total.of[0]), "r"(total.of[2]), "r"(total.of[1]), "r"(total.of[3]));
    return values;
}

/* Four results, by s4_scale_down. */
S4_INLINE void put_int8(sums total, const s4_dense *layer, int8_t *output)
{
    int32x4_t values = vqrdmulhq_n_s32(vector_of(total), layer->mantissa);
    values = vrshlq_n_s32(vaddq_s32(values, vshrq_n_s32(values, 31)), -layer->shift);
    values = vaddq_n_s32(values, layer->zero_point);
    const int16x8_t halves = vqmovnbq_s32(vdupq_n_s16(0), values);
    vstrbq_s32(output, vreinterpretq_s32_s8(vqmovnbq_s16(vdupq_n_s8(0), halves)));
}

/* Four results, by s4_multiply_high. */
S4_INLINE void put_int16(sums total, const s4_dense *layer, int16_t *output)
{
    const int32x4_t values = vrmulhq_s32(vector_of(total), vdupq_n_s32(layer->mantissa));
    vstrhq_s32(output, vreinterpretq_s32_s16(vqmovnbq_s32(vdupq_n_s16(0), values)));
}

#else

S4_INLINE void put_int8(sums total, const s4_dense *layer, int8_t *output)
{
    const int32_t mantissa = layer->mantissa;
    const uint32_t shift = (uint32_t)layer->shift;
    const int32_t rounding = s4_rounding(shift, layer->zero_point);
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; ++r) {
        const int32_t x = total.of[r];
        output[r] = (int8_t)s4_saturate_8(s4_multiply_high_add(2 * x, mantissa, rounding + (x >> 31)) >> shift);
    }
}

S4_INLINE void put_int16(sums total, const s4_dense *layer, int16_t *output)
{
    const int32_t mantissa = layer->mantissa;
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; ++r) {
        output[r] = s4_to_int16(s4_multiply_high(total.of[r], mantissa));
    }
}

#endif

/* Where the outputs of a layer go on, four at a time; and how many outputs behind the last group that is. */
typedef struct {
    const int8_t *row;
    const int32_t *bias;
    uint32_t left;
    uint32_t moved;
} groups;

static inline groups groups_of(const s4_dense *layer)
{
    const groups first = {layer->weights, layer->bias, layer->outputs, 0U};
    return first;
}

/* To the next group, which ends with the last output, whatever it repeats; behind that one it is there already. */
static inline void next_group(groups *at, uint32_t inputs)
{
    const uint32_t rest = at->left - (uint32_t)ROWS;
    at->moved = rest < (uint32_t)ROWS ? rest : (uint32_t)ROWS;
    at->row += at->moved * inputs;
    at->bias += at->moved;
    at->left -= at->moved;
}

static inline sums sums_from(const int32_t *bias)
{
    const sums total = {{bias[0], bias[1], bias[2], bias[3]}};
    return total;
}

void s4_dense_int8(const s4_dense *layer, const int8_t *input, int8_t *output)
{
    const uint32_t inputs = layer->inputs;
    groups at = groups_of(layer);
    do {
        put_int8(dot_int8(sums_from(at.bias), input, rows_from(at.row, inputs), inputs), layer, output);
        next_group(&at, inputs);
        output += at.moved;
    } while (at.moved != 0U);
}

void s4_dense_int16(const s4_dense *layer, const int16_t *input, int16_t *output)
{
    const uint32_t inputs = layer->inputs;
    groups at = groups_of(layer);
    do {
        put_int16(dot_int16(sums_from(at.bias), input, rows_from(at.row, inputs), inputs), layer, output);
        next_group(&at, inputs);
        output += at.moved;
    } while (at.moved != 0U);
}

void s4_dense_int8_any(const s4_dense *layer, const int8_t *input, int8_t *output)
{
    const int8_t *row = layer->weights;
    for (uint32_t o = 0; o < layer->outputs; ++o) {
        int32_t total = layer->bias[o];
        for (uint32_t i = 0; i < layer->inputs; ++i) {
            total = s4_add(total, (int32_t)input[i] * row[i]);
        }
        output[o] = s4_to_int8(s4_scale(total, layer->mantissa, layer->shift), layer->zero_point);
        row += layer->inputs;
    }
}

void s4_dense_int16_any(const s4_dense *layer, const int16_t *input, int16_t *output)
{
    const int8_t *row = layer->weights;
    for (uint32_t o = 0; o < layer->outputs; ++o) {
        int64_t total = layer->bias[o];
        for (uint32_t i = 0; i < layer->inputs; ++i) {
            total += (int32_t)input[i] * row[i];
        }
        output[o] = s4_to_int16(s4_scale_once(total, layer->mantissa, (uint32_t)layer->shift));
        row += layer->inputs;
    }
}
