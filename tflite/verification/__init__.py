"""Does the exported program do what the Keras model does? Each stage of the way, compared on real data."""

from keras_s4.tflite.verification.result import OutputVerification, Verification
from keras_s4.tflite.verification.stages import verify

__all__ = ["OutputVerification", "Verification", "verify"]
