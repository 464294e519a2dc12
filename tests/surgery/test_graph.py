"""The graph of models: order, names of tensors, and running it on other values than tensors."""

import keras
import pytest

from keras_s4.layers import DSS, S4Block
from keras_s4.models import classifier
from keras_s4.surgery.calls import input_names
from keras_s4.surgery.graph import Graph, Node, as_numbered, graph_of


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
    from keras_s4.surgery.graph import _ordered

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


def model_named(name):
    inputs = keras.Input((5, 4))
    return keras.Model(inputs, dense("inside")(inputs), name=name)


def test_calls_of_a_nested_model_are_told_apart_among_the_outputs():
    """Keras counts them from 1 there, and from 0 among the inputs of layers."""
    a, b = keras.Input((5, 4)), keras.Input((5, 4))
    f, s, d = model_named("f"), keras.Sequential([keras.Input((5, 4)), dense("inside")], name="s"), dense("d")
    for layer in (f, s, d):
        layer(keras.Input((5, 4)))  # a call that the model knows nothing of
    outputs = [f(a), f(b), s(a), s(b), d(a), d(b), keras.layers.Add(name="add")([f(b), s(f(a)), d(b)])]
    expected = ["f(y)", "f(x)", "s(y)", "s(x)", "d(y)", "d(x)", "add(f(x), s(f(y)), d(x))"]
    assert trace(keras.Model([b, a], outputs), "x", "y") == expected


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_inputs_stand_in_the_order_of_the_model_whatever_their_names():
    b, a = keras.Input((5, 4)), keras.Input((5, 4))
    outputs = keras.layers.Subtract(name="minus")([b, a])
    named = keras.Model({"b": b, "a": a}, outputs)
    assert input_names(named) == ("a", "b")
    assert trace(named, "x", "y") == ["minus(y, x)"]
    listed = keras.Model([b, a], outputs)
    assert input_names(listed) == tuple(layer.name for layer in listed.layers[:2])
    assert trace(listed, "x", "y") == ["minus(x, y)"]
    outer = {name: keras.Input((5, 4)) for name in ("a", "b")}
    nested = keras.Model(named.input, outputs, name="nested")
    model = keras.Model(list(outer.values()), nested({"b": outer["b"], "a": outer["a"]}))
    assert trace(model, "x", "y") == ["nested(x, y)"]


class Pair(keras.layers.Layer):
    def call(self, inputs, gain=1.0, training=None):
        return gain * inputs, inputs + 1.0


def test_layers_with_several_outputs():
    inputs = keras.Input((5, 4))
    inner = keras.Model(inputs, {"q": dense("left")(inputs), "p": dense("right")(inputs)}, name="inner")
    first, second = Pair(name="pair")(inputs)
    both = inner(second)
    model = keras.Model(inputs, keras.layers.Add(name="sum")([both["q"], both["p"], first]))

    def call(layer, values):
        if isinstance(layer, keras.Model):
            return as_numbered(layer, graph_of(layer).run(call, values))
        text = f"{layer.name}({', '.join(values)})"
        return [f"{text}[0]", f"{text}[1]"] if isinstance(layer, Pair) else text

    assert graph_of(model).run(call, ["x"]) == ["sum(left(pair(x)[1]), right(pair(x)[1]), pair(x)[0])"]
    with pytest.raises(ValueError, match="Output 1 of layer 'pair' is read, but only its first output"):
        trace(model, "x")


def test_readers_of_an_input_are_found_inside_of_models():
    tokens = keras.Input((5,), dtype="int32")
    embedding = keras.layers.Embedding(9, 4)
    inner = keras.Sequential([keras.Input((5,), dtype="int32"), embedding], name="inner")
    outer = keras.Model(tokens, dense("head")(inner(tokens)))
    graph = graph_of(outer)
    assert list(graph.readers(graph.inputs[0])) == [embedding]


def handed_over(kind):
    x, y, state = keras.Input((5, 4), name="x"), keras.Input((5, 4), name="y"), keras.Input((3,), name="state")
    out, *states = {
        "lstm": keras.layers.LSTM(3, return_state=True, name="layer"),
        "dss": DSS(3, return_state=True, name="layer"),
        "bidirectional": keras.layers.Bidirectional(keras.layers.GRU(3, return_state=True), name="layer"),
    }.get(kind, keras.layers.GRU(3, return_state=True, name="layer"))(x)
    match kind:
        case "decoder":
            return keras.Model([x, y], keras.layers.GRU(3, name="decoder")(y, initial_state=states))
        case "by place":
            return keras.Model([x, state], keras.layers.GRU(3, name="decoder")(x, state))
        case "both":
            twice = keras.layers.Bidirectional(keras.layers.GRU(3), name="decoder")
            return keras.Model([x, state], twice(x, initial_state=[state, state]))
        case "dss start":
            start = keras.Input((4, 3, 2), name="state")
            return keras.Model([x, start], DSS(3, name="decoder")(x, initial_state=start))
        case "reader":
            return keras.Model(x, dense("reader")(states[0]))
    return keras.Model(x, [out, states[-1]])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("decoder", r"calls layer 'decoder' \(GRU\) with a state to start from .* comes from 'layer'"),
        ("by place", r"calls layer 'decoder' \(GRU\) with a state to start from .* comes from 'state'"),
        ("both", r"calls layer 'decoder' \(Bidirectional\) with a state to start from"),
        ("dss start", r"calls layer 'decoder' \(DSS\) with a state to start from .* comes from 'state'"),
        ("reader", r"Layer 'layer' \(GRU\) .* gives away its state .* layer 'reader' reads it.*LastStep"),
        ("gru", r"Layer 'layer' \(GRU\) .* gives away its state .* it is an output"),
        ("lstm", r"Layer 'layer' \(LSTM\) .* gives away its state"),
        ("dss", r"Layer 'layer' \(DSS\) .* gives away its state"),
        ("bidirectional", r"Layer 'layer' \(Bidirectional\) .* gives away its state"),
    ],
)
def test_states_that_are_handed_over_are_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        graph_of(handed_over(kind))


def test_a_state_that_nobody_reads_does_no_harm():
    inputs = keras.Input((5, 4))
    outputs, _ = keras.layers.GRU(3, return_state=True, name="gru")(inputs)
    assert trace(keras.Model(inputs, outputs), "x") == ["gru(x)"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: keras.layers.Dropout(0.5, name="layer")(x, training=True), "with training=True"),
        (lambda x: Pair(name="layer")(x, gain=3.0)[0], "with gain=3.0"),
        (lambda x: keras.layers.Add(name="layer")([x, keras.ops.ones((5, 4))]), "with an array of numbers"),
    ],
)
def test_what_a_call_says_beside_its_tensors_is_refused(call, message):
    inputs = keras.Input((5, 4))
    with pytest.raises(ValueError, match=f"calls layer 'layer' .* {message}"):
        graph_of(keras.Model(inputs, call(inputs)))


def test_arguments_that_say_nothing_are_left_out():
    inputs = keras.Input((5, 4))
    frozen = keras.layers.BatchNormalization(name="frozen")(inputs, training=False)
    assert trace(keras.Model(inputs, Pair(name="pair")(frozen, gain=1.0)[0]), "x") == ["pair(frozen(x))"]


class Doubled(keras.Model):
    """Does something else than its graph says."""

    def call(self, inputs, training=None):
        return 2.0 * super().call(inputs)


def test_a_functional_model_with_a_call_of_its_own_is_refused():
    inputs = keras.Input((5, 4))
    with pytest.raises(ValueError, match="written by subclassing"):
        graph_of(Doubled(inputs, dense("inside")(inputs)))


def test_operations_between_layers_are_refused_with_the_layer_to_use():
    inputs = keras.Input((10, 4))
    hidden = keras.layers.Dense(4)(inputs)
    with pytest.raises(ValueError, match=r"computes get_item.* keras_s4.layers.LastStep for x\[:, -1\]"):
        graph_of(keras.Model(inputs, keras.layers.Dense(2)(hidden[:, -1])))
    with pytest.raises(ValueError, match=r"computes mean .*keras.layers.GlobalAveragePooling1D"):
        graph_of(keras.Model(inputs, keras.layers.Dense(2)(keras.ops.mean(hidden, axis=1))))
