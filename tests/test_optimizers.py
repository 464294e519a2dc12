"""Slow poles against two optimizers of Keras: one for the poles, at their rate and without decay, one for the rest."""

import functools
import json

import keras
import numpy as np
import pytest

from keras_s4.layers import DSS
from keras_s4.optimizers import slow_poles

RATE = 0.2


@keras.saving.register_keras_serializable(package="keras_s4_tests")
class Resonator(keras.layers.Layer):
    """A marked weight, and one of a user that only has the name of one."""

    def build(self, input_shape):
        self.pole = self.add_weight(name="pole", shape=(input_shape[-1],), initializer="random_normal")
        self.pole.is_dynamics = True
        self.frequency = self.add_weight(name="frequency", shape=(input_shape[-1],), initializer="random_normal")

    def call(self, inputs):
        return inputs * keras.ops.cast(self.pole, inputs.dtype) + keras.ops.cast(self.frequency, inputs.dtype)


@keras.saving.register_keras_serializable(package="keras_s4_tests")
class SignDescent(keras.optimizers.Optimizer):
    """An optimizer of a user, with an argument that its configuration does not tell."""

    def __init__(self, learning_rate=0.1, power=1.0, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.power = power

    def update_step(self, gradient, variable, learning_rate):
        step = keras.ops.sign(gradient) * keras.ops.power(keras.ops.abs(gradient), self.power)
        self.assign_sub(variable, keras.ops.multiply(learning_rate, step))


def schedule(factor=1.0):
    return keras.optimizers.schedules.ExponentialDecay(0.05 * factor, decay_steps=2, decay_rate=0.5)


OPTIMIZERS = {
    "SGD": {},
    "SGD with momentum": {"momentum": 0.9, "nesterov": True},
    "Adam": {"amsgrad": True},
    "Adam with schedule": {"schedule": True},
    "Adam with averaging": {"use_ema": True, "ema_overwrite_frequency": 2},
    "Adam with accumulation": {"gradient_accumulation_steps": 2},
    "Adam with clipped norms": {"clipnorm": 0.5},
    "Adam with clipped values": {"clipvalue": 0.5},
    "AdamW": {"weight_decay": 0.3},
    "Adamax": {},
    "Adagrad": {},
    "Adadelta": {},
    "RMSprop": {"momentum": 0.5},
    "Nadam": {},
    "Ftrl": {},
    "Lion": {"weight_decay": 0.3},
    "Lamb": {"weight_decay": 0.3},
    "Muon": {"weight_decay": 0.3, "adam_weight_decay": 0.3},
    "ScheduleFreeAdamW": {"weight_decay": 0.3},
    "SignDescent": {"power": 0.5},
}


def optimizer_of(case, factor=1.0, **changes):
    """An optimizer whose learning rate is that of the case, times a factor."""
    arguments = {**OPTIMIZERS[case], **changes}
    name = case.split(" ")[0]
    if name not in ("SignDescent", "SGD") and not hasattr(keras.optimizers, name):
        pytest.skip(f"this Keras has no {name}")
    learning_rate = schedule(factor) if arguments.pop("schedule", False) else 0.05 * factor
    if name == "SignDescent":
        return SignDescent(learning_rate, **arguments)
    return getattr(keras.optimizers, name)(learning_rate, **arguments)


def variables(seed=0):
    """A marked and an unmarked variable of equal shape, and five gradients of each."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(2, 4, 3)).astype("float32")
    pole, kernel = (keras.Variable(value, name=name) for value, name in zip(values, ("pole", "frequency"), strict=True))
    pole.is_dynamics = True
    return pole, kernel, random.normal(size=(5, 2, 4, 3)).astype("float32")


def train(optimizer, trained, gradients):
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradient], trained)
    return [keras.ops.convert_to_numpy(variable) for variable in trained]


@pytest.mark.parametrize("rate", [RATE, 1.0])
@pytest.mark.parametrize("case", OPTIMIZERS)
def test_poles_move_as_with_an_optimizer_of_their_own(case, rate):
    pole, kernel, gradients = variables()
    start = keras.ops.convert_to_numpy(pole)
    trained = train(slow_poles(optimizer_of(case), rate), [pole, kernel], gradients)
    undecayed = {name: 0.0 for name in OPTIMIZERS[case] if name.endswith("weight_decay")}
    other_pole, other_kernel, _ = variables()
    expected = [
        train(optimizer_of(case, rate, **undecayed), [other_pole], gradients[:, :1])[0],
        train(optimizer_of(case), [other_kernel], gradients[:, 1:])[0],
    ]
    assert np.any(trained[0] != start)
    np.testing.assert_allclose(trained, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_rate_zero_freezes(case):
    pole, kernel, gradients = variables()
    before = keras.ops.convert_to_numpy(pole), keras.ops.convert_to_numpy(kernel)
    after = train(slow_poles(optimizer_of(case), 0), [pole, kernel], gradients)
    # An average over equal values is rounded.
    np.testing.assert_allclose(after[0], before[0], rtol=1e-6 if "averaging" in case else 0)
    assert np.all(np.isfinite(after[1]))
    assert np.any(after[1] != before[1])


def test_groups_move_at_rates_of_their_own():
    """Plain gradient descent moves a weight by the rate times its gradient."""
    rates = {"log_time_step": 0.0, "dss/residues": 0.25, "log_": 0.5}
    moved = {}
    for name, given in (("all", {}), ("groups", rates)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((9, 2)), DSS(3, name="dss")])
        optimizer = slow_poles(keras.optimizers.SGD(0.1), 1.0, given)
        model.compile(optimizer, "mse")
        before = {weight.name: np.array(weight) for weight in model.weights}
        inputs = np.random.default_rng(0).normal(size=(4, 9, 2))
        model.train_on_batch(inputs, np.ones((4, 9, 2)))
        moved[name] = {weight.name: np.array(weight) - before[weight.name] for weight in model.weights}
    expected = {"log_time_step": 0.0, "residues": 0.25, "log_decay": 0.5, "frequency": 1.0, "feedthrough": 1.0}
    for name, rate in expected.items():
        assert np.abs(moved["all"][name]).max() > 0
        np.testing.assert_allclose(moved["groups"][name], rate * moved["all"][name], rtol=1e-4, atol=1e-7)
    copy = type(optimizer).from_config(json.loads(json.dumps(optimizer.get_config())))
    assert dict(copy.rates) == rates


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([0.5], "expected a dict such as"),
        ({"dss": 2.0}, "'dss': 2.0; expected a number from 0 to 1"),
        ({"(": 0.5}, "no regular expression"),
    ],
)
def test_refused_rates_of_groups(rates, message):
    with pytest.raises(ValueError, match=message):
        slow_poles("adam", rates=rates)


def test_the_global_norm_is_that_of_all_gradients():
    pole, kernel, gradients = variables()
    start = [keras.ops.convert_to_numpy(variable) for variable in (pole, kernel)]
    optimizer = slow_poles(keras.optimizers.SGD(1.0, global_clipnorm=0.5), RATE)
    after = train(optimizer, [pole, kernel], gradients[:1])
    clipped = gradients[0] * 0.5 / np.linalg.norm(gradients[0])
    np.testing.assert_allclose(start[0] - after[0], RATE * clipped[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(start[1] - after[1], clipped[1], rtol=1e-5, atol=1e-6)


def test_a_learning_rate_set_later_counts():
    pole, kernel, gradients = variables()
    before = keras.ops.convert_to_numpy(pole)
    optimizer = slow_poles(keras.optimizers.SGD(123.0), RATE)
    optimizer.learning_rate = 0.5
    after = train(optimizer, [pole, kernel], gradients[:1])[0]
    np.testing.assert_allclose(before - after, RATE * 0.5 * gradients[0, 0], rtol=1e-5, atol=1e-6)


def small_model(policy="float32", layers=("dense", "resonator", "dss")):
    keras.utils.set_random_seed(0)
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    make = {"dense": functools.partial(keras.layers.Dense, 4), "resonator": Resonator, "dss": functools.partial(DSS, 2)}
    inputs = keras.Input((20, 3))
    outputs = inputs
    for name in layers:
        outputs = make[name](name=name)(outputs)
    model = keras.Model(inputs, outputs)
    keras.config.set_dtype_policy(usual)
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    return model


def data(count=8):
    random = np.random.default_rng(0)
    return random.normal(size=(count, 20, 3)).astype("float32"), random.normal(size=(count, 20, 4)).astype("float32")


def moves(model, optimizer, **arguments):
    """How far one step of training moves each weight, by path."""
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights}
    model.compile(optimizer, "mse", **arguments)
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice
    model.train_on_batch(*data())
    return {w.path: keras.ops.convert_to_numpy(w) - before[w.path] for w in model.trainable_weights}


def is_pole(path):
    return path in {"resonator/pole", "dss/log_decay", "dss/frequency", "dss/log_time_step"}


@pytest.mark.parametrize(
    ("optimizer", "policy", "jit_compile"),
    [
        ("SGD", "float32", False),
        ("SGD", "mixed_float16", False),
        ("Adam", "float32", False),
        ("Adam", "mixed_float16", True),
        ("Adam", "mixed_bfloat16", False),
    ],
)
def test_the_first_step_of_a_model(optimizer, policy, jit_compile):
    make = getattr(keras.optimizers, optimizer)
    plain = moves(small_model(policy), make(0.01), jit_compile=jit_compile)
    model = small_model(policy)
    slow = moves(model, slow_poles(make(0.01), RATE), jit_compile=jit_compile)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert sum(map(is_pole, slow)) == 4
    for path, move in slow.items():
        assert np.any(move != 0), path
        # A move is the difference of two numbers near 1, rounded to 6e-8 each.
        expected = plain[path] * (RATE if is_pole(path) else 1.0)
        np.testing.assert_allclose(move, expected, rtol=1e-4, atol=5e-7, err_msg=path)


def test_poles_are_not_decayed_and_namesakes_are():
    model = small_model()
    optimizer = slow_poles(keras.optimizers.AdamW(0.1, weight_decay=0.5))
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in model.trainable_variables])
    reference = small_model()
    kept = {
        weight.path
        for weight, before in zip(model.trainable_weights, reference.trainable_weights, strict=True)
        if np.all(keras.ops.convert_to_numpy(weight) == keras.ops.convert_to_numpy(before))
    }
    assert kept == {path for path in (weight.path for weight in model.trainable_weights) if is_pole(path)}


def test_further_weights_are_freed_of_decay_by_variable_and_by_name():
    model = small_model()
    optimizer = slow_poles(keras.optimizers.AdamW(0.1, weight_decay=0.5))
    optimizer.exclude_from_weight_decay(var_list=[model.get_layer("dense").kernel], var_names=["^bias$", "feed"])
    before = model.get_weights()
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in model.trainable_variables])
    decayed = {
        weight.path for weight, old in zip(model.weights, before, strict=True) if np.any(np.array(weight) != old)
    }
    assert decayed == {"resonator/frequency", "dss/residues"}


def test_marks_survive_cloning_and_loading(tmp_path):
    model = small_model()
    model.save(tmp_path / "model.keras")
    for copy in (keras.models.clone_model(model), keras.saving.load_model(tmp_path / "model.keras")):
        assert all(getattr(weight, "is_dynamics", False) == is_pole(weight.path) for weight in copy.weights)


def assert_saving_changes_nothing(model, path):
    """Trains a loaded copy and the model itself on, and compares."""
    model.fit(*data(), batch_size=4, epochs=2, verbose=0, shuffle=False)
    model.save(path)
    loaded = keras.saving.load_model(path)
    for either in (model, loaded):
        either.fit(*data(), batch_size=4, epochs=2, verbose=0, shuffle=False)
    for weight, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    return loaded


@pytest.mark.parametrize("case", ["AdamW", "Adam with schedule", "Adam with accumulation", "SGD with momentum"])
def test_a_loaded_model_goes_on_as_the_saved_one(case, tmp_path):
    model = small_model(layers=("dense", "resonator"))
    optimizer = slow_poles(optimizer_of(case), RATE)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse", jit_compile=False)
    loaded = assert_saving_changes_nothing(model, tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(optimizer)
    assert loaded.optimizer.pole_rate == RATE


def test_a_loaded_model_goes_on_with_an_optimizer_of_ones_own_and_loss_scaling(tmp_path):
    model = small_model("mixed_float16", layers=("dense", "resonator"))
    # Said explicitly, because Keras forgets the policy of a saved model, and with it the wrapper that it added itself.
    model.compile(keras.optimizers.LossScaleOptimizer(slow_poles(SignDescent(0.01), RATE)), "mse", jit_compile=False)
    loaded = assert_saving_changes_nothing(model, tmp_path / "model.keras")
    assert isinstance(loaded.optimizer.inner_optimizer, SignDescent)


@pytest.mark.parametrize("case", ["AdamW", "Adam with schedule"])
def test_config_round_trip(case):
    optimizer = slow_poles(optimizer_of(case), RATE)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    config = keras.optimizers.serialize(optimizer)
    text = json.dumps(config)
    copy = keras.optimizers.deserialize(json.loads(text))
    assert keras.optimizers.serialize(copy) == config
    again = type(optimizer).from_config(config["config"])
    assert json.dumps(config) == text, "from_config changed its argument"
    assert again.get_config() == config["config"]
    # Keras writes its own optimizers by their public names, which stay when modules move.
    assert config["config"]["optimizer"]["module"] == "keras.optimizers"


def test_classes_that_are_not_registered_are_given_when_loading():
    class Unregistered(keras.optimizers.SGD):
        pass

    config = keras.optimizers.serialize(slow_poles(Unregistered(0.5), RATE))
    copy = keras.optimizers.deserialize(config, custom_objects={"Unregistered": Unregistered})
    assert isinstance(copy, Unregistered)
    assert (float(copy.learning_rate), copy.pole_rate) == (0.5, RATE)


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has no MultiOptimizer")
def test_one_of_several_optimizers_may_be_slow():
    pole, kernel, gradients = variables()
    start = keras.ops.convert_to_numpy(pole)
    several = keras.optimizers.OptimizerMap(slow_poles(keras.optimizers.SGD(0.5), RATE))
    several["frequency"] = keras.optimizers.Adam(0.01)
    after = train(keras.optimizers.MultiOptimizer(several), [pole, kernel], gradients[:1])[0]
    np.testing.assert_allclose(start - after, RATE * 0.5 * gradients[0, 0], rtol=1e-5, atol=1e-6)


def test_it_stays_an_optimizer_of_its_class():
    optimizer = keras.optimizers.AdamW(0.1, beta_1=0.8)
    slow = slow_poles(optimizer)
    assert slow is optimizer
    assert isinstance(slow, keras.optimizers.AdamW)
    assert (slow.beta_1, slow.pole_rate) == (0.8, 0.1)
    assert type(slow) is type(slow_poles(keras.optimizers.AdamW()))
    assert type(keras.optimizers.AdamW()) is keras.optimizers.AdamW
    assert isinstance(slow_poles("sgd"), keras.optimizers.SGD)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "slow", None])
def test_refused_rates(rate):
    with pytest.raises(ValueError, match=r"slow_poles got pole_rate=.*; expected a number from 0 to 1"):
        slow_poles("adam", rate)


@pytest.mark.parametrize("optimizer", [None, 3, keras.optimizers.Adam])
def test_refused_types(optimizer):
    with pytest.raises(ValueError, match=r"slow_poles got .*; expected a Keras optimizer or the name of one"):
        slow_poles(optimizer)


def test_refused_optimizers():
    with pytest.raises(ValueError, match=r"already has slow poles, pole_rate=0\.1"):
        slow_poles(slow_poles("adam"))
    with pytest.raises(ValueError, match="got LossScaleOptimizer, which leaves the steps to other optimizers"):
        slow_poles(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
    built = keras.optimizers.Adam()
    built.build([keras.Variable(1.0)])
    with pytest.raises(ValueError, match="in use already; make a new one"):
        slow_poles(built)
    told = keras.optimizers.AdamW()
    told.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(ValueError, match="after exclude_from_weight_decay, which would be forgotten"):
        slow_poles(told)


def test_decay_cannot_be_changed_under_way():
    optimizer = slow_poles("adamw")
    optimizer.build([keras.Variable(1.0)])
    with pytest.raises(ValueError, match="say what not to decay before the model trains"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
