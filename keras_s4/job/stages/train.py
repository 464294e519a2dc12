"""The full model, and how good it is: trained.keras, training.json."""

from __future__ import annotations

from keras_s4 import training
from keras_s4.job.fit import fit
from keras_s4.job.job import Job

CHECKED_WINDOWS = 2


def compute(job: Job) -> None:
    """Trains the full model, and notes how well it learned: trained.keras, training.json."""
    model = job.aim.finish(job.aim.adapt(job.aim.build(job.settings), job.settings))
    job.report(0, 1, "can it be exported?")
    job.convert(job.aim.exported(model), CHECKED_WINDOWS)  # what it refuses is refused before training
    fit(job, model, "trained.keras", job.settings.epochs, training.LEARNING_RATE)
    figures = {split: job.aim.validate(model, split) for split in ("train", "validation")}
    job.folder.write_json("training.json", {"score": job.aim.choice, **figures})
