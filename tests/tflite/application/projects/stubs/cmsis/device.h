/* A device whose SysTick rings whenever the core waits. */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t SystemCoreClock;
void SystemCoreClockUpdate(void);
uint32_t SysTick_Config(uint32_t ticks);
void device_wait(void);
#define __WFE device_wait
