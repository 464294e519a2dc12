"""`python -m keras_s4.cli`."""

from keras_s4.cli import main

main()
