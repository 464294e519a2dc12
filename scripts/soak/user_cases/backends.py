"""B1, B6, B9: other backends, hidden wheels, orders of imports; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from user_cases.case import Wrong, case


def run(code: str, *arguments: str, backend: str = "tensorflow", hide: tuple[str, ...] = (), seconds: int = 300) -> str:
    """What a program prints in a new process in which some modules cannot be imported.

    Raises:
        Wrong: it fails.
    """
    hiding = f"""
    import sys
    class _Hidden:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {hide!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    sys.meta_path.insert(0, _Hidden())
    """
    program = textwrap.dedent(hiding) + textwrap.dedent(code)
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment, timeout=seconds
    )
    if done.returncode:
        raise Wrong(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


WAY = """
import numpy as np, keras, keras_s4, keras_s4.tflite
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(24, 30, 2)).astype("float32")
y = np.arange(24) % 3
model = keras_s4.models.classifier((30, 2), 3, channels=8, states=6)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x, y, epochs=1, verbose=0)
small = keras_s4.reduce(model, 3)
firmware = keras_s4.tflite.convert(small, x)
wanted = small.predict(x, verbose=0)
received = firmware.predict(x)
found = firmware.verify(small, x, wanted.argmax(axis=1))
print(found)
import tempfile
with tempfile.TemporaryDirectory() as folder:
    firmware.save(folder + "/f")
noise = np.sum((wanted - received) ** 2) / np.sum((wanted - wanted.mean(axis=0)) ** 2)
assert noise < 0.05, noise
"""


@case("B9", "without the tflite-micro wheel: convert, predict, verify, save")
def no_micro() -> None:
    """As on macOS."""
    run(WAY, hide=("tflite_micro",))


@case("B9", "on JAX: train, reduce, convert, predict, verify, save")
def on_jax() -> None:
    """With TensorFlow at hand."""
    run(WAY, backend="jax")


@case("B9", "on JAX without TensorFlow")
def jax_alone() -> None:
    """Nothing but TensorFlow's own row is missing."""
    run(WAY, backend="jax", hide=("tensorflow", "tensorflow_model_optimization", "tf_keras", "tensorboard"))


@case("B9", "on JAX without TensorFlow and without the tflite-micro wheel")
def jax_alone_no_micro() -> None:
    """A Raspberry Pi."""
    run(WAY, backend="jax", hide=("tensorflow", "tensorflow_model_optimization", "tf_keras", "tflite_micro"))


@case("B9", "an unsupported backend is refused by name")
def numpy_backend() -> None:
    """Keras' numpy backend has no gradients."""
    code = """
    try:
        import keras, keras_s4
        keras_s4.models.classifier((30, 2), 3)
    except Exception as error:
        assert "numpy" in str(error) and "tensorflow" in str(error).lower(), error
        print("refused")
    """
    if "refused" not in run(code, backend="numpy"):
        raise Wrong("accepted")


@case("B9", "float64 layers are float64 on JAX with x64")
def double() -> None:
    """Their kernels too, up to the sines that Keras computes in single precision on JAX."""
    code = """
    import jax; jax.config.update("jax_enable_x64", True)
    import numpy as np, keras
    from keras_s4.layers import DSS
    layer = DSS(4, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 50, 3))
    y = np.asarray(layer(keras.ops.convert_to_tensor(x, dtype="float64")))
    assert y.dtype == np.float64, y.dtype
    system = layer.system()
    t = np.arange(50)
    k = 2 * np.real(np.sum(system.residues[..., None] * system.poles[..., None] ** t, axis=1))
    k[:, 0] += system.feedthrough
    want = np.stack([np.stack([np.convolve(x[b, :, h], k[h])[:50] for h in range(3)], -1) for b in range(2)])
    assert np.abs(want - y).max() < 1e-7 * np.abs(want).max(), np.abs(want - y).max()
    """
    run(code, backend="jax")


@case("B1", "DSS and S4Block in a subclassed model on JAX")
def subclassed_on_jax() -> None:
    """Fit with and without compilation."""
    code = """
    import numpy as np, keras
    from keras_s4.layers import DSS, S4Block
    x = np.random.default_rng(0).normal(size=(16, 20, 3)).astype("float32")
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = keras.layers.Dense(6), S4Block(DSS(4, pole_initializer="random"))
            self.c = keras.layers.Dense(2, activation="softmax")
        def call(self, x):
            return self.c(keras.ops.mean(self.b(self.a(x)), axis=1))
    for eager in (False, True):
        model = Model()
        model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=eager)
        losses = model.fit(x, np.arange(16) % 2, epochs=4, verbose=0).history["loss"]
        assert losses[-1] < losses[0], losses
    """
    run(code, backend="jax")


@case("B6", "a saved model loads whatever is imported first")
def import_orders() -> None:
    """keras_s4 before keras, after it, and as an isort would have it."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "m.keras")
        run(
            "import sys, keras_s4; keras_s4.models.classifier((20, 2), 3, channels=4, states=2).save(sys.argv[1])", path
        )
        orders = (
            "import keras_s4\nimport keras",
            "import keras\nimport keras_s4",
            "import keras_s4\nfrom keras import models",
            "import keras_s4.systems\nimport keras",
            "from keras_s4 import reduction\nimport keras",
        )
        for order in orders:
            run(f"{order}\nimport sys, keras\nkeras.saving.load_model(sys.argv[1])", path)


@case("B9", "control theory needs no Keras")
def no_keras() -> None:
    """numpy and scipy alone."""
    run("import keras_s4.systems, keras_s4.reduction", hide=("keras", "tensorflow"))
