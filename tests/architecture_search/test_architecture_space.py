"""What is proposed fits the budgets and fills them, by costs that are known beforehand."""

import itertools

import numpy as np
import pytest
from networks import MODES, SPACES, counted

from keras_s4.architecture_search.choices import choices_of
from keras_s4.architecture_search.prices import Prices, check_limits, cost_model
from keras_s4.architecture_search.space import Space
from keras_s4.architectures import KINDS, Architecture, build
from keras_s4.tflite import convert


def space(kind="cnn", budgets=None, measure=counted, **choices):
    usual = MODES if kind == "dss" else SPACES[kind]
    return Space(kind, {**usual, **choices}, Prices(measure), budgets or {}, (1.0, 0.5))


def points(space):
    names = [hp.name for hp in space.hyperparameters().space if hp.name != "share"]
    sizes = [len(space.choices[name]) for name in names]
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*map(range, sizes))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_network_is_the_widest_that_its_share_of_the_budgets_allows(seed, share):
    random = np.random.default_rng(seed)
    widths = tuple(sorted(random.choice(np.arange(1, 200), 25, replace=False).tolist()))
    steps = dict(zip(widths, np.cumsum(random.exponential(size=25)).tolist(), strict=True))
    asked = []

    def measure(network):
        asked.append(network)
        return {"work": steps[network.width] * network.blocks, "bytes": float(network.width)}

    budgets = {"work": random.uniform(2.0, 60.0), "bytes": random.uniform(20, 220)}
    found = space("cnn", budgets, measure, width=widths)
    for point in points(found)[:6]:
        asked.clear()
        network = found.fill(point, share)
        blocks = SPACES["cnn"]["blocks"][point["blocks"]]
        loads = {w: max(steps[w] * blocks / budgets["work"], w / budgets["bytes"]) for w in widths}
        within = [width for width in widths if loads[width] <= share]
        least = [widths[0]] if loads[widths[0]] <= 1.0 else []
        assert (network.width if network else None) == max(within or least, default=None)
        assert len(asked) <= 12


def test_what_is_over_a_budget_is_moved_towards_the_cheapest():
    found = space("cnn", {"work": 60.0})
    for point in points(found):
        _, network = found.nearest(point, 1.0, ())
        assert counted(network)["work"] <= 60.0


def test_no_network_is_given_twice_until_there_is_no_other():
    found = space("cnn", {"work": 60.0})
    taken = []
    with pytest.raises(LookupError, match="No other network of kind cnn fits"):
        for _ in range(1000):
            _, network = found.nearest({}, 1.0, taken)
            taken.append(str(network.figures()))
    fitting = {str(network.figures()) for point in points(found) if (network := found.fill(point, 1.0))}
    assert len(taken) == len(set(taken)) and set(taken) == fitting


def test_without_budgets_the_width_is_chosen():
    found = space("gru")
    assert {"width", "blocks", "front"} <= {hp.name for hp in found.hyperparameters().space}
    assert found.fill({"width": 2, "blocks": 1}, 1.0) == Architecture(
        "gru", width=12, blocks=2, downsample=1, pooling="last"
    )


def test_networks_that_contradict_themselves_are_left_out():
    found = space("gru", {"work": 1e9}, rank=(None, 8, 64))
    assert found.fill({"rank": 1}, 1.0).width == 16
    assert found.fill({"rank": 2}, 1.0) is None
    assert found.nearest({"rank": 2}, 1.0, ())[1].rank == 8


def test_what_cannot_be_built_is_not_proposed():
    def measure(network):
        if network.downsample > 1:
            raise ValueError("none is left")
        return counted(network)

    for budgets in ({}, {"work": 500.0}):
        found = space("cnn", budgets, measure)
        assert found.nearest({"downsample": 1}, 1.0, ())[1].downsample == 1


def test_the_usual_spaces_make_networks_of_every_kind():
    for kind, choices in choices_of(KINDS, None).items():
        assert {"average", "last", "max"} == set(choices["pooling"])
        found = Space(kind, choices, Prices(lambda network: {"work": float(network.width)}), {"work": 40.0})
        assert found.fill({}, 1.0).width == 40
        assert found.cheapest()[1].kind == kind


def test_networks_of_own_and_of_shared_modes_are_each_given_once_with_states_of_their_own():
    """What does not concern a network, as modes a channel where modes are shared, makes no second one of it."""
    found, networks = space("dss"), []
    with pytest.raises(LookupError):
        while True:
            point, network = found.nearest({"states": 1, "shared_states": 2}, 1.0, [str(n.figures()) for n in networks])
            networks.append(network)
            assert found.fill(point, 1.0) == network
            assert point["states" if network.shared_modes else "shared_states"] == 0
    own, shared = (
        {(n.width, n.blocks, n.states) for n in networks if n.shared_modes is value} for value in (False, True)
    )
    assert own == set(itertools.product(MODES["width"], MODES["blocks"], MODES["states"]))
    assert shared == set(itertools.product(MODES["width"], MODES["blocks"], MODES["shared_states"]))
    assert len(networks) == len(own) + len(shared)


@pytest.mark.parametrize("shared", [False, True])
def test_where_only_one_sharing_of_modes_fits_all_proposals_have_it(shared):
    sizes = {"width": (16,), "states": (2,), "shared_states": (6,)} if shared else {"width": (4,)}
    found = space("dss", {"work": 500.0 if shared else 100.0}, **sizes)
    assert found.cheapest()[1].shared_modes is shared
    for point in points(found):
        assert found.nearest(point, 1.0, ())[1].shared_modes is shared


def test_choices_of_modes_that_are_not_searched_are_left_out():
    usual, own, shared = (
        choices_of(("dss",), {"dss": {"shared_modes": modes}})["dss"].keys()
        for modes in ((False, True), (False,), (True,))
    )
    assert usual == choices_of(("dss",), None)["dss"].keys()
    assert usual - own == {"shared_states", "feedthrough"} and usual - shared == {"states"}
    assert min(choices_of("dss", None)["dss"]["shared_states"]) > min(choices_of("dss", None)["dss"]["states"])


@pytest.mark.parametrize(
    ("kinds", "given", "message"),
    [
        (("mlp",), None, "kinds has 'mlp'; expected one of 'dss'"),
        ((), None, r"kinds is \(\); expected one or more"),
        (("gru", "gru"), None, "each once"),
        (("gru",), {"dss": {}}, "spaces has kinds 'dss'; searched are gru"),
        (("gru",), {"gru": {"color": (1,)}}, "spaces of 'gru' has 'color'; an architecture has"),
        (("gru",), {"gru": {"blocks": ()}}, r"blocks=\(\); expected a tuple of choices"),
        (("gru",), {"gru": {"blocks": (0,)}}, "blocks=0; expected a whole number"),
        (("dss",), {"dss": {"shared_states": (8, 0)}}, "shared_states=0; expected a whole number"),
        (("dss",), {"dss": {"shared_modes": ("yes",)}}, "shared_modes='yes'; expected True or False"),
        (
            ("dss",),
            {"dss": {"shared_modes": (True,), "states": (4,)}},
            r"states, which no network .* give shared_states",
        ),
        (
            ("dss",),
            {"dss": {"shared_modes": (False,), "shared_states": (4,)}},
            "has shared_states, which .* give states",
        ),
        (("gru",), {"gru": {"shared_states": (4,)}}, "spaces of 'gru' has 'shared_states'"),
    ],
)
def test_impossible_spaces_are_refused(kinds, given, message):
    with pytest.raises(ValueError, match=message):
        choices_of(kinds, given)


def test_costs_are_asked_for_once_and_kept_whole(tmp_path):
    asked = []

    def measure(network):
        asked.append(network)
        if network.width == 4:
            raise NotImplementedError("too narrow")
        return counted(network)

    narrow, wide = Architecture("gru", width=4), Architecture("gru", width=8)
    for _ in range(2):
        prices = Prices(measure)
        prices.keep_in(tmp_path)
        assert prices.of(narrow) is None and prices.why_not(narrow) == "too narrow"
        assert prices.of(wide) == counted(wide) and prices.why_not(wide) == ""
    assert asked == [narrow, wide]
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    prices = Prices(measure)
    prices.keep_in(tmp_path)
    assert prices.of(wide) == counted(wide) and len(asked) == 3


def test_the_cost_model_tells_costs_of_a_sample_and_of_a_second():
    measure = cost_model((16, 2), 3, "classes", True, "m4", 50.0)
    every, strided = (measure(Architecture("cnn", 8, 1, front=front)) for front in ((4, 1), (4, 4)))
    assert set(every) == {"instructions", "instructions_a_second", "flash_bytes", "ram_bytes"}
    assert every["instructions_a_second"] == pytest.approx(50 * every["instructions"], abs=3)
    assert strided["instructions"] < 0.5 * every["instructions"]
    with pytest.raises(ValueError, match="core is 'z80'; the cost model knows"):
        cost_model((16, 2), 3, "classes", True, "z80", None)


def test_networks_that_could_not_be_exported_for_whole_windows_have_no_price():
    prices = Prices(cost_model((100, 2), 3, "classes", True, "m4", None))
    average, last = (Architecture("cnn", 4, 1, front=(8, 8), pooling=pooling) for pooling in ("average", "last"))
    assert "averages over windows of 100 steps, which end inside a block of 8" in prices.why_not(average)
    with pytest.raises(ValueError, match="windows of 100 steps"):
        convert(build(average, (100, 2), 3), np.ones((2, 100, 2)))
    assert prices.of(last)


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"instructions_a_second": 9}, "Give the rate"),
        ({"luck": 9}, "budgets limits luck; measured are work"),
        ({"work": 0}, "work=0; expected a positive number"),
        (9, "budgets is 9; expected limits by name"),
    ],
)
def test_impossible_budgets_are_refused(budgets, message):
    with pytest.raises(ValueError, match=message):
        check_limits(budgets, {"work": 1.0})
