import subprocess
import sys

import pytest


def run(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


ORDERS = {
    "as the readme says": "import keras, keras_s4",
    "ours first": "import keras_s4, keras",
    "ours alone": "import keras_s4; import keras.saving; keras = sys.modules['keras']",
    "a module of ours that loads Keras": "import keras_s4.dss.modes; import keras",
    "a name from a module of ours": "from keras_s4.layers import DSS; import keras",
    "a function": "from keras_s4 import reduce; import keras",
    "systems alone": "import keras_s4.systems; import keras",
}

FORKING = """
import os, sys
# TensorFlow takes the longest, and loads Keras where it may; then come the other packages that Keras loads.
sys.modules["keras"] = None
import tensorflow
import matplotlib.pyplot, optree, rich.console, scipy.signal, sklearn.base
del sys.modules["keras"]
assert not {"keras", "keras_s4"} & set(sys.modules)
for code in eval(sys.argv[1]):
    sys.stdout.flush()
    if not os.fork():
        try:
            exec(code)
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.wait()
"""

LOADING = """
folder, name = {folder!r}, {name!r}
{imports}
compiled, regularised, slow = (
    keras.saving.load_model(f"{{folder}}/{{file}}.keras") for file in ("compiled", "regularised", "slow")
)
penalties = regularised.layers[0].state_regularizer, regularised.layers[1].kernel_regularizer
is_lion = isinstance(slow.optimizer, keras.optimizers.Lion)
weights = [penalty.weight for penalty in penalties]
print(name, compiled.loss.name, *weights, is_lion, slow.optimizer.pole_rate, sep="; ")
"""

REFUSED = """
os.environ["KERAS_BACKEND"] = "numpy"
import keras_s4, keras
from keras_s4.systems import DiagonalSystem
for use in ("keras_s4.reduce", "keras_s4.layers.DSS", "keras_s4.tflite.convert"):
    try: eval(use)
    except RuntimeError as error: print(error)
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """What processes said that loaded models, one for each of the orders, and then the one on another backend.

    They are forks of one that has loaded TensorFlow but neither Keras nor ours.
    """
    import keras

    import keras_s4
    from keras_s4.regularizers import HankelNorm, NuclearNorm

    folder = tmp_path_factory.mktemp("models")
    classifier = keras_s4.models.classifier((20, 3), 2, channels=4, states=2, blocks=1)
    keras_s4.training.compile_classifier(classifier, steps=1).save(folder / "compiled.keras")
    layers = [
        keras.Input((20, 3)),
        keras_s4.layers.DSS(2, state_regularizer=HankelNorm(1e-3)),
        keras.layers.Dense(2, kernel_regularizer=NuclearNorm(2e-3)),
    ]
    keras.Sequential(layers).save(folder / "regularised.keras")
    slow = keras.Sequential([keras.Input((20, 3)), keras_s4.layers.DSS(2)])
    slow.compile(keras_s4.optimizers.slow_poles(keras.optimizers.Lion(0.1)), "mse")
    slow.save(folder / "slow.keras")
    loading = [LOADING.format(folder=str(folder), name=name, imports=imports) for name, imports in ORDERS.items()]
    return run(FORKING, repr([*loading, REFUSED])).splitlines()


def test_saved_models_load_whichever_of_the_packages_is_imported_first(lines):
    """In another process than wrote them, and nothing of ours is called between that and the import of Keras."""
    expected = [f"{name}; smoothed_crossentropy; 0.001; 0.002; True; 0.1" for name in ORDERS]
    assert lines[: len(ORDERS)] == expected


def test_backends_that_cannot_train_are_refused_by_name(lines):
    lines = lines[len(ORDERS) :]
    assert len(lines) == 3
    assert all("tensorflow and jax" in line and "this is 'numpy'. Set the environment" in line for line in lines)


WITHOUT_TENSORFLOW = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras", "tensorflow_model_optimization"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import keras_s4, keras
import numpy as np
from keras_s4.tflite import convert
x = np.random.default_rng(0).normal(size=(24, 12, 3)).astype("float32")
y = (x.mean((1, 2)) > 0).astype(int)
model = keras.Sequential([
    keras.Input((12, 3)), keras_s4.layers.DSS(3, per_channel_poles=True, name="dss"),
    keras.layers.Dense(4, "gelu"), keras_s4.layers.LastStep(), keras.layers.Dense(2, "softmax"),
])
model.compile(keras_s4.optimizers.slow_poles("adamw"), "sparse_categorical_crossentropy")
model.fit(x, y, verbose=0)
reduced = keras_s4.reduce(model, {"dss": 2})
stream = keras_s4.streaming.StreamingModel(reduced)
print("streamed", np.allclose(stream.predict(x, verbose=0)[:, -1], reduced.predict(x, verbose=0), atol=1e-5))
converted = convert(reduced, x)
print("C", np.abs(converted.predict(x, engine="c") - reduced.predict(x, verbose=0)).max() < 0.1)
verification = converted.verify(reduced, x, y)
print("missing", "TensorFlow is not installed" in str(verification))
try:
    keras_s4.quantize_aware(model, x)
except RuntimeError as error:
    print("aware", "not on 'jax'" in str(error))
print("loaded", any(name.split(".")[0] == "tensorflow" for name in sys.modules))
"""


def test_without_tensorflow_only_its_own_parts_are_missing():
    pytest.importorskip("jax")
    assert run(WITHOUT_TENSORFLOW).splitlines()[-5:] == [
        "streamed True",
        "C True",
        "missing True",
        "aware True",
        "loaded False",
    ]


ON_TORCH = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras, keras_s4
import numpy as np
x = np.random.default_rng(0).normal(size=(8, 12, 3)).astype("float32")
def made(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras_s4.layers.DSS(3), keras.layers.Dense(3)])
    model.build((None, 12, 3))
    model.compile(optimizer, "mse")
    return model
def moved(optimizer):
    model = made(optimizer)
    before = model.get_weights()
    model.train_on_batch(x, x)
    return [np.abs(after - start).max() for after, start in zip(model.get_weights(), before)]
slow, plain = moved(keras_s4.optimizers.slow_poles("adam", 0.1)), moved("adam")
print(np.allclose(slow[:3], [0.1 * value for value in plain[:3]], rtol=0.02))
print(np.allclose(slow[3:], plain[3:], rtol=1e-3))
print(moved(keras_s4.optimizers.slow_poles("sgd", 0))[:3] == [0, 0, 0])
model = made(keras_s4.optimizers.slow_poles("adamw"))
model.save("model.keras")
loaded = keras.saving.load_model("model.keras")
print(np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0)))
print(loaded.optimizer.get_config()["optimizer"]["module"])
print(keras_s4.layers.DSS(2, dtype="float64")(x.astype("float64")).dtype)
"""


def test_torch_trains_and_saves(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, "-c", ON_TORCH]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert output.split() == ["True", "True", "True", "True", "keras.optimizers", "torch.float64"]


def test_every_name_that_is_offered_exists():
    import keras_s4

    for name in keras_s4.__all__:
        assert getattr(keras_s4, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = keras_s4.nothing
