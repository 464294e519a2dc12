/* What a complete firmware image of the tests has besides the model. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

/* A clock; a tick is as long as some instructions (see ticks_of_calibration). */
#if defined(__riscv)
static inline uint32_t executed_instructions(void)
{
    uint32_t count;
    __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrr %0, minstret\n\t.option pop" : "=r"(count));
    return count;
}
#define TICKS executed_instructions()
#define PASSED(before, after) ((after) - (before))
#else
/* It counts down 24 bits. */
#define TICKS (*(const volatile uint32_t *)0xE000E018U)
#define PASSED(before, after) (((before) - (after)) & 0xFFFFFFU)
#endif

static inline volatile uint32_t *stack_pointer(void)
{
    volatile uint32_t *pointer;
#if defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(pointer));
#else
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
#endif
    return pointer;
}

/* Instructions that ticks_of_calibration executes. */
#define CALIBRATION 200000U

int main(void);
uint32_t ticks_of_calibration(void);
/* How many bytes differ. */
uint32_t differences(const void *a, const void *b, size_t size);
void copy(void *to, const void *from, size_t size);
/* Prints a line "name value", the value in hexadecimal digits. */
void report(const char *name, uint32_t value);
void leave(uint32_t status);

#endif
