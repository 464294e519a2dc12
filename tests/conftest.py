"""Quiet, single-threaded TensorFlow and fixed seeds. Imports no Keras: half of the tests do without."""

import functools
import os
import sys

import pytest

for variable, value in {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    # Tests compile much and run it for a moment.
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
}.items():
    os.environ.setdefault(variable, value)

pytest.register_assert_rewrite("conformance")


def pytest_configure(config):
    # Keras reads its own variables in a way that numpy 2 frowns on.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")


def pytest_collection_finish():
    """Models that say nothing about XLA do without, where Keras would use it; `jit_compile=True` asks for it."""
    if "keras" in sys.modules:
        avoid_xla(sys.modules["keras"].Model)


def avoid_xla(model_class):
    """XLA compiles for longer than most tests run: four times as long as TensorFlow traces a step of training.

    `predict` of a model of Keras' own kinds that nobody has compiled is not even traced, as it runs once on a few
    batches; unless it loops over time, as streams do, where every step would be eager.
    """

    @functools.wraps(model_class.compile)
    def compile_without_xla(self, *args, compile=model_class.compile, **arguments):
        return compile(self, *args, **{"jit_compile": False} | arguments)

    @functools.wraps(model_class.predict)
    def predict_without_xla(self, *args, predict=model_class.predict, **arguments):
        if not self.compiled:
            loops = any(isinstance(layer, sys.modules["keras"].layers.RNN) for layer in self._flatten_layers())
            own_kind = type(self).__module__.startswith("keras.")
            self.jit_compile, self.run_eagerly = False, own_kind and not loops
        return predict(self, *args, **arguments)

    for name, method in (("compile", compile_without_xla), ("predict", predict_without_xla)):
        # In the class that defines it: Keras does not read the configuration of models that override `compile`.
        setattr(next(kind for kind in model_class.__mro__ if name in vars(kind)), name, method)


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Makes each test independent of those that ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture
def dtype_policy():
    """Sets the global dtype policy for one test."""
    import keras

    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)
