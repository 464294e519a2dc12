"""Making a trained model smaller: parts with spectra, ranks over them, and the reduced model."""

from keras_s4.compression import ranks
from keras_s4.compression.parts import Cost, StatesPart, parts_of
from keras_s4.compression.reduce import reduce
from keras_s4.compression.spectrum import Spectrum, spectrum

__all__ = ["Cost", "Spectrum", "StatesPart", "parts_of", "ranks", "reduce", "spectrum"]
