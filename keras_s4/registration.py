"""Our Keras classes are registered as soon as Keras is there, whichever of the two is imported first.

`import keras_s4` alone does not load Keras, since control theory and integer programs need none. But Keras finds the
classes of a saved model only if the modules that define them are loaded. So the import of Keras is watched for.
"""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from collections.abc import Callable

MODULES_WITH_CLASSES = ("layers", "optimizers", "regularizers", "training", "importers.activations")


def register_keras_objects() -> None:
    """Loads all modules that define Keras classes.

    Raises:
        RuntimeError: Keras runs on a backend that is not supported.
    """
    for name in MODULES_WITH_CLASSES:
        importlib.import_module(f"keras_s4.{name}")


def register_once_keras_is_loaded() -> None:
    """Loads them now if Keras is there, and otherwise right after its import."""
    watch = _ImportWatch()
    sys.meta_path.insert(0, watch)
    watch.register_if_possible()


class _ImportWatch(importlib.abc.MetaPathFinder):
    """Waits for the end of the import of Keras, or of the outermost module of ours that imports Keras.

    While one of our modules is half loaded, another that imports it cannot be loaded.
    """

    def __init__(self):
        self._is_looking = False
        self._half_loaded = 0

    def find_spec(self, name, path, target=None):
        """What the other finders give, with a loader that reports when the module is loaded."""
        if self._is_looking or not (name == "keras" or name.startswith("keras_s4.")):
            return None
        self._is_looking = True
        try:
            specs = (finder.find_spec(name, path, target) for finder in list(sys.meta_path) if finder is not self)
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self._is_looking = False
        if spec is not None and isinstance(spec.loader, importlib.abc.FileLoader):
            spec.loader.exec_module = self._reporting(spec.loader.exec_module)
        return spec

    def _reporting(self, execute: Callable) -> Callable:
        def execute_and_report(module):
            self._half_loaded += 1
            try:
                execute(module)
            finally:
                self._half_loaded -= 1
            self.register_if_possible()

        return execute_and_report

    def register_if_possible(self) -> None:
        """Ends the watch, if it is over."""
        if "keras" not in sys.modules or self._half_loaded or self not in sys.meta_path:
            return
        sys.meta_path.remove(self)
        from keras_s4.backends import is_supported  # imports Keras

        if is_supported():
            register_keras_objects()
