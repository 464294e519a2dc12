#include "keras_s4_gates.h"

#include "keras_s4_arithmetic.h"

/* The table between its entries, at `place` in units of 2**-bits entries, times 2**bits; `beyond` behind its end. */
static int32_t between(const uint16_t *table, int32_t place, uint32_t bits, int32_t beyond)
{
    const int32_t index = place >> bits;
    if (index >= 255) {
        return beyond;
    }
    const int32_t fraction = place & (int32_t)((UINT32_C(1) << bits) - 1U);
    return (int32_t)((uint32_t)table[index] << bits) + fraction * ((int32_t)table[index + 1] - (int32_t)table[index]);
}

static int32_t magnitude(int32_t x) { return x < 0 ? -x : x; }

void s4_sigmoid(const uint16_t *table, int32_t factor, const int16_t *input, int16_t *output, uint32_t count)
{
    for (uint32_t i = 0; i < count; ++i) {
        const int32_t place = input[i] * factor;
        const int32_t value = between(table, magnitude(place), 9U, (int32_t)0x7FFF << 10);
        output[i] = (int16_t)((place >= 0 ? value + 512 : ((int32_t)1 << 25) - value + 511) >> 10);
    }
}

void s4_tanh(const uint16_t *table, int32_t factor, const int16_t *input, int16_t *output, uint32_t count)
{
    for (uint32_t i = 0; i < count; ++i) {
        const int32_t place = input[i] * factor;
        const int32_t value = between(table, magnitude(place), 8U, (int32_t)0xFFFF << 8) - ((int32_t)1 << 23);
        output[i] = (int16_t)((place >= 0 ? value + 128 : -value + 127) >> 8);
    }
}

void s4_interpolate(const s4_lines *lines, const int16_t *input, int16_t *output, uint32_t count)
{
    for (uint32_t i = 0; i < count; ++i) {
        const int32_t x = input[i];
        const int32_t row = (x + ((int32_t)1 << 15)) >> lines->row_shift;
        const int32_t value = x * lines->slope[row] + lines->offset[row] * lines->offset_gain;
        output[i] = s4_to_int16(s4_scale_once(value, lines->mantissa, lines->shift));
    }
}
