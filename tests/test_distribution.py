import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from distributed import ON_JAX, run_all

from keras_s4 import distribution
from keras_s4.distribution import Place, Share, check_place, find_place


class Batches(keras.utils.PyDataset):
    """Numbers in a row."""

    def __init__(self, *sizes):
        super().__init__()
        self.sizes, self.epochs = sizes, 0

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        numbers = sum(self.sizes[:index]) + np.arange(self.sizes[index])
        return {"a": numbers, "b": 2 * numbers}, 3 * numbers

    def on_epoch_end(self):
        self.epochs += 1


def test_shares_are_equal_and_together_the_batch():
    batches = Batches(12, 12, 7)
    shares = [Share(batches, Place(index, 3, devices=6)) for index in range(3)]
    for index, whole in enumerate(([*range(12)], [*range(12, 24)], [*range(24, 30)])):
        parts = [share[index] for share in shares]
        assert {len(x["a"]) for x, _ in parts} == {len(whole) // 3}
        assert np.concatenate([x["a"] for x, _ in parts]).tolist() == whole
        assert all((x["b"] == 2 * x["a"]).all() and (y == 3 * x["a"]).all() for x, y in parts)
    shares[0].on_epoch_end()
    assert batches.epochs == 1


def test_a_last_batch_with_less_than_one_example_a_device_is_left_out():
    assert len(Share(Batches(12, 5), Place(0, 2, devices=6))) == 1
    assert len(Share(Batches(12, 6), Place(0, 2, devices=6))) == 2
    with pytest.raises(ValueError, match="A batch of 5 examples cannot be shared by 6 devices"):
        Share(Batches(5), Place(0, 2, devices=6))


def test_a_process_alone_is_the_chief_and_takes_all():
    assert find_place() == Place(0, 1, 1)
    assert len(Share(Batches(5))[0][1]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("10.0.0.1", 2, 0), "expected HOST:PORT"),
        (("http://here:80", 2, 0), "expected HOST:PORT"),
        (("here:80", 0, 0), "The number of processes is 0"),
        (("here:80", 2, -1), "The process is -1"),
        (("here:80", 2, 2), "The process is 2 of 2; they are counted from 0 to 1"),
        (("here:80", True, 0), "The number of processes is True"),
    ],
)
def test_impossible_places_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_place(*arguments)
    check_place("[::1]:80", 2, 1)
    check_place(None, None, None)


def test_other_backends_are_refused_by_name():
    if keras.backend.backend() == "jax":
        pytest.skip("this is JAX")
    with pytest.raises(RuntimeError, match="need Keras' jax backend, not 'tensorflow': set KERAS_BACKEND=jax"):
        distribution.join("here:80", 2, 0)


TRAINING = """
import json
import keras, keras_s4
import numpy as np
from keras_s4 import distribution
from keras_s4.distribution import Place, Share

class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3
    def __getitem__(self, index):
        x = np.random.default_rng(index).normal(size=(8, 20, 3)).astype("float32")
        return x, (x.mean((1, 2)) > 0).astype("int32")

def trained(batches):
    keras.utils.set_random_seed(0)
    model = keras_s4.models.classifier((20, 3), 2, channels=2, states=2, blocks=1, dropout=0.2)
    keras_s4.training.compile_classifier(model, 6)
    history = model.fit(batches, epochs=2, verbose=0).history
    return [history, [np.asarray(weight).tolist() for weight in model.get_weights()]]

def show(**found):
    print("found", json.dumps(found))
"""
ALONE = """
show(trained=trained(Share(Batches(), Place(0, 1, 2))))
"""
TOGETHER = """
distribution.join()
place = distribution.find_place()
with distribution.parallel():
    found = trained(Share(Batches()))
sent = distribution.spread(b"from the chief" if place.process == 0 else b"from nobody")
distribution.check_equal("weather", "00" * 8)
try:
    distribution.check_equal("recordings", f"{place.process:016x}")
except ValueError as error:
    refused = str(error)
alone = keras_s4.models.classifier((20, 3), 2, channels=2, states=2, blocks=1)
alone.set_weights([np.asarray(weight) for weight in found[1]])
answer = np.asarray(alone(Batches()[0][0])).tolist()
show(trained=found, place=list(vars(place).values()), sent=sent.decode(), refused=refused, answer=answer)
"""


def found_by(ended):
    code, out, errors = ended
    assert code == 0, errors[-3000:]
    return json.loads(next(line for line in out.splitlines() if line.startswith("found "))[6:])


def test_two_processes_train_as_one_does(tmp_path):
    """Equal losses, metrics and weights in both, to the last bit; those of one process on the whole batches but for
    the order of sums."""
    pytest.importorskip("jax")
    first, second = map(found_by, run_all([ON_JAX + TRAINING + TOGETHER] * 2, tmp_path))
    alone = found_by(run_all([ON_JAX + TRAINING + ALONE], tmp_path)[0])
    assert (first["place"], second["place"]) == ([0, 2, 2], [1, 2, 2])
    assert first["trained"] == second["trained"]
    history, weights = first["trained"]
    for name, values in alone["trained"][0].items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    assert history["loss"][0] != history["loss"][1]
    for weight, expected in zip(weights, alone["trained"][1], strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-5)
    assert first["sent"] == second["sent"] == "from the chief"
    assert first["refused"] == second["refused"]
    assert "The recordings of process 1 are not those of process 0" in first["refused"]
    assert first["answer"] == second["answer"]


MIRRORED = """
import os
os.environ["KERAS_BACKEND"] = "tensorflow"
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
BOTH = """
def data():
    batches = Batches()
    x, y = (np.concatenate([batches[index][part] for index in range(3)]) for part in (0, 1))
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)

def trained(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([
            keras.Input((20, 3)), keras.layers.Dense(2), keras_s4.layers.DSS(2), keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, activation="softmax"),
        ])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model.fit(data(), epochs=2, verbose=0, shuffle=False).history, strategy.num_replicas_in_sync

show(alone=trained(tf.distribute.get_strategy()), mirrored=trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])))
"""


def test_the_mirrored_strategy_of_tensorflow_trains_on_two_devices_as_on_one(tmp_path):
    """Without dropout and BatchNormalization, which each device computes for its own half of a batch."""
    command = [sys.executable, "-c", MIRRORED + TRAINING + BOTH]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = found_by((done.returncode, done.stdout, done.stderr))
    assert (found["alone"][1], found["mirrored"][1]) == (1, 2)
    for name, values in found["alone"][0].items():
        np.testing.assert_allclose(found["mirrored"][0][name], values, rtol=1e-5, err_msg=name)
