"""What networks take on a core, known before they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_s4.architectures import Architecture
from keras_s4.compression.search.scoring import Measures, check_budgets, measure_checked
from keras_s4.compression.search.trials import name_of
from keras_s4.costs.architectures import architecture_cost
from keras_s4.costs.model import coefficients
from keras_s4.files import read_object, write_json

Measure = Callable[[Architecture], Mapping[str, float]]
A_SECOND = "_a_second"


class Prices:
    """What networks take, each asked for once.

    Args:
        measure: a function from an `Architecture` to what it takes, numbers by name.
    """

    def __init__(self, measure: Measure):
        self._measure = measure
        self._known: dict[str, Measures | str] = {}
        self._folder: Path | None = None

    def keep_in(self, folder: Path) -> None:
        """Keeps what is asked for from now on in a folder, for a search that goes on, and for other processes."""
        self._folder = folder

    def of(self, network: Architecture) -> Measures | None:
        """What a network takes; None if it cannot be built or exported.

        Raises:
            ValueError: what the function returns is not finite numbers by name.
        """
        known = self._price(network)
        return None if isinstance(known, str) else known

    def why_not(self, network: Architecture) -> str:
        """Why a network cannot be built or exported; "" if it can."""
        known = self._price(network)
        return known if isinstance(known, str) else ""

    def _price(self, network: Architecture) -> Measures | str:
        name = name_of(network.figures())
        if name not in self._known:
            self._known[name] = self._kept(name) or self._ask(network)
            self._keep(name)
        return self._known[name]

    def _ask(self, network: Architecture) -> Measures | str:
        try:
            found = self._measure(network)
        except (ValueError, NotImplementedError) as error:
            return str(error) or type(error).__name__
        return measure_checked(lambda _: found, network)

    def _kept(self, name: str) -> Measures | str | None:
        path = None if self._folder is None else self._folder / f"{name}.json"
        if path is None or not path.exists():
            return None
        try:
            kept = read_object(path, "Delete it.")
            return kept.get("refused") or measure_checked(lambda _: kept["measures"], None)
        except (ValueError, KeyError):  # it is asked for again
            return None

    def _keep(self, name: str) -> None:
        if self._folder is not None:
            known = self._known[name]
            write_json(
                self._folder / f"{name}.json", {"refused": known} if isinstance(known, str) else {"measures": known}
            )


def cost_model(
    input_shape: tuple[int, int], outputs: int, head: str, normalization: bool, core: str, rate: float | None
) -> Measure:
    """The cost model of a core as a function from networks to what they take.

    Args:
        input_shape, outputs, head, normalization: of the networks; see `keras_s4.architectures.build`.
        core: "m4" or another of the cost model.
        rate: input samples a second, or None.

    Returns:
        A function to "instructions" an input sample (averages of a whole period, where layers run at some steps only;
        "cycles" on cores whose instructions are not counted), "flash_bytes" and "ram_bytes"; with a rate also
        "instructions_a_second".

    Raises:
        ValueError: a core that the cost model does not have.
    """
    cores = coefficients()["cores"]
    if core not in cores:
        raise ValueError(f"core is {core!r}; the cost model knows {', '.join(cores)}.")

    def measure(architecture: Architecture) -> Measures:
        try:
            cost = architecture_cost(architecture, input_shape, outputs, core, head=head, normalization=normalization)
        except TypeError as error:
            raise ValueError(str(error)) from error
        counted = cost.instructions is not None
        name, work = ("instructions", cost.instructions) if counted else ("cycles", cost.likely_cycles)
        a_second = {} if rate is None else {name + A_SECOND: float(round(work * rate))}
        sizes = {"flash_bytes": int(cost.flash_bytes), "ram_bytes": int(cost.ram_bytes)}
        return {name: round(float(work), 1), **a_second, **sizes}

    return measure


def check_limits(budgets: Mapping[str, float] | None, measures: Mapping[str, Any]) -> dict[str, float]:
    """Budgets, checked against what is measured.

    Raises:
        ValueError: no budget, an unknown name, or a limit that is not a positive number.
    """
    if isinstance(budgets, Mapping):
        unknown = [name for name in budgets if name not in measures]
        asks_rate = any(str(name).endswith(A_SECOND) for name in unknown)
        if unknown:
            advice = " Give the rate, in input samples a second." if asks_rate else ""
            raise ValueError(
                f"budgets limits {', '.join(map(str, unknown))}; measured are {', '.join(measures)}.{advice}"
            )
    elif budgets is not None:
        raise ValueError(f"budgets is {budgets!r}; expected limits by name, such as {{'flash_bytes': 30_000}}.")
    return check_budgets(budgets, measures)
