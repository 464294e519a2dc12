"""Which modules a checkpoint has: every array belongs to one of them, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import Bank, SharedBank
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules import flax_banks
from keras_s4.importers.modules.documented import arrays_layer
from keras_s4.importers.modules.layers import layer_at, plain_weights
from keras_s4.importers.modules.module import Module, Scope
from keras_s4.importers.modules.s4_layers import FAMILIES, family_of, s4_layer

# Names that wrappers of models put in front of all others.
WRAPPERS = ("module", "model", "_orig_mod", "net", "params")
KERNEL_MARKS = {name for marks, _ in FAMILIES for name in marks} - {"w", "B", "C", "W"}
# Of Flax, the most telling first: what marks a bank, how it is called, and what reads it.
FLAX: tuple[tuple[tuple[str, ...], str, Callable[[Scope, Answers], Bank]], ...] = (
    (("nu_log",), "LRU", lambda scope, _: flax_banks.lru(scope)),
    (("theta_log",), "LRU", lambda scope, _: flax_banks.lru(scope)),
    (("A_re",), "S4D of annotated-s4", lambda scope, _: flax_banks.annotated_s4d(scope)),
    (("A_im", "log_step"), "S4D of annotated-s4", lambda scope, _: flax_banks.annotated_s4d(scope)),
    (("Lambda_re", "W"), "DSS of annotated-s4", flax_banks.annotated_dss),
    (("Lambda_re", "P"), "S4 of annotated-s4", flax_banks.annotated_s4),
    (("Lambda_re",), "S5", flax_banks.s5),
    (("Lambda_im", "log_step"), "S5", flax_banks.s5),
)


def recognize(arrays: Mapping[str, np.ndarray], answers: Answers) -> dict[str, Module]:
    """The modules of a checkpoint by their paths, in the order of the file.

    Args:
        arrays: by name.
        answers: to questions that come up.

    Raises:
        ValueError: arrays of a module are missing, of a wrong shape, or belong to none.
    """
    arrays = plain_weights(_without_wrappers(arrays))
    used: set[str] = set()
    found = {module.path: module for module in _banks(arrays, used, answers)}
    for path in _paths(arrays, used):
        module = _plain(Scope(arrays, path, used), answers)
        if module is not None:
            found[module.path] = module
    left = [name for name in arrays if name not in used]
    if left:
        there = ", ".join(f"{module.name} ({module.title})" for module in found.values()) or "nothing"
        some = ", ".join(left[:12]) + (f" and {len(left) - 12} more" if len(left) > 12 else "")
        raise CheckpointError(f"The checkpoint has {len(left)} arrays left over: {some}. Recognised: {there}.")
    first = {path: index for index, path in reversed(list(enumerate(_module_of(found, name) for name in arrays)))}
    return dict(sorted(found.items(), key=lambda item: first.get(item[0], 0)))


def _banks(arrays: Mapping[str, np.ndarray], used: set[str], answers: Answers) -> Iterable[Module]:
    paths = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    for path in paths:
        scope = Scope(arrays, path, used)
        flax = next(((title, make) for marks, title, make in FLAX if scope.has(*marks)), None)
        if flax is not None:
            yield _flax(scope, *flax, answers)
        elif any(scope.has(mark) for mark in KERNEL_MARKS):
            if family_of(scope) is None:
                names = ", ".join(name for name in arrays if name.startswith(f"{path}." if path else ""))
                raise CheckpointError(f"{path or 'The checkpoint'} is part of no layer that is known: it has {names}.")
            yield s4_layer(scope, answers)
        elif scope.has("A", "B", "C", "log_step"):
            raise CheckpointError(f"{path} is a dense state space model (SSMLayer), which is not read.")


def _flax(scope: Scope, title: str, make: Callable, answers: Answers) -> Module:
    bank = make(scope, answers)
    path = scope.path or "dss"
    share = "that share" if isinstance(bank, SharedBank) else "of"
    about = f"{title}, {bank.channels} channels {share} {bank.state_size} modes" + (
        ", bidirectional" * bank.bidirectional
    )
    return Module(
        scope.path, about, "bank", bank.channels, lambda net, place, _: net.bank(path, place, bank), bank.channels
    )


def _plain(scope: Scope, answers: Answers) -> Module | None:
    return arrays_layer(scope, answers) or layer_at(scope, answers)


def _paths(arrays: Mapping[str, np.ndarray], used: set[str]) -> list[str]:
    """Paths under which arrays stand that are of no module yet."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in arrays if name not in used))


def _module_of(found: Mapping[str, Module], name: str) -> str:
    while name and name not in found:
        name = name.rpartition(".")[0]
    return name


def _without_wrappers(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names without what stands in front of all of them."""
    found = dict(arrays)
    while True:
        heads = {name.partition(".")[0] for name in found}
        if len(heads) != 1 or heads & set(WRAPPERS) != heads or any("." not in name for name in found):
            return found
        found = {name.partition(".")[2]: array for name, array in found.items()}
