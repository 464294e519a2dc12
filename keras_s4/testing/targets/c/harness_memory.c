/* What the main functions of complete images compare and copy with, whose size must not count as the model's. */
#include "firmware.h"

uint32_t differences(const void *a, const void *b, size_t size)
{
    const volatile uint8_t *first = a;
    const volatile uint8_t *second = b;
    uint32_t count = 0;
    for (size_t i = 0; i < size; ++i) {
        count += first[i] != second[i] ? 1U : 0U;
    }
    return count;
}

void copy(void *to, const void *from, size_t size)
{
    volatile uint8_t *target = to;
    const uint8_t *source = from;
    for (size_t i = 0; i < size; ++i) {
        target[i] = source[i];
    }
}
