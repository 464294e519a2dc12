"""Double precision, where Keras has it."""

import keras
import pytest
from streams import TOLERANCES


@pytest.fixture
def double_precision(dtype_policy):
    """Layers and inputs in double precision; how near results must be, against the largest of them."""
    # On JAX Keras promotes double precision to single.
    dtype = "float64" if keras.backend.backend() == "tensorflow" else "float32"
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    dtype_policy(dtype)
    yield TOLERANCES[dtype]
    keras.config.set_floatx(before)
