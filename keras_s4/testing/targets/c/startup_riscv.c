/* Start-up of a RISC-V on QEMU's machine "virt", its serial line, and its end. */
#include "firmware.h"

#define SERIAL (*(volatile uint8_t *)0x10000000U)
#define FINISHER (*(volatile uint32_t *)0x00100000U)

enum { PASS = 0x5555, FAIL = 0x3333 };

extern uint32_t bss_start;
extern uint32_t bss_end;
void begin(void);
void fault(void);

/* At the first address, where the machine starts. */
__attribute__((naked, section(".vectors"), used)) void start(void)
{
    __asm__ volatile(
        ".option push\n\t.option arch, +zicsr\n\t"
        "la sp, stack_top\n\t"
        "la t0, fault\n\t"
        "csrw mtvec, t0\n\t"
        ".option pop\n\t"
        "j begin");
}

void leave(uint32_t status)
{
    FINISHER = status == 0U ? PASS : (status << 16) | FAIL;
    for (;;) {
    }
}

__attribute__((aligned(4))) void fault(void) { leave(2); }

/* The harness's memory is all that there is to clear: the model has none of its own, and nothing here has initial values. */
void begin(void)
{
    for (volatile uint32_t *word = &bss_start; word < &bss_end; ++word) {
        *word = 0;
    }
    leave((uint32_t)main());
}

uint32_t ticks_of_calibration(void)
{
    uint32_t left = CALIBRATION / 2U;
    const uint32_t before = TICKS;
    __asm__ volatile("1: addi %0, %0, -1\n\tbnez %0, 1b" : "+r"(left));
    return PASSED(before, TICKS);
}

static void print(const volatile char *text)
{
    while (*text != 0) {
        SERIAL = (uint8_t)*text++;
    }
}

void report(const char *name, uint32_t value)
{
    volatile char digits[11] = " 00000000\n";
    for (uint32_t i = 0; i < 8U; ++i) {
        digits[8U - i] = "0123456789abcdef"[(value >> (4U * i)) & 15U];
    }
    print(name);
    print(digits);
}
