"""How Keras and the device decide in continuous test streams, never reset: streams.npz, streams.json."""

from __future__ import annotations

import io

import numpy as np

from keras_s4.job.evaluation import evaluate
from keras_s4.job.job import Job


def compute(job: Job) -> None:
    """Runs the test streams: streams.npz, streams.json."""
    model = job.exported("aware")
    found = evaluate(job.task, model, job.firmware, job.decision, job.settings.seed, job.report, job.aim.in_units)
    content = io.BytesIO()
    np.savez_compressed(content, **found.arrays)
    job.folder.write("streams.npz", content.getvalue())
    job.folder.write_json("streams.json", found.figures | job.folder.read_json("curve.json"))
