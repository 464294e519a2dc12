"""The graph of models: order, names of tensors, and running it on other values than tensors."""

import keras
import pytest

from keras_s4.graph import Graph, Node, graph_of
from keras_s4.layers import S4Block
from keras_s4.models import classifier


def calls(graph):
    """Layer name, input tensors and output tensor of each node."""
    return [(node.layer.name, node.inputs, node.output) for node in graph.nodes]


def trace(model, *inputs):
    """What the outputs are made of, written as nested calls."""
    return graph_of(model).run(lambda layer, values: f"{layer.name}({', '.join(values)})", list(inputs))


def dense(name):
    return keras.layers.Dense(4, name=name)


def test_sequential():
    model = keras.Sequential([keras.Input((5, 3)), dense("first"), dense("second")])
    graph = graph_of(model)
    assert calls(graph) == [
        ("first", (("input", 0, 0),), ("first", 0, 0)),
        ("second", (("first", 0, 0),), ("second", 0, 0)),
    ]
    assert graph.inputs == (("input", 0, 0),)
    assert graph.outputs == (("second", 0, 0),)
    assert graph.nodes[1].layer is model.layers[1]


@pytest.mark.parametrize("last", [False, True])
def test_a_model_inside_a_model(last):
    inputs = keras.Input((5, 3))
    inner = keras.Model(inputs, dense("hidden")(inputs), name="inner")
    outer = keras.Input((5, 3))
    outputs = inner(outer) if last else dense("head")(inner(outer))
    assert trace(keras.Model(outer, outputs), "x") == (["inner(x)"] if last else ["head(inner(x))"])


def test_functional_with_branches():
    inputs = keras.Input((5, 3), name="samples")
    left = dense("left")(inputs)
    right = dense("right")(inputs)
    outputs = dense("last")(keras.layers.Add(name="sum")([right, left]))
    graph = graph_of(keras.Model(inputs, outputs))
    order = [name for name, _, _ in calls(graph)]
    assert set(order[:2]) == {"left", "right"}
    assert calls(graph)[2:] == [
        ("sum", (("right", 0, 0), ("left", 0, 0)), ("sum", 0, 0)),
        ("last", (("sum", 0, 0),), ("last", 0, 0)),
    ]
    assert graph.inputs == (("samples", 0, 0),)
    assert graph.outputs == (("last", 0, 0),)


def test_order_is_one_of_computation_and_not_of_creation():
    inputs = keras.Input((5, 4))
    late, early = dense("late"), dense("early")
    model = keras.Model(inputs, keras.layers.Add(name="sum")([late(early(inputs)), inputs]))
    assert trace(model, "x") == ["sum(late(early(x)), x)"]


def test_a_layer_called_twice_has_two_nodes():
    inputs = keras.Input((5, 4))
    layer = dense("twice")
    model = keras.Model(inputs, layer(layer(inputs)))
    assert [output for _, _, output in calls(graph_of(model))] == [("twice", 0, 0), ("twice", 1, 0)]
    assert trace(model, "x") == ["twice(twice(x))"]


def test_calls_outside_the_model_do_not_count():
    inputs = keras.Input((5, 4))
    layer = dense("shared")
    layer(inputs)
    model = keras.Model(inputs, layer(dense("other")(inputs)))
    assert trace(model, "x") == ["shared(other(x))"]


def test_several_inputs_and_outputs_and_tensors_by_keyword():
    a, b = keras.Input((5, 4), name="a"), keras.Input((5, 4), name="b")
    mixed = keras.layers.MultiHeadAttention(1, 2, name="attention")(a, value=b)
    model = keras.Model([a, b], [mixed, dense("head")(b)])
    assert trace(model, "x", "y") == ["attention(x, y)", "head(y)"]


def test_blocks_are_one_node_each():
    model = classifier((20, 3), 2, channels=4, states=2, blocks=2)
    graph = graph_of(model)
    assert [node.layer.name for node in graph.nodes] == ["encoder", "block_1", "block_2", "pooling", "head"]
    assert isinstance(graph.nodes[1].layer, S4Block)


def test_run_wants_as_many_inputs_as_the_model_has():
    model = keras.Sequential([keras.Input((5, 3)), dense("first")])
    with pytest.raises(ValueError, match="longer"):
        trace(model, "x", "y")


def test_a_tensor_from_nowhere_is_refused():
    node = Node(dense("lost"), (("nowhere", 0, 0),), ("lost", 0, 0))
    from keras_s4.graph import _ordered

    with pytest.raises(ValueError, match="'lost' cannot be traced back"):
        _ordered([node], {("input", 0, 0)})


def test_a_value_needed_twice_is_computed_once():
    node = Node(dense("one"), (("input", 0, 0),), ("one", 0, 0))
    seen = []
    graph = Graph((node,), (("input", 0, 0),), (("one", 0, 0), ("one", 0, 0)))
    assert graph.run(lambda layer, values: seen.append(layer.name) or 7, [0]) == [7, 7]
    assert seen == ["one"]


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="'bare' is not built yet"):
        graph_of(keras.Sequential([dense("first")], name="bare"))


class Subclassed(keras.Model):
    def __init__(self, something=None, **kwargs):
        super().__init__(**kwargs)
        self.dense = dense("inner")

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.parametrize("argument", [None, object()], ids=["with_config", "without_config"])
def test_a_subclassed_model_is_refused(argument):
    model = Subclassed(argument, name="own")
    model(keras.ops.zeros((1, 5, 3)))
    with pytest.raises(ValueError, match=r"'own' is a Subclassed written by subclassing.*functional API"):
        graph_of(model)


def test_masks_are_left_out():
    """They come from operations beside the layers, and go to the layers behind as an argument."""
    tokens, samples = keras.Input((5,), dtype="int32", name="tokens"), keras.Input((5, 4), name="samples")
    words = keras.layers.GRU(2, return_sequences=True, name="gru")(
        keras.layers.Embedding(9, 4, mask_zero=True, name="words")(tokens)
    )
    pooling = keras.layers.GlobalAveragePooling1D(name="pooling")
    model = keras.Model([tokens, samples], [words, pooling(keras.layers.Masking(name="masking")(samples))])
    assert trace(model, "w", "x") == ["gru(words(w))", "pooling(masking(x))"]


@pytest.mark.parametrize("last", [False, True])
def test_what_is_computed_between_layers_is_refused(last):
    inputs = keras.Input((5, 4))
    between = keras.ops.tanh(inputs)
    with pytest.raises(ValueError, match=r"'own' computes tanh\w* between its layers.*use layers for that"):
        graph_of(keras.Model(inputs, between if last else dense("head")(between), name="own"))
