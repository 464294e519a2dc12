#include "keras_s4_dense.h"

#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif

#include "keras_s4_arithmetic.h"

/*
 * Two rows at once: they share the loads of the input. In an odd number of rows the last is taken twice, and the second
 * result of it is not stored.
 */
typedef struct {
    int32_t first;
    int32_t second;
} sums;

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#include <arm_mve.h>

static inline sums dot_int8(const int8_t *input, const int8_t *first, const int8_t *second, uint32_t count)
{
    sums total = {0, 0};
    for (uint32_t i = 0; i < count; i += 16U) {
        const mve_pred16_t rest = vctp8q(count - i);
        const int8x16_t x = vldrbq_z_s8(&input[i], rest);
        total.first = vmladavaq_p_s8(total.first, x, vldrbq_z_s8(&first[i], rest), rest);
        total.second = vmladavaq_p_s8(total.second, x, vldrbq_z_s8(&second[i], rest), rest);
    }
    return total;
}

static inline sums dot_int16(const int16_t *input, const int8_t *first, const int8_t *second, uint32_t count)
{
    sums total = {0, 0};
    for (uint32_t i = 0; i < count; i += 8U) {
        const mve_pred16_t rest = vctp16q(count - i);
        const int16x8_t x = vldrhq_z_s16(&input[i], rest);
        total.first = vmladavaq_p_s16(total.first, x, vldrbq_z_s16(&first[i], rest), rest);
        total.second = vmladavaq_p_s16(total.second, x, vldrbq_z_s16(&second[i], rest), rest);
    }
    return total;
}

#else

#if defined(__ARM_FEATURE_DSP)

/* Four bytes, wherever they lie. With -ffreestanding, memcpy would be a call; the built-in one is a load. */
static inline int8x4_t four(const int8_t *from)
{
    int8x4_t values;
    (void)__builtin_memcpy(&values, from, sizeof values);
    return values;
}

/* Values 0 and 2 of four, widened to int16; and values 1 and 3. */
static inline int16x2_t even(int8x4_t values) { return __sxtb16(values); }

static inline int16x2_t odd(int8x4_t values)
{
    return __sxtb16((int8x4_t)(((uint32_t)values >> 8) | ((uint32_t)values << 24)));
}

#endif

static inline sums dot_int8(const int8_t *input, const int8_t *first, const int8_t *second, uint32_t count)
{
    sums total = {0, 0};
    uint32_t i = 0;
#if defined(__ARM_FEATURE_DSP)
    for (; i + 4U <= count; i += 4U) {
        const int8x4_t x = four(&input[i]);
        const int8x4_t a = four(&first[i]);
        const int8x4_t b = four(&second[i]);
        const int16x2_t x_even = even(x);
        const int16x2_t x_odd = odd(x);
        total.first = __smlad(x_odd, odd(a), __smlad(x_even, even(a), total.first));
        total.second = __smlad(x_odd, odd(b), __smlad(x_even, even(b), total.second));
    }
#endif
    for (; i < count; ++i) {
        total.first = s4_add(total.first, input[i] * first[i]);
        total.second = s4_add(total.second, input[i] * second[i]);
    }
    return total;
}

static inline sums dot_int16(const int16_t *input, const int8_t *first, const int8_t *second, uint32_t count)
{
    sums total = {0, 0};
    uint32_t i = 0;
#if defined(__ARM_FEATURE_DSP)
    for (; i + 4U <= count; i += 4U) {
        uint32_t x[2];
        (void)__builtin_memcpy(x, &input[i], sizeof x);
        const int8x4_t a = four(&first[i]);
        const int8x4_t b = four(&second[i]);
        const int16x2_t x_even = (int16x2_t)((x[0] & 0xFFFFU) | (x[1] << 16));
        const int16x2_t x_odd = (int16x2_t)((x[0] >> 16) | (x[1] & 0xFFFF0000U));
        total.first = __smlad(x_odd, odd(a), __smlad(x_even, even(a), total.first));
        total.second = __smlad(x_odd, odd(b), __smlad(x_even, even(b), total.second));
    }
#endif
    for (; i < count; ++i) {
        total.first = s4_add(total.first, input[i] * first[i]);
        total.second = s4_add(total.second, input[i] * second[i]);
    }
    return total;
}

#endif

void s4_dense_int8(const s4_dense *layer, const int8_t *input, int8_t *output)
{
    const uint32_t inputs = layer->inputs;
    const uint32_t outputs = layer->outputs;
    const int8_t *row = layer->weights;
    for (uint32_t o = 0; o < outputs; o += 2U) {
        const int8_t *next = o + 1U < outputs ? row + inputs : row;
        const sums total = dot_int8(input, row, next, inputs);
        const int32_t first = s4_scale(s4_add(total.first, layer->bias[o]), layer->mantissa, layer->shift);
        output[o] = s4_to_int8(first, layer->zero_point);
        if (next != row) {
            const int32_t second = s4_scale(s4_add(total.second, layer->bias[o + 1U]), layer->mantissa, layer->shift);
            output[o + 1U] = s4_to_int8(second, layer->zero_point);
        }
        row = next + inputs;
    }
}

void s4_dense_int16(const s4_dense *layer, const int16_t *input, int16_t *output)
{
    const uint32_t inputs = layer->inputs;
    const uint32_t outputs = layer->outputs;
    const uint32_t shift = (uint32_t)layer->shift;
    const int8_t *row = layer->weights;
    for (uint32_t o = 0; o < outputs; o += 2U) {
        const int8_t *next = o + 1U < outputs ? row + inputs : row;
        const sums total = dot_int16(input, row, next, inputs);
        output[o] = s4_to_int16(s4_scale_once(s4_add(total.first, layer->bias[o]), layer->mantissa, shift));
        if (next != row) {
            const int32_t second = s4_add(total.second, layer->bias[o + 1U]);
            output[o + 1U] = s4_to_int16(s4_scale_once(second, layer->mantissa, shift));
        }
        row = next + inputs;
    }
}

void s4_dense_int16_long(const s4_dense *layer, const int16_t *input, int16_t *output)
{
    const int8_t *row = layer->weights;
    for (uint32_t o = 0; o < layer->outputs; ++o) {
        int64_t total = layer->bias[o];
        for (uint32_t i = 0; i < layer->inputs; ++i) {
            total += input[i] * row[i];
        }
        output[o] = s4_to_int16(s4_scale_once(total, layer->mantissa, (uint32_t)layer->shift));
        row += layer->inputs;
    }
}
