#include "keras_s4_normalize.h"

#include "keras_s4_arithmetic.h"

int32_t s4_reciprocal_root(const s4_normalize *layer, const int16_t *input)
{
    int64_t energy = 0;
    for (uint32_t i = 0; i < layer->size; ++i) {
        energy += (int32_t)input[i] * input[i];
    }
    const int32_t coarse = s4_to_int16(s4_scale_once(energy, layer->coarse_mantissa, layer->coarse_shift));
    const int32_t fine = s4_to_int16(s4_scale_once(energy, layer->fine_mantissa, layer->fine_shift));
    int32_t sum = layer->bias;
    for (uint32_t j = 0; j < layer->ranges; ++j) {
        const int32_t total = s4_add(s4_multiply(coarse, layer->coarse_gain[j]),
                                     s4_multiply(fine, layer->fine_gain[j]));
        const int32_t scaled = s4_scale(total, layer->level_mantissa, layer->level_shift);
        const int32_t level = s4_to_int8(scaled, layer->level_zero_point);
        sum += (int32_t)layer->table[256 * (int32_t)j + level + 128] * layer->weights[j];
    }
    return s4_to_int16(s4_scale_once(sum, layer->root_mantissa, layer->root_shift)) + ((int32_t)1 << 15);
}
