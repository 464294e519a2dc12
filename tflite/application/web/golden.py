"""Golden vectors for a page: what it compares its integers with when it opens."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_s4.decisions import CLASS, WAKE_WORD, Decisions
from keras_s4.tflite.application.decisions import known_scores
from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.firmware import recordings_of
from keras_s4.tflite.application.web.packing import pack
from keras_s4.tflite.c99.layout import StateLayout


def golden_of_page(export: Export) -> dict[str, Any]:
    """Of the model, of the application and of its decisions, JSON-ready."""
    decided = None if export.decision is None else _known_decisions(export)
    return {"model": _golden_model(export), "application": _golden_application(export), "decisions": decided}


def _golden_model(export: Export) -> dict[str, Any]:
    """Every output of every step, and the states after the last one as the C has them."""
    golden, layout = export.golden, StateLayout(export.program, [0] * len(export.program.states))
    streams, steps = golden.inputs[0].shape[:2]
    last = [layout.swap_axes(t, array[:, -1]) for t, array in zip(layout.tensors, golden.states, strict=True)]
    return {
        "streams": streams,
        "steps": steps,
        "inputs": pack(_rows(golden.inputs, 2)),
        "outputs": pack(_rows(golden.outputs, 2)),
        "states": pack(_rows(last, 1) if last else []),
    }


def _golden_application(export: Export) -> dict[str, Any]:
    """Recordings through the application, as every board replays them."""
    decision = export.decision
    every = decision.decider.decision.every if decision else 0
    recordings = recordings_of(export.program, export.manifest["window_length"], export.golden, every, export.sensors)
    decided = np.zeros(0, np.int64)
    if decision is not None:
        scores = decision.scores_of(recordings.results[decision.place])
        of_each = scores.reshape(len(recordings.firsts), -1, scores.shape[-1])
        decided = np.concatenate([integers_of_decisions(decision.decider.run(own)) for own in of_each])
    return {
        "firsts": list(recordings.firsts),
        "length": recordings.length,
        "samples": pack(_rows(recordings.samples, 1)),
        "results": pack(_rows(recordings.results, 1)),
        "decided": pack(decided),
    }


def _known_decisions(export: Export) -> dict[str, Any]:
    scores = known_scores(export.decision.decider)
    return {"scores": pack(scores), "decided": pack(integers_of_decisions(export.decision.decider.run(scores)))}


def integers_of_decisions(decisions: Decisions) -> np.ndarray:
    """The fields of `decision_result` in C, one behind the other, `[L, fields]`."""
    if decisions.kind == CLASS:
        return np.stack([decisions.classes, decisions.fired.any(axis=-1)], axis=-1).astype(np.int64)
    if decisions.kind == WAKE_WORD:
        return decisions.classes[..., None].astype(np.int64)
    return np.concatenate([decisions.on, decisions.fired], axis=-1).astype(np.int64)


def _rows(arrays, axes: int) -> np.ndarray:
    """Arrays side by side, behind so many axes that they share."""
    return np.concatenate([np.asarray(each, np.int64).reshape(*each.shape[:axes], -1) for each in arrays], axis=-1)
