/* Start-up of a Cortex-M in QEMU, and semihosting: what a board support package would bring. */
#include "firmware.h"

#define COPROCESSORS (*(volatile uint32_t *)0xE000ED88U)
#define CLOCK_CONTROL (*(volatile uint32_t *)0xE000E010U)
#define CLOCK_RELOAD (*(volatile uint32_t *)0xE000E014U)
#define CLOCK_VALUE (*(volatile uint32_t *)0xE000E018U)

enum { WRITE = 0x04, EXIT = 0x20, APPLICATION_EXIT = 0x20026 };

extern uint32_t stack_top;
extern uint32_t bss_start;
extern uint32_t bss_end;
void start(void);
static void fault(void);

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)&stack_top, start, fault, fault, fault, fault, fault, fault, fault,
    fault, fault, fault, fault, fault, fault, fault,
};

static void host(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void leave(uint32_t status)
{
    const uint32_t how[2] = {APPLICATION_EXIT, status};
    host(EXIT, how);
    for (;;) {
    }
}

static void fault(void) { leave(2); }

/* The harness's memory is all that there is to clear: the model has none of its own, and nothing here has initial values. */
__attribute__((noreturn)) void start(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    COPROCESSORS |= 0xFU << 20; /* floating point and vectors */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    for (volatile uint32_t *word = &bss_start; word < &bss_end; ++word) {
        *word = 0;
    }
    CLOCK_RELOAD = 0xFFFFFFU;
    CLOCK_VALUE = 0;
    CLOCK_CONTROL = 5; /* on, at the core's clock, without interrupts */
    leave((uint32_t)main());
    for (;;) {
    }
}

uint32_t ticks_of_calibration(void)
{
    uint32_t left = CALIBRATION / 2U;
    const uint32_t before = TICKS;
    __asm__ volatile(".syntax unified\n1: subs %0, #1\n\tbne 1b" : "+l"(left) : : "cc");
    return PASSED(before, TICKS);
}

void report(const char *name, uint32_t value)
{
    volatile char digits[11] = " 00000000\n";
    for (uint32_t i = 0; i < 8U; ++i) {
        digits[8U - i] = "0123456789abcdef"[(value >> (4U * i)) & 15U];
    }
    host(WRITE, name);
    host(WRITE, (const void *)digits);
}
