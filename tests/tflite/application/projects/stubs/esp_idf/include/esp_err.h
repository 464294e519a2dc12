#include <stdlib.h>
#define ESP_ERROR_CHECK(call) ((call) == 0 ? (void)0 : abort())
