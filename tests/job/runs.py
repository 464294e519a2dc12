"""The settings of tiny runs, and the task of the one that several modules look at."""

import contextlib

import pytest
from tasks import sines

from keras_s4 import training
from keras_s4.augmentation import RandomWindows
from keras_s4.job.settings import Settings

SETTINGS = Settings(channels=4, states=4, blocks=1, epochs=2, retrain_epochs=1, aware_epochs=1, batch_size=24)
TASK = sines(augment=RandomWindows)
FIT_WINDOWS = training.fit_windows


def results(folder):
    """The files of a run, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def training_eagerly():
    """A graph would take longer to trace than such a training lasts."""

    def fit_eagerly(*arguments, compile_model):
        def compile_eagerly(model, *settings, jit_compile):
            assert jit_compile
            compile_model(model, *settings, jit_compile=False).run_eagerly = True

        return FIT_WINDOWS(*arguments, compile_model=compile_eagerly)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit_windows", fit_eagerly)
        yield
