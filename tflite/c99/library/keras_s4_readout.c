#include "keras_s4_readout.h"

#include "keras_s4_arithmetic.h"

#if S4_HELIUM
#include <arm_mve.h>

/* Four channels from `first` on, or as many as there are, in 32 bits. */
S4_INLINE int32x4_t read_out_four(const s4_readout *layer, const int32_t *sums, const int16_t *input, uint32_t first,
                                  mve_pred16_t there)
{
    const int32x4_t sum = vshlq_r_s32(vldrwq_z_s32(&sums[first], there), layer->left);
    const int32x4_t read = vrmulhq_s32(sum, vldrwq_z_s32(&layer->partial_mantissas[first], there));
    const int32x4_t partial = vmovlbq_s16(vqmovnbq_s32(vdupq_n_s16(0), read));
    const int32x4_t u = vldrhq_z_s32(&input[first], there);
    const int32x4_t direct = vmulq_s32(u, vldrhq_z_s32(&layer->feedthrough[first], there));
    const int32x4_t value = vmlaq_n_s32(direct, partial, layer->gain);
    const int32x4_t high = vqrdmulhq_n_s32(value, layer->mantissa);
    return vrshlq_n_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), -(int32_t)layer->right);
}

void s4_read_out_int8(const s4_readout *layer, const int32_t *sums, const int16_t *input, int32_t zero_point,
                      const int8_t *table, int8_t *output)
{
    const uint32_t channels = layer->channels;
    for (uint32_t i = 0; i < channels; i += 4U) {
        const mve_pred16_t there = vctp32q(channels - i);
        const int32x4_t value = vaddq_n_s32(read_out_four(layer, sums, input, i, there), zero_point);
        const int16x8_t halves = vqmovnbq_s32(vdupq_n_s16(0), value);
        const int32x4_t entry = vmovlbq_s16(vmovlbq_s8(vqmovnbq_s16(vdupq_n_s8(0), halves)));
        const uint32x4_t place = vreinterpretq_u32_s32(vaddq_n_s32(entry, 128));
        vstrbq_p_s32(&output[i], vldrbq_gather_offset_z_s32(table, place, there), there);
    }
}

void s4_read_out_int16(const s4_readout *layer, const int32_t *sums, const int16_t *input, int16_t *output)
{
    const uint32_t channels = layer->channels;
    for (uint32_t i = 0; i < channels; i += 4U) {
        const mve_pred16_t there = vctp32q(channels - i);
        const int16x8_t halves = vqmovnbq_s32(vdupq_n_s16(0), read_out_four(layer, sums, input, i, there));
        vstrhq_p_s32(&output[i], vreinterpretq_s32_s16(halves), there);
    }
}

#else

/* What a channel gives. */
S4_INLINE int32_t read_out(const s4_readout *layer, const int32_t *sums, const int16_t *input, uint32_t channel,
                           int32_t rounding)
{
    const int32_t sum = (int32_t)((uint32_t)sums[channel] << layer->left);
    const int32_t partial = s4_saturate_16(s4_multiply_high(sum, layer->partial_mantissas[channel]));
    const int32_t value = (int32_t)input[channel] * layer->feedthrough[channel] + partial * layer->gain;
    return s4_multiply_high_add(2 * value, layer->mantissa, rounding + (value >> 31)) >> layer->right;
}

void s4_read_out_int8(const s4_readout *layer, const int32_t *sums, const int16_t *input, int32_t zero_point,
                      const int8_t *table, int8_t *output)
{
    const s4_readout constants = *layer;
    const int32_t rounding = s4_rounding(constants.right, zero_point);
    for (uint32_t i = 0; i < constants.channels; ++i) {
        output[i] = table[s4_saturate_8(read_out(&constants, sums, input, i, rounding)) + 128];
    }
}

void s4_read_out_int16(const s4_readout *layer, const int32_t *sums, const int16_t *input, int16_t *output)
{
    const s4_readout constants = *layer;
    const int32_t rounding = s4_rounding(constants.right, 0);
    for (uint32_t i = 0; i < constants.channels; ++i) {
        output[i] = s4_to_int16(read_out(&constants, sums, input, i, rounding));
    }
}

#endif
