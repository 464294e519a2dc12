/* `main` is the sample's. */
extern int main(void);
int (*const start)(void) = main;
