#include "keras_s4_dense_packed.h"

#include "keras_s4_rows.h"

/* Words of a group of rows of 4-bit weights. */
static inline uint32_t words_of_int4(uint32_t inputs) { return (inputs + 7U) / 8U * (uint32_t)ROWS; }

/* Eight inputs: as they lie, or the last few copied, with any behind them, where weights are zeros. */
static inline const int8_t *eight_of(const int8_t *input, uint32_t count, int8_t *last)
{
    if (count >= 8U) {
        return input;
    }
    for (uint32_t i = 0; i < 8U; ++i) {
        last[i] = input[i < count ? i : 0U];
    }
    return last;
}

#if S4_HELIUM

/* 16 times the products of even weights, moved up in their bytes, and of odd ones without the others below them. */
S4_INLINE int32_t add_int4(int32_t total, int8x16_t x_even, int8x16_t x_odd, uint32x4_t words)
{
    const int8x16_t w = vreinterpretq_s8_u32(words);
    total = vmladavaq_s8(total, x_even, vshlq_n_s8(w, 4));
    return vmladavaq_s8(total, x_odd, vandq_s8(w, vdupq_n_s8(-16)));
}

S4_INLINE sums dot_int4(sums start, const int8_t *input, const uint32_t *weights, uint32_t count)
{
    sums total = {{0, 0, 0, 0}};
    const uint32_t rest = count & 31U;
    const uint32x4_t apart = vshlq_n_u32(vidupq_n_u32(0U, 4), 2); /* bytes from one word of a row to its next */
    for (const int8_t *last = input + (count - rest); input != last; input += 32) {
        const int8x16x2_t x = vld2q_s8(input);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            const uint32x4_t words = vldrwq_gather_offset_u32(weights + r, apart);
            total.of[r] = add_int4(total.of[r], x.val[0], x.val[1], words);
        }
        weights += 4U * (uint32_t)ROWS;
    }
    if (rest != 0U) {
        const uint8x16_t even = vidupq_n_u8(0U, 2);
        const int8x16_t x_even = vldrbq_gather_offset_z_s8(input, even, vctp8q((rest + 1U) / 2U));
        const int8x16_t x_odd = vldrbq_gather_offset_z_s8(input + 1, even, vctp8q(rest / 2U));
        const mve_pred16_t there = vctp32q((rest + 7U) / 8U);
        S4_UNROLL_4
        for (uint32_t r = 0; r < ROWS; ++r) {
            const uint32x4_t words = vldrwq_gather_offset_z_u32(weights + r, apart, there);
            total.of[r] = add_int4(total.of[r], x_even, x_odd, words);
        }
    }
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; ++r) {
        start.of[r] += total.of[r] >> 4;
    }
    return start;
}

#elif S4_DSP

enum { MOST_PAIRS = S4_DENSE_INT4_INPUTS / 2 };

/* Eight inputs as four pairs of int16: 0 and 4, 1 and 5, 2 and 6, 3 and 7. */
static inline void put_pairs(int16x2_t *pairs, const int8_t *input)
{
    const uint32_t first = four(input);
    const uint32_t last = four(input + 4);
    const uint32_t low = (uint32_t)lower_halves(first, last);
    const uint32_t high = (uint32_t)upper_halves(first, last);
    pairs[0] = even(low);
    pairs[1] = odd(low);
    pairs[2] = even(high);
    pairs[3] = odd(high);
}

/* 4096 times the products: each weight in the highest bits of a half. */
S4_INLINE sums dot_int4(sums start, const int16x2_t *input, const int16x2_t *end, const uint32_t *weights)
{
    sums total = {{0, 0, 0, 0}};
    uint32_t tops = 0xF000F000U;
    __asm__("" : "+r"(tops)); /* in a register, so that an AND shifts as well */
    do {
        S4_UNROLL_4
        for (uint32_t k = 0; k < 4U; ++k) {
            S4_UNROLL_4
            for (uint32_t r = 0; r < ROWS; ++r) {
                total.of[r] = __smlad(input[k], (int16x2_t)((weights[r] << (12U - 4U * k)) & tops), total.of[r]);
            }
        }
        weights += ROWS;
        input += 4;
    } while (input != end);
    S4_UNROLL_4
    for (uint32_t r = 0; r < ROWS; ++r) {
        start.of[r] += total.of[r] >> 12;
    }
    return start;
}

#endif

/* The two weights of the lowest byte. */
static inline int low_of(uint32_t word) { return (int8_t)(word << 4) >> 4; }
static inline int high_of(uint32_t word) { return (int8_t)word >> 4; }

/* The product of eight inputs and weights, which fits 16 bits. */
static inline int product_of(const int8_t *input, uint32_t word)
{
    int sum = input[0] * low_of(word) + input[1] * high_of(word);
    sum += input[2] * low_of(word >> 8) + input[3] * high_of(word >> 8);
    sum += input[4] * low_of(word >> 16) + input[5] * high_of(word >> 16);
    sum += input[6] * low_of(word >> 24) + input[7] * high_of(word >> 24);
    return sum;
}

/* Sums that wrap. */
static inline sums dot_int4_any(sums total, const int8_t *input, const uint32_t *weights, uint32_t count)
{
    int8_t last[8];
    while (count != 0U) {
        const uint32_t few = count < 8U ? count : 8U;
        input = eight_of(input, few, last);
        for (uint32_t r = 0; r < (uint32_t)ROWS; ++r) {
            total.of[r] = s4_add(total.of[r], product_of(input, weights[r]));
        }
        weights += ROWS;
        input += 8;
        count -= few;
    }
    return total;
}

/* One to three of four results, without a copy of the library's for them. */
static inline void put_some(int8_t *output, const int8_t *results, uint32_t count)
{
    output[0] = results[0];
    if (count > 1U) {
        output[1] = results[1];
    }
    if (count > 2U) {
        output[2] = results[2];
    }
}

void s4_dense_int4(const s4_dense_packed *layer, const int8_t *input, int8_t *output)
{
    const uint32_t inputs = layer->inputs;
    const uint32_t *weights = layer->weights;
    const int32_t *bias = layer->bias;
#if S4_DSP && !S4_HELIUM
    int16x2_t pairs[MOST_PAIRS];
    int16x2_t *end = pairs;
    int8_t last[8];
    for (uint32_t i = 0; i < inputs; i += 8U) {
        put_pairs(end, eight_of(input + i, inputs - i, last));
        end += 4;
    }
#endif
    for (uint32_t left = layer->outputs; left != 0U;) {
#if S4_HELIUM
        const sums total = dot_int4(sums_from(bias), input, weights, inputs);
#elif S4_DSP
        const sums total = dot_int4(sums_from(bias), pairs, end, weights);
#else
        const sums total = dot_int4_any(sums_from(bias), input, weights, inputs);
#endif
        int8_t some[ROWS];
        int8_t *to = left < (uint32_t)ROWS ? some : output;
        put_int8(total, layer->mantissa, layer->shift, layer->zero_point, to);
        if (left < (uint32_t)ROWS) {
            put_some(output, some, left);
            break;
        }
        output += ROWS;
        left -= (uint32_t)ROWS;
        bias += ROWS;
        weights += words_of_int4(inputs);
    }
}

void s4_dense_int4_any(const s4_dense_packed *layer, const int8_t *input, int8_t *output)
{
    const uint32_t *weights = layer->weights;
    for (uint32_t o = 0; o < layer->outputs; o += (uint32_t)ROWS) {
        const sums total = dot_int4_any(sums_from(layer->bias + o), input, weights, layer->inputs);
        for (uint32_t r = 0; r < (uint32_t)ROWS && o + r < layer->outputs; ++r) {
            output[o + r] = s4_to_int8(s4_scale(total.of[r], layer->mantissa, layer->shift), layer->zero_point);
        }
        weights += words_of_int4(layer->inputs);
    }
}
