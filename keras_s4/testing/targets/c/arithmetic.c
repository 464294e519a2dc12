/* 64-bit arithmetic for cores without instructions for it, where no library of the compiler is linked. */
#include <stdint.h>

int64_t __aeabi_lmul(int64_t a, int64_t b);
int64_t __aeabi_llsl(int64_t x, int shift);
int64_t __aeabi_llsr(int64_t x, int shift);
int64_t __aeabi_lasr(int64_t x, int shift);

/* The words of a 64-bit integer, so that no shift of 64 bits is compiled into a call of these functions. */
typedef union {
    int64_t whole;
    struct {
        uint32_t low;
        uint32_t high;
    } word;
} words;

int64_t __aeabi_lmul(int64_t a, int64_t b)
{
    const words x = {.whole = a};
    const words y = {.whole = b};
    const uint32_t x0 = x.word.low & 0xFFFFU;
    const uint32_t x1 = x.word.low >> 16;
    const uint32_t y0 = y.word.low & 0xFFFFU;
    const uint32_t y1 = y.word.low >> 16;
    uint32_t middle = x1 * y0 + ((x0 * y0) >> 16);
    __asm__("" : "+r"(middle)); /* or Clang sees what this computes, and calls this function for it */
    const uint32_t crossed = x0 * y1 + (middle & 0xFFFFU);
    words product;
    product.word.low = x.word.low * y.word.low;
    product.word.high = x1 * y1 + (middle >> 16) + (crossed >> 16) + x.word.low * y.word.high + x.word.high * y.word.low;
    return product.whole;
}

int64_t __aeabi_llsl(int64_t x, int shift)
{
    const words from = {.whole = x};
    const uint32_t by = (uint32_t)shift & 31U;
    words to;
    to.word.low = shift >= 32 ? 0U : from.word.low << by;
    to.word.high = shift >= 32 ? from.word.low << by : from.word.high << by;
    if (shift < 32 && by != 0U) {
        to.word.high |= from.word.low >> (32U - by);
    }
    return to.whole;
}

int64_t __aeabi_llsr(int64_t x, int shift)
{
    const words from = {.whole = x};
    const uint32_t by = (uint32_t)shift & 31U;
    words to;
    to.word.high = shift >= 32 ? 0U : from.word.high >> by;
    to.word.low = shift >= 32 ? from.word.high >> by : from.word.low >> by;
    if (shift < 32 && by != 0U) {
        to.word.low |= from.word.high << (32U - by);
    }
    return to.whole;
}

int64_t __aeabi_lasr(int64_t x, int shift)
{
    const words from = {.whole = x};
    const uint32_t by = (uint32_t)shift & 31U;
    const int32_t high = (int32_t)from.word.high;
    words to;
    to.word.high = (uint32_t)(shift >= 32 ? high >> 31 : high >> by);
    to.word.low = shift >= 32 ? (uint32_t)(high >> by) : from.word.low >> by;
    if (shift < 32 && by != 0U) {
        to.word.low |= from.word.high << (32U - by);
    }
    return to.whole;
}
