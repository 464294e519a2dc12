"""One call for a whole search over architectures: alone, or as the chief or a worker of several processes."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_s4.architecture_search.choices import choices_of
from keras_s4.architecture_search.examples import METRICS, Examples, examples_of
from keras_s4.architecture_search.experiment import Experiment, Parents
from keras_s4.architecture_search.prices import Measure, Prices, check_limits, cost_model
from keras_s4.architecture_search.proposals import TUNERS, KindsInTurn
from keras_s4.architecture_search.result import FILES, ArchitectureResult
from keras_s4.architecture_search.space import Space
from keras_s4.architecture_search.training import Trainer
from keras_s4.architecture_search.trial import NOTHING, REDUCTION, STARTS, ArchitectureTrial
from keras_s4.architectures import KINDS
from keras_s4.checks import choice, fraction, is_real, number, quote, whole_number
from keras_s4.compression.fingerprints import digest
from keras_s4.compression.layer_states import AUTO
from keras_s4.compression.search import distribution
from keras_s4.compression.search.conducting import TRIALS, begin, conduct
from keras_s4.compression.search.scoring import Measures
from keras_s4.compression.search.trials import TrialFolder
from keras_s4.costs.model import coefficients
from keras_s4.reduction import METHODS
from keras_s4.training import LEARNING_RATE

PARENTS, COSTS = "parents", "costs"
# The whole budget in every other proposal: most users want the best network within it, and the front besides.
SHARES = (1.0, 0.5, 1.0, 0.25)
# Modes of a trained network that others are cut from: of each channel, and of those that all channels share.
PARENT_STATES, SHARED_PARENT_STATES = 32, 64


def search_architectures(
    x: Any,
    y: Any = None,
    *,
    validation_data: tuple[Any, Any] | None = None,
    folder: str | Path,
    budgets: Mapping[str, float] | None = None,
    core: str = "m4",
    rate: float | None = None,
    kinds: Sequence[str] = KINDS,
    spaces: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    tuner: str = "bayesian",
    trials: int = 20,
    epochs: int = 20,
    shares: Sequence[float] | None = None,
    metric: str | None = None,
    head: str | None = None,
    normalize: bool | None = None,
    start: str = NOTHING,
    parent_epochs: int | None = None,
    method: str = "h2",
    measure: Measure | None = None,
    seed: int = 0,
    batch_size: int = 32,
    learning_rate: float = LEARNING_RATE,
    time_limit: float | None = None,
    on_trial: Callable[[ArchitectureTrial], Any] | None = None,
) -> ArchitectureResult:
    """Searches the network with the best metric on validation data within budgets, whatever its kind.

    Kinds, widths, blocks, states, whether channels share their modes, convolutions in front, rates inside the stack,
    ranks, gates and poolings are searched; every kind has as many trials, and every network the recipe of
    `keras_s4.compile_for`. What a network takes is known from the cost model before it is trained: proposals fill the
    budgets, and none is over them. The result is the front of the metric against each cost, and the best network within
    the budgets.

    Finished trials are kept in the folder: a search that was killed, called again with the same arguments, runs only
    what is missing, and with a higher `trials` goes on from there. Several processes share a search as they share one
    of `keras_s4.search`.

    Args:
        x: training windows `[W, L, F]`; or a `keras_s4.datasets.Task`, which has all data, their rate, and variations.
        y: classes `[W]` or rows of zeros and ones `[W, C]` as whole numbers, or quantities `[W]` or `[W, T]` as floats.
        validation_data: inputs and targets that networks are compared on. Not what the result is reported on.
        folder: for the trials and the result: `search.json`, `search.txt`, `model.keras` and `architecture.json` of
            the best network, and with matplotlib `pareto.svg` and `pareto.png`.
        budgets: the most that a network may take: `{"instructions": 9_000}` an input sample, or with a rate
            `"instructions_a_second"`; `"flash_bytes"`, `"ram_bytes"`. None for no limits.
        core: that the cost model is asked for, such as "m0", "m4" or "m55".
        rate: input samples a second; of a task its own.
        kinds: of `keras_s4.architectures.KINDS` that take part.
        spaces: choices of fields of `keras_s4.architectures.Architecture` by kind and field, in the place of the usual
            ones: `{"dss": {"states": (4, 8)}}`. Of networks that share modes (`"shared_modes": (True,)` for these
            alone, `(False,)` for none) the choices of states are `"shared_states"`. Under budgets a width is not chosen
            but found, as the largest that fits.
        tuner: "bayesian", "hyperband" or "random" of keras-tuner. Hyperband stops networks that lose after a part of
            the epochs, and goes on with the weights of the others.
        trials: of each kind, at most; with Hyperband every continued training is one.
        epochs: of a whole training.
        shares: parts of the budgets that proposals are to take, in turn; by default all, half, all, a quarter.
        metric: "accuracy", or of several labels "exact"; "rmse" or "mae" of quantities; or "loss". The first by
            default.
        head: "classes", "binary", "multi_label" or "regression", where the form of y does not tell.
        normalize: whether networks begin by bringing features to mean 0 and deviation 1; by default they do, or as the
            task says.
        start: "reduction" for networks of kind "dss" that are cut from a trained one of the same width, front and depth
            with 32 modes a channel, or 64 that are shared, trained once for all that need it, and then trained on.
        parent_epochs: of the training of these; by default as many as `epochs`.
        method: that reduces their states, a key of `keras_s4.reduction.METHODS`, or "auto"; see `keras_s4.reduce`.
            Singular perturbation cuts shared modes with a full feedthrough alone; others begin from nothing.
        measure: a function from an `Architecture` to what it takes, numbers by name, in the place of the cost model.
        seed: of the proposals and of every training, at least 0.
        batch_size: windows a gradient step; a smaller last batch is left out.
        learning_rate: the largest of the recipe.
        time_limit: seconds after which no trial is begun, and a chief waits for its workers no longer.
        on_trial: called with every trial that this process ran, or found in the folder.

    Returns:
        The trials so far; in a worker those of all workers.

    Raises:
        TypeError, ValueError: data or arguments that cannot be; budgets that no network keeps; a folder with another
            search, or with files of such names that none wrote.
        NotImplementedError: a task of padded recordings, forecasts, or outputs at every step.
        OSError: the folder cannot be written or the disk is full. What is finished stays.
        ConnectionError: a worker's chief does not answer.
        Exception: what went wrong in a trial, when three in a row failed.
    """
    role = distribution.role()
    trials, epochs, batch_size = (
        whole_number(value, f"search_architectures got {name}=")
        for name, value in (("trials", trials), ("epochs", epochs), ("batch_size", batch_size))
    )
    seed = whole_number(seed, "search_architectures got seed=", 0)
    choice(tuner, "search_architectures got tuner=", TUNERS)
    choice(start, "search_architectures got start=", STARTS)
    choice(method, "search_architectures got method=", (*METHODS, AUTO))
    _check_rates(time_limit, rate, learning_rate)
    parent_epochs = whole_number(epochs if parent_epochs is None else parent_epochs, "search_architectures got epochs=")
    deadline = time.monotonic() + (math.inf if time_limit is None else time_limit)
    choices = choices_of(kinds, spaces)
    shares = _shares(shares, budgets)
    examples = examples_of(x, y, validation_data, head, rate, normalize)
    metric = _metric(examples, metric)
    prices = Prices(measure or _cost_model(examples, core))
    measures = _measures(choices, prices)
    budgets = check_limits(budgets, measures)
    found = {kind: Space(kind, fields, prices, budgets, shares) for kind, fields in choices.items()}
    left_out = _kinds_over_budget(found, prices, budgets)

    folder = Path(folder)
    files = TrialFolder(folder / TRIALS, ArchitectureTrial)
    settings = {
        **examples.identity,
        "normalize": examples.normalize,
        "tuner": tuner,
        "epochs": epochs,
        "seed": seed,
        "metric": metric,
        "direction": "max" if metric in ("accuracy", "exact") else "min",
        "budgets": budgets,
        "shares": list(shares),
        "measures": list(measures),
        "measured_by": f"the cost model of {core}" if measure is None else "measure",
        "cost_model": digest(str(coefficients())) if measure is None else None,
        "rate": examples.rate,
        "spaces": choices,
        "left_out": left_out,
        "start": start,
        "parents": {"epochs": parent_epochs, "method": method} if start == REDUCTION else None,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
    }
    begin(folder, files, settings, FILES, role)
    prices.keep_in(folder / COSTS)
    trainer = Trainer(examples, metric, seed, batch_size, learning_rate)
    parents = _parents(folder, role, start, parent_epochs, method)
    experiment = Experiment(files, trainer, prices, budgets, epochs, parents)
    within = {kind: space for kind, space in found.items() if kind not in left_out}
    oracle = KindsInTurn(tuner, within, trials, epochs, seed, shares)
    conduct(folder, oracle, experiment, settings["direction"], deadline, FILES, on_trial)
    result = ArchitectureResult.read(folder)
    if role != "worker":
        result.write()
    return result


def _check_rates(time_limit: float | None, rate: float | None, learning_rate: float) -> None:
    for name, value in (("time_limit", time_limit), ("rate", rate)):
        if value is not None and not (is_real(value) and value > 0.0 and (value < math.inf or name == "time_limit")):
            raise ValueError(f"search_architectures got {name}={quote(value)}; expected a positive number, or None.")
    if number(learning_rate, "search_architectures got learning_rate=", 0.0) == 0.0:
        raise ValueError("search_architectures got learning_rate=0; expected a positive number.")


def _shares(shares: Sequence[float] | None, budgets: Mapping[str, float] | None) -> tuple[float, ...]:
    """Parts of the budgets in turn; without budgets there is nothing to share."""
    if shares is not None and (isinstance(shares, str) or not isinstance(shares, Sequence) or not shares):
        raise ValueError(f"search_architectures got shares={quote(shares)}; expected such as (1.0, 0.5).")
    checked = tuple(fraction(share, "search_architectures got shares with ") for share in shares or SHARES)
    return checked if budgets else (1.0,)


def _metric(examples: Examples, metric: str | None) -> str:
    known = METRICS[examples.head]
    return known[0] if metric is None else choice(metric, "search_architectures got metric=", known)


def _cost_model(examples: Examples, core: str) -> Measure:
    shape, outputs = examples.input_shape, examples.outputs
    return cost_model(shape, outputs, examples.head, examples.normalize, core, examples.rate)


def _measures(choices: Mapping[str, Any], prices: Prices) -> Measures:
    """What is measured of a network, by the example of one.

    Raises:
        ValueError: none of the kinds can be built for these windows.
    """
    why = ""
    for kind, fields in choices.items():
        _, network = Space(kind, fields, prices, {}).cheapest()
        if (measures := prices.of(network)) is not None:
            return measures
        why = prices.why_not(network)
    raise ValueError(f"No network of kind {' or '.join(choices)} can be built for these windows: {why}")


def _kinds_over_budget(found: Mapping[str, Space], prices: Prices, budgets: Mapping[str, float]) -> dict[str, str]:
    """Kinds whose smallest network is over a budget, or cannot be built, and the reason.

    Raises:
        ValueError: that is so of all.
    """
    left_out = {}
    for kind, space in found.items():
        _, network = space.cheapest()
        if space.load(network) > 1.0:
            taken = prices.of(network)
            words = "cannot be built" if taken is None else ", ".join(f"{name}={taken[name]:,.0f}" for name in budgets)
            why = f": {prices.why_not(network)}" if taken is None else ""
            left_out[kind] = f"the smallest network of kind {kind} ({network}) takes {words}{why}".replace(
                "takes cannot", "cannot"
            )
    if len(left_out) == len(found):
        limits = ", ".join(f"{name}={limit:,.0f}" for name, limit in budgets.items())
        raise ValueError(
            f"budgets is {limits or 'empty'}, but {'; '.join(left_out.values())}. Allow more, or give other spaces."
        )
    for why in left_out.values():
        warnings.warn(f"A kind is left out: {why}.", stacklevel=3)
    return left_out


def _parents(folder: Path, role: str, start: str, epochs: int, method: str) -> Parents | None:
    if start == NOTHING:
        return None
    files = TrialFolder(folder / PARENTS, ArchitectureTrial)
    if role != "worker":
        files.set_aside_damaged()
    return Parents(files, PARENT_STATES, SHARED_PARENT_STATES, epochs, method)
