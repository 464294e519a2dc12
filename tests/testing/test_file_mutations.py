"""Changes of a file's records follow one another in any order, whatever those before have taken away."""

import dataclasses

import numpy as np
import pytest

from keras_s4.testing.file_mutations import CHANGES, change_operator, mutate, places_of, records_of
from keras_s4.testing.programs import single
from keras_s4.tflite.flatbuffer import check_tflite, to_tflite


@pytest.fixture(scope="module")
def files():
    """Sound ones: with variables, whose initializer has few operators, and with a custom operator, which is but one."""
    state, bank = (single(kind, lowered=True) for kind in ("state_int16", "modal_step_fed_back"))
    return {"variables": to_tflite(state, "variables"), "custom": to_tflite(bank, "inputs", "custom")}


def graphs_of(data):
    """The subgraphs as records, and the constants."""
    summary, buffers = check_tflite(data), [b""]
    return [records_of(graph, buffers) for graph in (summary, summary.initializer) if graph], buffers


def test_changes_follow_changes(files):
    gone = 0
    for data in files.values():
        for start in graphs_of(data)[0]:
            for seed in range(200):
                graph, buffers, random = start, graphs_of(data)[1], np.random.default_rng(seed)
                for _ in range(12):
                    graph = CHANGES[int(random.integers(len(CHANGES)))](graph, buffers, random)
                gone += not graph.operators
    assert gone  # some have lost all of their operators


def test_a_graph_without_operators_stays_without(files):
    (graph, *_), buffers = graphs_of(files["custom"])
    empty = dataclasses.replace(graph, operators=[])
    for seed in range(30):
        assert change_operator(empty, buffers, np.random.default_rng(seed)) == empty


def test_the_only_operator_may_go(files):
    (graph, *_), buffers = graphs_of(files["custom"])
    one = dataclasses.replace(graph, operators=graph.operators[:1])
    counts = {len(change_operator(one, buffers, np.random.default_rng(seed)).operators) for seed in range(60)}
    assert counts == {0, 1, 2}


def test_every_kind_of_place_has_places(files):
    for data in files.values():
        places = places_of(data)
        assert all(places.values())
        assert all(0 <= place <= len(data) - size for each in places.values() for place, size in each)


def test_every_mutation_is_made(files):
    others = list(files.values())
    kinds = {mutate(data, others, np.random.default_rng(seed))[0] for data in others for seed in range(150)}
    assert kinds == {"bits", "bytes", "word", "cut", "splice", "more", "structure", "records"}
