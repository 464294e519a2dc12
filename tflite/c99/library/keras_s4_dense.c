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

S4_INLINE sums dot_int8(sums total, const int8_t *input, rows weights, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += 16U) {
        const mve_pred16_t rest = vctp8q(count - i);
        const int8x16_t x = vldrbq_z_s8(&input[i], rest);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] = vmladavaq_p_s8(total.of[r], x, vldrbq_z_s8(&weights.at[r][i], rest), rest);
        }
    }
    return total;
}

S4_INLINE sums dot_int16(sums total, const int16_t *input, rows weights, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += 8U) {
        const mve_pred16_t rest = vctp16q(count - i);
        const int16x8_t x = vldrhq_z_s16(&input[i], rest);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            total.of[r] = vmladavaq_p_s16(total.of[r], x, vldrbq_z_s16(&weights.at[r][i], rest), rest);
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

/* The group of four that begins with row `o`, or near the end the last four, some of which are computed again. */
static inline uint32_t group_at(uint32_t o, uint32_t outputs)
{
    return o + ROWS <= outputs ? o : outputs - ROWS;
}

static inline rows rows_from(const int8_t *first, uint32_t inputs)
{
    const rows weights = {{first, first + inputs, first + 2U * inputs, first + 3U * inputs}};
    return weights;
}

void s4_dense_int8(const s4_dense *layer, const int8_t *input, int8_t *output)
{
    /* Copies, as the output might be anything to a compiler. */
    const s4_dense constants = *layer;
    for (uint32_t o = 0; o < constants.outputs; o += ROWS) {
        const uint32_t first = group_at(o, constants.outputs);
        sums total;
        S4_COPY(total.of, &constants.bias[first], sizeof total.of);
        const rows weights = rows_from(constants.weights + first * constants.inputs, constants.inputs);
        total = dot_int8(total, input, weights, constants.inputs);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            const int32_t scaled = s4_scale_down(total.of[r], constants.mantissa, (uint32_t)constants.shift);
            output[first + r] = s4_to_int8_near(scaled, constants.zero_point);
        }
    }
}

void s4_dense_int16(const s4_dense *layer, const int16_t *input, int16_t *output)
{
    const s4_dense constants = *layer;
    for (uint32_t o = 0; o < constants.outputs; o += ROWS) {
        const uint32_t first = group_at(o, constants.outputs);
        sums total;
        S4_COPY(total.of, &constants.bias[first], sizeof total.of);
        const rows weights = rows_from(constants.weights + first * constants.inputs, constants.inputs);
        total = dot_int16(total, input, weights, constants.inputs);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            output[first + r] = s4_to_int16(s4_multiply_high(total.of[r], constants.mantissa));
        }
    }
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
