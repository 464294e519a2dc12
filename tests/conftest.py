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
    """XLA compiles for longer than most tests run: four times as long as TensorFlow traces a step of training."""
    compile, predict = model_class.compile, model_class.predict

    @functools.wraps(compile)
    def compile_without_xla(self, *args, **arguments):
        return compile(self, *args, **{"jit_compile": False} | arguments)

    @functools.wraps(predict)
    def predict_without_xla(self, *args, **arguments):
        if not self.compiled:
            self.jit_compile = False
        return predict(self, *args, **arguments)

    model_class.compile, model_class.predict = compile_without_xla, predict_without_xla


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
