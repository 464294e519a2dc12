"""One plan for step mode and export: random models, whose timing Keras itself is asked for."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import DSS, LastStep
from keras_s4.streaming import STEP_MODE
from keras_s4.streaming.plan import plan_of, rules
from keras_s4.surgery.graph import GRAPHS
from keras_s4.testing.architectures import random_model
from keras_s4.tflite.lowering import plan_of_export
from keras_s4.tflite.lowering.registry import EXPORT

SEEDS = range(2000, 2016)


def in_time(plan):
    """What a plan says of every call, but for the shapes of Keras."""
    calls = (call for call in plan.layer_calls() if call.inputs[0].has_time)
    return {call.path: (call.effect, call.timing, call.outputs) for call in calls}


def test_both_read_rules_and_whatever_is_exported_runs_step_by_step():
    for layer_class in EXPORT.handlers:
        runs = any(kind in STEP_MODE.handlers for kind in layer_class.__mro__)
        behind_a_pooling = layer_class is layers.Flatten
        assert runs or behind_a_pooling or layer_class in GRAPHS, layer_class
    for layer_class in {*EXPORT.handlers, *STEP_MODE.handlers} - set(GRAPHS):
        assert any(kind in rules._RULES for kind in layer_class.__mro__), layer_class


@pytest.mark.parametrize("seed", SEEDS)
def test_random_models_have_one_timing_for_both(seed):
    keras.backend.clear_session()
    model, data, _ = random_model(seed)
    length = data[0].shape[1]
    exported = plan_of_export(model, length, counted=False, samples=length)
    streamed = plan_of(model, STEP_MODE)
    assert in_time(streamed) == in_time(exported)
    assert [flow.timing for flow in streamed.outputs] == [flow.timing for flow in exported.outputs]
    for flow, tensor in zip(streamed.outputs, model.outputs, strict=True):
        assert flow.shape == tuple(tensor.shape)
        assert flow.has_time == (len(tensor.shape) == 3)
        if flow.has_time:
            assert flow.timing.count(length) == tensor.shape[1]


def first_changed(model, x, step):
    """The first value of the output that depends on the sample at a step; as many as there are where none does."""
    other = x.copy()
    other[:, step] += np.random.default_rng(step).normal(0.0, 3.0, other[:, step].shape)
    before, after = (np.asarray(model(each)) for each in (x, other))
    changed = np.abs(after - before).max(axis=(0, 2)) > 1e-4  # an FFT rounds what comes before, too
    return int(changed.argmax()) if changed.any() else len(changed)


STACKS = {
    "strides": lambda: [layers.Conv1D(3, 3, padding="causal", strides=2), layers.AveragePooling1D(3), DSS(2)],
    "late": lambda: [layers.Conv1D(3, 4, dilation_rate=2), layers.Cropping1D((1, 0)), layers.Conv1D(2, 2, strides=3)],
    "padded": lambda: [
        layers.ZeroPadding1D((1, 0)),
        layers.Conv1D(3, 4, strides=2),
        DSS(2),
    ],
    "overlapping": lambda: [layers.AveragePooling1D(4, strides=3), layers.SeparableConv1D(3, 2)],
}


@pytest.mark.parametrize("name", STACKS)
def test_a_value_is_due_at_the_last_sample_that_it_depends_on(name):
    model = keras.Sequential([keras.Input((30, 2)), *STACKS[name]()])
    (flow,) = plan_of(model, STEP_MODE).outputs
    x = np.random.default_rng(0).normal(size=(4, 30, 2)).astype("float32")
    for value in range(3):
        due = flow.timing.phase + value * flow.timing.period
        assert first_changed(model, x, due) == value
        if due + 1 < 30:
            assert first_changed(model, x, due + 1) > value


def test_nested_models_are_planned_at_the_rate_of_their_place():
    inner = keras.Sequential([keras.Input((None, 2)), layers.Conv1D(3, 2, strides=2), layers.GRU(2, name="gru")])
    inputs = keras.Input((24, 2))
    pooled = layers.MaxPooling1D(3)(inputs)
    plan = plan_of(keras.Model(inputs, [inner(pooled), inner(layers.Dense(2)(pooled))]), STEP_MODE)
    calls = {call.path: call for call in plan.layer_calls()}
    assert [path for path in calls if "gru" in path] == [
        f"{inner.name}/gru",
        f"call_2/{inner.name}/call_2/gru",
    ]
    gru = calls[f"{inner.name}/gru"]
    assert (gru.timing.period, gru.timing.phase) == (6, 5)
    assert plan.period == 6


def test_values_behind_poolings_of_different_rates_meet():
    inputs = keras.Input((12, 2))
    slow, slower = (LastStep()(layers.MaxPooling1D(size)(inputs)) for size in (2, 3))
    (flow,) = plan_of(keras.Model(inputs, layers.Add()([slow, slower])), EXPORT).outputs
    assert (flow.timing.period, flow.timing.phase, flow.has_time) == (1, 2, False)
