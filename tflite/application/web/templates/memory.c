/* What the generated C asks of string.h, for a page that has no C library. */
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *restrict target = to;
    const unsigned char *restrict source = from;
    for (; size != 0U; --size) {
        *target++ = *source++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    if (target <= source) {
        return memcpy(to, from, size);
    }
    while (size != 0U) {
        --size;
        target[size] = source[size];
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    unsigned char *target = to;
    for (; size != 0U; --size) {
        *target++ = (unsigned char)value;
    }
    return to;
}
