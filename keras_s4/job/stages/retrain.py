"""The reduced model, trained on: retrained.keras."""

from __future__ import annotations

from keras_s4.job.fit import fit
from keras_s4.job.job import Job


def compute(job: Job) -> None:
    """Trains the reduced model again: retrained.keras."""
    model = job.folder.load_model("reduced.keras")
    fit(job, model, "retrained.keras", job.settings.retrain_epochs, job.settings.retrain_rate)
