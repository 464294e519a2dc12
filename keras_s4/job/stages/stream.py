"""How Keras and the device decide in continuous test streams, never reset: streams.npz, streams.json."""

from __future__ import annotations

import io

import numpy as np

from keras_s4.job import streams
from keras_s4.job.job import Job


def compute(job: Job) -> None:
    """Runs the test streams: streams.npz, streams.json."""
    model = job.exported("aware")
    found = streams.evaluate(job.task, model, job.firmware, job.settings.seed, job.report, job.aim.in_units)
    content = io.BytesIO()
    np.savez_compressed(content, **found.arrays)
    job.folder.write("streams.npz", content.getvalue())
    job.folder.write_json("streams.json", found.figures)
