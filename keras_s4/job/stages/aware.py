"""The retrained model, trained on the device's grids: aware.keras."""

from __future__ import annotations

import keras

from keras_s4.job.fit import fit
from keras_s4.job.job import Job
from keras_s4.surgery.lengths import at_length
from keras_s4.tflite.quantization import quantize_aware


def compute(job: Job) -> None:
    """Trains the retrained model as the device rounds: aware.keras, and in aware.json why not, where it was not.

    Where this cannot be, the model stays as it is: for want of the packages, or since its features are not of a kind.
    """
    model, why_not = _aware(job, job.folder.load_model("retrained.keras"))
    if why_not:
        job.folder.save_model("aware.keras", model)
    else:
        fit(job, model, "aware.keras", job.settings.aware_epochs, job.settings.aware_rate)
    job.folder.write_json("aware.json", {"trained": not why_not, "why_not": why_not})


def _aware(job: Job, model: keras.Model) -> tuple[keras.Model, str]:
    """The model on the device's grids and "", or as it was and why."""
    if not job.settings.aware_epochs:
        return model, "it was not asked for (aware_epochs=0)"
    job.report(0, 1, "finding ranges")
    try:
        core = job.aim.core(model)
        aware = quantize_aware(job.at_calibration(core), job.calibration, job.task.length)
        return job.aim.finish(aware if aware.input_shape == core.input_shape else at_length(aware, job.task.length)), ""
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        return model, str(error)
