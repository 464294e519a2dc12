#include "keras_s4_dense.h"

#include "keras_s4_rows.h"

/* Where four rows go on. */
typedef struct {
    const int8_t *at[ROWS];
} rows;

#if S4_HELIUM

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

/* Two numbers of 16 bits. */
static inline uint32_t two(const int16_t *from)
{
    uint32_t values;
    S4_COPY(&values, from, sizeof values);
    return values;
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
        const uint32_t first = two(input);
        const uint32_t last = two(input + 2);
        const int16x2_t x_even = lower_halves(first, last);
        const int16x2_t x_odd = upper_halves(first, last);
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

/* Four results, by s4_multiply_high. */
S4_INLINE void put_int16(sums total, const s4_dense *layer, int16_t *output)
{
    const int32x4_t values = vrmulhq_s32(vector_of(total), vdupq_n_s32(layer->mantissa));
    vstrhq_s32(output, vreinterpretq_s32_s16(vqmovnbq_s32(vdupq_n_s16(0), values)));
}

#else

S4_INLINE void put_int16(sums total, const s4_dense *layer, int16_t *output)
{
    const int32_t mantissa = layer->mantissa;
#if S4_DSP
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; r += 2U) {
        const int32_t low = s4_saturate_16(s4_multiply_high(total.of[r], mantissa));
        const int32_t high = s4_saturate_16(s4_multiply_high(total.of[r + 1U], mantissa));
        const int16x2_t both = lower_halves((uint32_t)low, (uint32_t)high);
        S4_COPY(output + r, &both, sizeof both);
    }
#else
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; ++r) {
        output[r] = s4_to_int16(s4_multiply_high(total.of[r], mantissa));
    }
#endif
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

void s4_dense_int8(const s4_dense *layer, const int8_t *input, int8_t *output)
{
    const uint32_t inputs = layer->inputs;
    groups at = groups_of(layer);
    do {
        const sums total = dot_int8(sums_from(at.bias), input, rows_from(at.row, inputs), inputs);
        put_int8(total, layer->mantissa, layer->shift, layer->zero_point, output);
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
