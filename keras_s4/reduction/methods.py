"""All methods of reduction behind one call."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.balanced import balanced_truncation
from keras_s4.reduction.finite_horizon import finite_horizon_truncation
from keras_s4.reduction.h2 import h2_optimal
from keras_s4.reduction.input_weighted import input_weighted_truncation
from keras_s4.reduction.modal import modal_truncation
from keras_s4.reduction.result import ModalReduction, Reduction
from keras_s4.reduction.shared_modes import (
    balanced_truncation_of_modes,
    finite_horizon_truncation_of_modes,
    h2_optimal_of_modes,
    input_weighted_truncation_of_modes,
    modal_truncation_of_modes,
    singular_perturbation_of_modes,
)
from keras_s4.reduction.singular_perturbation import singular_perturbation
from keras_s4.systems import DiagonalSystem

METHODS: dict[str, Callable[..., Reduction]] = {
    "balanced": balanced_truncation,
    "finite_horizon": finite_horizon_truncation,
    "singular_perturbation": singular_perturbation,
    "input_weighted": input_weighted_truncation,
    "h2": h2_optimal,
    "modal": modal_truncation,
}

# Of systems whose modes are shared, by the same names and with the same options.
METHODS_OF_MODES: dict[str, Callable[..., ModalReduction]] = {
    "balanced": balanced_truncation_of_modes,
    "finite_horizon": finite_horizon_truncation_of_modes,
    "singular_perturbation": singular_perturbation_of_modes,
    "input_weighted": input_weighted_truncation_of_modes,
    "h2": h2_optimal_of_modes,
    "modal": modal_truncation_of_modes,
}


def reduce(
    system: DiagonalSystem | ModalSystem, rank: int | np.ndarray, method: str = "balanced", **options
) -> Reduction | ModalReduction:
    """Reduce every channel of a system, or a system whose modes are shared as a whole, by a method of `METHODS`.

    Args:
        system: the system to reduce, of N entries (in each of H channels).
        rank: entries (complex modes) kept (for each channel), an int, or for channels [H] ints, from 1 to N.
        method: "balanced" (Hankel singular values, with an error bound), "finite_horizon" (for kernels of `horizon`
            steps), "singular_perturbation" (exact for constant inputs, with the same bound), "input_weighted" (for
            inputs of a given `power_spectrum`), "h2" (the least error of the kernel) or "modal" (keeps poles of the
            system).
        **options: what the method takes besides; see its own docstring.

    Returns:
        A :class:`Reduction`; its system has ``max(rank)`` entries a channel, all of them stable. Of a
        :class:`~keras_s4.modal_system.ModalSystem` a :class:`ModalReduction`.

    Raises:
        ValueError: if there is no such method, for options that it needs and did not get or does not have, and for what
            the method itself refuses.
    """
    known = options_of(method)
    unknown = [name for name in options if name not in known]
    if unknown:
        has = f"its options are {', '.join(known)}" if known else "it has no options"
        raise ValueError(f"Received {', '.join(unknown)} for method {method!r}; {has}.")
    missing = [name for name, is_needed in known.items() if is_needed and name not in options]
    if missing:
        raise ValueError(
            f"Method {method!r} needs {', '.join(missing)}; pass {', '.join(f'{m}=...' for m in missing)}."
        )
    return (METHODS_OF_MODES if isinstance(system, ModalSystem) else METHODS)[method](system, rank, **options)


def options_of(method: str) -> dict[str, bool]:
    """What a method takes beside a system and a rank, and whether it must be given.

    Raises:
        ValueError: if there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"Received method={method!r}; expected one of {', '.join(map(repr, METHODS))}.")
    parameters = list(inspect.signature(METHODS[method]).parameters.values())[2:]
    return {item.name: item.default is item.empty for item in parameters}
