#include "device.h"

#define RINGS 20000

uint32_t SystemCoreClock;
void SysTick_Handler(void);

void SystemCoreClockUpdate(void)
{
    SystemCoreClock = 120000000U;
}

uint32_t SysTick_Config(uint32_t ticks)
{
    return ticks == 0U || ticks > 0xffffffU ? (abort(), 1U) : 0U;
}

void device_wait(void)
{
    static int rings;
    if (++rings > RINGS) {
        exit(EXIT_SUCCESS);
    }
    SysTick_Handler();
}
