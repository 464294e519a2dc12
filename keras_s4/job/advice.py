"""What to do next, by rules over the figures of a run: each says what was seen, and what usually helps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Between training and validation data, as shares: what is overfitting, and below which nothing was learned well.
OVERFIT, UNDERFIT = 0.12, 0.8
# Shares that the device, or the reduction, may lose; labels that should be equal on it.
LOST, EQUAL = 0.01, 0.99
# Of a class: how few windows are few, how seldom found is seldom, and how often two are confused.
FEW_WINDOWS, SELDOM_FOUND, CONFUSED = 20, 0.6, 0.15
# In dB, of quantities on the device against the model.
LEAST_SNR = 20.0


def advise(summary: dict[str, Any]) -> list[str]:
    """What to do next; empty if nothing stands out."""
    rules = (_fit, _reduction, _device, _aware, _classes, _confusion, _quantities, _anomalies, _streams, _costs)
    return [sentence for rule in rules for sentence in rule(summary)]


def _fit(summary: dict[str, Any]) -> Iterator[str]:
    training = summary["training"]
    score = training["score"]
    train, validation = training["train"][score], training["validation"][score]
    if score == "rmse":
        if train and validation > 1.5 * train:
            yield (
                f"The error on validation data is {validation / train:.1f} times that on training data: overfitting. "
                "More recordings of more sources help most; then augmentation, fewer channels, fewer epochs."
            )
        return
    if train < UNDERFIT:
        yield (
            f"Only {train:.0%} right on the training data itself: underfitting. Train longer (--epochs), or make the "
            "model larger (--channels, --states); look at whether labels and windows belong together."
        )
    elif train - validation > OVERFIT:
        yield (
            f"{train:.0%} right on training data, {validation:.0%} on validation data: overfitting. Recordings of more "
            "people or machines help most; then augmentation, fewer channels, fewer epochs."
        )


def _reduction(summary: dict[str, Any]) -> Iterator[str]:
    rows = _rows(summary)
    score = summary["metric"]["score"]
    if "Keras retrained" not in rows or score not in ("accuracy", "auc"):
        return
    lost = (rows["Keras trained"][score] or 0) - (rows["Keras retrained"][score] or 0)
    if lost > LOST:
        yield (
            f"The reduction to {summary['settings']['fraction']:.0%} of the states cost {lost:.1%} on the test data. "
            "Keep more of them (--fraction), or train longer afterwards (--retrain-epochs)."
        )


def _device(summary: dict[str, Any]) -> Iterator[str]:
    rows, metric = _rows(summary), summary["metric"]
    device = rows.get("TFLM") or rows.get("C99") or rows.get("emulator")
    model = rows.get("Keras aware")
    if device is None or model is None:
        return
    for key in ("accuracy", "auc"):
        if key == metric["score"] and (model[key] or 0) - (device[key] or 0) > LOST:
            yield (
                f"The device loses {model[key] - device[key]:.1%} against Keras: `keras-s4 convert aware.keras "
                "--analyse` shows in which layer; more --aware-epochs, or int16 activations there, win it back."
            )
    if metric["likeness"] == "agreement" and device["agreement"] < EQUAL:
        yield (
            f"{device['agreement']:.1%} of the labels on the device are those of Keras, fewer than {EQUAL:.0%}. "
            "Calibration data of the range that really occurs, or more --aware-epochs."
        )
    if metric["likeness"] == "snr" and device["snr"] is not None and device["snr"] < LEAST_SNR:
        yield (
            f"The device differs from Keras by a signal-to-noise ratio of {device['snr']:.0f} dB. int16 activations "
            "(`keras-s4 convert --activations`) are finer."
        )


def _aware(summary: dict[str, Any]) -> Iterator[str]:
    aware = summary["aware"]
    if not aware["trained"] and summary["settings"]["aware_epochs"]:
        yield f"The model was not trained on the device's grids: {aware['why_not']}"


def _classes(summary: dict[str, Any]) -> Iterator[str]:
    rows = summary["details"].get("classes", [])
    few = [row for row in rows if row["support"] < FEW_WINDOWS]
    if few:
        counts = ", ".join(f"{row['name']} ({row['support']})" for row in few)
        yield f"Few test windows, fewer than {FEW_WINDOWS}, so that figures are rough: {counts}. Record more."
    seldom = [row for row in rows if row not in few and row["recall"] < SELDOM_FOUND]
    if seldom:
        shares = ", ".join(f"{row['recall']:.0%} of {row['name']}" for row in seldom)
        yield (
            f"Of the windows of some classes few are found: {shares}. Record more of them, look at their labels, or "
            "let rare classes count for more (balance = true)."
        )


def _confusion(summary: dict[str, Any]) -> Iterator[str]:
    counts, names = summary["details"].get("confusion"), summary["task"]["classes"]
    if not counts:
        return
    pairs = []
    for true, row in enumerate(counts):
        for other, count in enumerate(row):
            if other != true and sum(row) >= FEW_WINDOWS and count / sum(row) > CONFUSED:
                pairs.append((count / sum(row), true, other))
    if pairs:
        share, true, other = max(pairs)
        yield (
            f"{share:.0%} of class {names[true]} are taken for {names[other]}. Look at whether the sensors can tell "
            "them apart at all; longer windows, another sensor, or one class for both."
        )


def _quantities(summary: dict[str, Any]) -> Iterator[str]:
    for row in summary["details"].get("quantities", []):
        naive = row.get("persistence_rmse")
        if naive is not None and row["rmse"] > naive:
            yield (
                f"The forecast of {row['name']} (RMSE {row['rmse']:.3g}) is worse than saying that nothing changes "
                f"({naive:.3g}). Train longer, or forecast fewer steps."
            )
        elif naive is None and row["r2"] is not None and row["r2"] < 0.5:
            yield (
                f"{row['name']}: the model explains {max(row['r2'], 0.0):.0%} of its variance. Look at whether the "
                "signals tell it at all; longer windows, a larger model."
            )


def _anomalies(summary: dict[str, Any]) -> Iterator[str]:
    found = summary["details"].get("alarms")
    if found and found["detected"] is not None and found["detected"] < SELDOM_FOUND:
        yield (
            f"{found['detected']:.0%} of the anomalous {found['of']} raise an alarm. A lower --normal-part finds more "
            "of them, at the price of more false alarms; so does a longer window."
        )


def _streams(summary: dict[str, Any]) -> Iterator[str]:
    found = summary.get("streams") or {}
    device = (found.get("decided") or {}).get("device")
    if not device:
        return
    right, aligned = device["settled_accuracy"], _rows(summary)["emulator"]["accuracy"]
    if right is not None and aligned - right > 0.05:
        yield (
            f"In streams {right:.0%} of the decisions are right, of whole windows {aligned:.0%}. A longer pooling "
            "([live] seconds) decides more surely, and later."
        )
    if device["missed_share"]:
        missed = device["missed_share"]
        yield f"{missed:.0%} of the events in streams are missed. A lower threshold ([decision]) finds more."


def _costs(summary: dict[str, Any]) -> Iterator[str]:
    costs, rate = summary.get("costs") or {}, summary["task"]["rate"]
    used = costs.get("microseconds_a_step")
    if used and rate and used * rate > 0.8e6:
        yield (
            f"A step takes about {used:,.0f} microseconds on a Cortex-M4 at {costs['clock_mhz']:g} MHz, and one comes "
            f"every {1e6 / rate:,.0f}: too slow. Fewer --channels or --blocks, or a lower rate."
        )


def _rows(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["row"]: row for row in summary["table"]}
