#define pdTRUE 1
#define portMAX_DELAY 0xffffffffUL
