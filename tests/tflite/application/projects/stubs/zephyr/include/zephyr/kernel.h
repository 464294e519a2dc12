#ifndef KERNEL_H
#define KERNEL_H
#include <stddef.h>
#include <stdint.h>

typedef int64_t k_timeout_t;
typedef char k_thread_stack_t;
typedef void (*k_thread_entry_t)(void *, void *, void *);
struct k_timer {
    int ready;
};
struct k_thread {
    int nothing;
};
struct k_sem {
    int nothing;
};

#define K_FOREVER (-1)
#define K_NO_WAIT 0
#define K_USEC(microseconds) (microseconds)
#define K_PRIO_COOP(x) (-16 + (x))
#define K_SEM_DEFINE(name, initial, limit) struct k_sem name
#define K_THREAD_STACK_DEFINE(name, size) k_thread_stack_t name[size]
#define K_THREAD_STACK_SIZEOF(name) sizeof(name)

void k_timer_init(struct k_timer *timer, void *expired, void *stopped);
void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t period);
uint32_t k_timer_status_sync(struct k_timer *timer);
int k_thread_create(struct k_thread *thread, k_thread_stack_t *stack, size_t size, k_thread_entry_t entry, void *a,
                    void *b, void *c, int priority, uint32_t options, k_timeout_t delay);
void k_sem_give(struct k_sem *semaphore);
int k_sem_take(struct k_sem *semaphore, k_timeout_t patience);
#endif
