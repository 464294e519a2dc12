"""The mathematics of a DSS layer, in tensors of any backend of Keras."""
