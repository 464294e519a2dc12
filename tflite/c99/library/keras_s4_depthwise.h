/* Each channel's inputs of a few steps times weights of its own. */
#ifndef KERAS_S4_DEPTHWISE_H
#define KERAS_S4_DEPTHWISE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const int8_t *weights;    /* [taps][channels * multiplier] */
    const int32_t *bias;      /* [channels * multiplier] */
    const int16_t *mantissas; /* [channels * multiplier], as for s4_scale_once */
    const uint8_t *shifts;    /* the same */
    uint16_t taps;
    uint16_t channels;
    uint16_t multiplier; /* outputs of a channel */
} s4_depthwise;

/* From [taps][channels] to [channels * multiplier]. */
void s4_depthwise_product(const s4_depthwise *layer, const int16_t *input, int16_t *output);

#ifdef __cplusplus
}
#endif

#endif
