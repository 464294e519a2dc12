#include "keras_s4_depthwise.h"

#include "keras_s4_arithmetic.h"

void s4_depthwise_product(const s4_depthwise *layer, const int16_t *input, int16_t *output)
{
    const uint32_t size = (uint32_t)layer->channels * layer->multiplier;
    uint32_t channel = 0;
    uint32_t same = layer->multiplier;
    for (uint32_t o = 0; o < size; ++o) {
        int64_t sum = layer->bias[o];
        for (uint32_t tap = 0; tap < layer->taps; ++tap) {
            sum += (int32_t)input[tap * layer->channels + channel] * layer->weights[tap * size + o];
        }
        output[o] = s4_to_int16(s4_scale_once(sum, layer->mantissas[o], layer->shifts[o]));
        --same;
        if (same == 0U) {
            same = layer->multiplier;
            ++channel;
        }
    }
}
