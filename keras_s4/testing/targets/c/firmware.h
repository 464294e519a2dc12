/* What a complete firmware image of the tests has besides the model. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

/* A clock that counts down 24 bits; a tick is as long as some instructions (see ticks_of_calibration). */
#define TICKS (*(const volatile uint32_t *)0xE000E018U)
#define PASSED(before, after) (((before) - (after)) & 0xFFFFFFU)

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
