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

/* Four results, by s4_scale_down with a shift to the right. */
S4_INLINE void put_int8(sums total, int32_t mantissa, int32_t right, int32_t zero_point, int8_t *output)
{
    int32x4_t values = vqrdmulhq_n_s32(vector_of(total), mantissa);
    values = vrshlq_n_s32(vaddq_s32(values, vshrq_n_s32(values, 31)), -right);
    values = vaddq_n_s32(values, zero_point);
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
        const sums total = dot_int8(sums_from(at.bias), input, rows_from(at.row, inputs), inputs);
        put_int8(total, layer->mantissa, layer->shift, layer->zero_point, output);
        next_group(&at, inputs);
        output += at.moved;
    } while (at.moved != 0U);
}

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
    uint32_t half[2];
    S4_COPY(half, input, sizeof half);
    const uint32_t first = (half[0] & 0xFFFFU) | (half[1] << 16);
    const uint32_t last = (half[0] >> 16) | (half[1] & 0xFFFF0000U);
    pairs[0] = even(first);
    pairs[1] = odd(first);
    pairs[2] = even(last);
    pairs[3] = odd(last);
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
