#include <stdio.h>
#define printk (void)printf
