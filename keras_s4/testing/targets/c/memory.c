/* string.h for compilers that come without a C library: word by word where both ends are aligned. */
#include <stdint.h>
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *restrict target = to;
    const unsigned char *restrict source = from;
    if ((((uintptr_t)target | (uintptr_t)source) & 3U) == 0U) {
        for (; size >= 4U; size -= 4U) {
            *(uint32_t *)(void *)target = *(const uint32_t *)(const void *)source;
            target += 4;
            source += 4;
        }
    }
    for (; size != 0U; --size) {
        *target++ = *source++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    if ((uintptr_t)target <= (uintptr_t)source) {
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
