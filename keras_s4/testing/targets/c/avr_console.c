/* printf on the first serial line of an AVR; the end of main, and abort(), are sleep that nothing wakes. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <stdio.h>
#include <stdlib.h>

static int send(char character, FILE *stream)
{
    (void)stream;
    while ((UCSR0A & _BV(UDRE0)) == 0) {
    }
    UDR0 = (uint8_t)character;
    return 0;
}

static FILE console = FDEV_SETUP_STREAM(send, NULL, _FDEV_SETUP_WRITE);

__attribute__((constructor)) static void open_console(void)
{
    UCSR0B = _BV(TXEN0);
    stdout = &console;
}

/* Behind exit() and the end of main. */
__attribute__((destructor)) static void sleep_for_good(void)
{
    cli();
    sleep_enable();
    sleep_cpu();
}

/* What code that was compiled to trap calls when a sum or product leaves its type. */
void abort(void)
{
    (void)printf("overflow\n");
    sleep_for_good();
    for (;;) {
    }
}
