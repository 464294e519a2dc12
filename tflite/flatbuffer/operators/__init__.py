"""The operators of TensorFlow Lite Micro: options, operands, and which types and shapes really run."""
