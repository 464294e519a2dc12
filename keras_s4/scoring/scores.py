"""How good outputs are, by what they mean: against targets, and against the outputs that they should equal."""

from __future__ import annotations

import numpy as np

from keras_s4.scoring.heads import MULTI_LABEL, REGRESSION, Head

# References are in single precision: what is smaller, relative to a signal's power, is not known to be noise.
PRECISION = 2.0**-48
GOOD, POOR, WRONG = VERDICTS = ("good", "poor", "WRONG")
# Below these an output is no longer good, and below those it is wrong. In dB, of quantities against those of the model:
# the error is a tenth, or a third, of what they vary by.
LEAST_RATIOS = (20.0, 10.0)
# Of labels equal to those of the model.
LEAST_AGREEMENTS = (0.95, 0.8)


def against_targets(head: Head, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Metrics of outputs on what they should have been.

    Args:
        head: of the outputs.
        outputs: `[B, ..., C]`.
        targets: as `Head.targets` gives them.

    Returns:
        "accuracy", the share of right labels; of several labels also "exact", the share of rows with all of them right.
        Of quantities "rmse" and "mae", the root mean square and the mean absolute error in the units of the targets.
    """
    found = head.decide(outputs)
    if head.task == REGRESSION:
        error = found.astype(np.float64) - targets
        return {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}
    return _shares(head, found == targets, "accuracy", "exact")


def against_reference(head: Head, outputs: np.ndarray, reference: np.ndarray) -> dict[str, float | None]:
    """How far outputs are those of a reference.

    Args:
        head: of both.
        outputs: `[B, ..., C]`.
        reference: the same of the model.

    Returns:
        "agreement", the share of equal labels; of several labels also "exact_agreement". Of quantities "snr", the
        signal-to-noise ratio in dB of the column that has the least: what the reference varies by, against what the
        outputs differ from it. None where all are zero. Labels that are all the same would be equal to those of a
        device that does nothing, and have an "snr", too.
    """
    ratios = [ratio for ratio in signal_to_noise(reference, outputs) if ratio is not None]
    snr = {"snr": min(ratios, default=None)}
    if head.task == REGRESSION:
        return snr
    found, wanted = head.decide(outputs), head.decide(reference)
    shares = _shares(head, found == wanted, "agreement", "exact_agreement")
    return shares | snr if (wanted == wanted.ravel()[0]).all() else shares


def verdict(figures: dict[str, float | None]) -> str:
    """Whether outputs with these figures of `against_reference` can stand for those of the model: one of `VERDICTS`."""
    limits = {"snr": LEAST_RATIOS, "agreement": LEAST_AGREEMENTS}
    known = [(figures[name], least) for name, least in limits.items() if figures.get(name) is not None]
    failed = max((sum(value < limit for limit in least) for value, least in known), default=0)
    return VERDICTS[failed]


def signal_to_noise(reference: np.ndarray, received: np.ndarray) -> list[float | None]:
    """The ratio of each column `[..., C]` in dB, of what the reference varies by; of a constant one, of its size."""
    columns = reference.shape[-1] if reference.ndim > 1 else 1
    wanted, found = (array.astype(np.float64).reshape(-1, columns) for array in (reference, received))
    size, noise = np.mean(wanted**2, axis=0), np.mean((found - wanted) ** 2, axis=0)
    variance = wanted.var(axis=0)
    signal = np.where(variance > size * PRECISION, variance, size)
    return [_decibels(*pair) for pair in zip(signal, noise, strict=True)]


def _decibels(signal: float, noise: float) -> float | None:
    if signal == 0.0 and noise == 0.0:
        return None
    ends = 10.0 * np.log10(1.0 / PRECISION)
    with np.errstate(divide="ignore"):
        return float(np.clip(10.0 * (np.log10(signal) - np.log10(noise)), -ends, ends))


def _shares(head: Head, equal: np.ndarray, name: str, exact: str) -> dict[str, float]:
    shares = {name: float(np.mean(equal))}
    if head.task == MULTI_LABEL:
        shares[exact] = float(np.mean(equal.all(axis=-1)))
    return shares
