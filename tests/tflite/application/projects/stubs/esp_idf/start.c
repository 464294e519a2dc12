/* Starts an example as ESP-IDF does; its timer rings when the task has nothing to do, and ends the program at last. */
#include <stdlib.h>

#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#define RINGS 2000

void app_main(void);

static esp_timer_create_args_t timer;

int esp_timer_create(const esp_timer_create_args_t *settings, esp_timer_handle_t *handle)
{
    timer = *settings;
    *handle = &timer;
    return 0;
}

int esp_timer_start_periodic(esp_timer_handle_t handle, uint64_t period)
{
    return handle == &timer && period > 0U ? 0 : 1;
}

TaskHandle_t xTaskGetCurrentTaskHandle(void)
{
    return &timer;
}

int xTaskNotifyGive(TaskHandle_t task)
{
    return task == &timer;
}

uint32_t ulTaskNotifyTake(int clear, uint32_t ticks)
{
    static int rings;
    if (clear != pdTRUE || ticks != portMAX_DELAY || ++rings > RINGS) {
        exit(ticks != portMAX_DELAY);
    }
    timer.callback(timer.arg);
    return 1U;
}

int main(void)
{
    app_main();
    return 0;
}
