#include <stdint.h>
typedef struct {
    void (*callback)(void *);
    void *arg;
    int dispatch_method;
    const char *name;
    _Bool skip_unhandled_events;
} esp_timer_create_args_t;
typedef esp_timer_create_args_t *esp_timer_handle_t;
int esp_timer_create(const esp_timer_create_args_t *settings, esp_timer_handle_t *handle);
int esp_timer_start_periodic(esp_timer_handle_t handle, uint64_t period);
