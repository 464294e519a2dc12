"""The model with fewer states, and the spectra and methods that say which: spectrum.json, reduced.keras."""

from __future__ import annotations

import numpy as np

from keras_s4.compression import ranks, reduce, spectrum
from keras_s4.job.job import Job

# Training windows that choose the methods, and steps of all of them together: more say hardly anything else.
GUIDING_WINDOWS, GUIDING_STEPS = 256, 100_000


def compute(job: Job) -> None:
    """Keeps the states that matter, each layer by the method with the least error: spectrum.json, reduced.keras."""
    job.report(0, 1, "")
    model = job.folder.load_model("trained.keras")
    parts = spectrum(model)
    chosen = ranks.uniform(model, fraction=job.settings.fraction)
    reduced = reduce(model, chosen, "auto", guiding_windows(job))
    figures, curves, choice = parts.figures(), parts.curves(chosen), reduced.method_choice.figures()
    methods = {n: {"method": choice["methods"].get(n), "errors": choice["layers"].get(n, {})} for n in curves}
    job.folder.write_json("spectrum.json", {name: figures[name] | curves[name] | methods[name] for name in curves})
    job.folder.save_model("reduced.keras", reduced)


def guiding_windows(job: Job) -> np.ndarray:
    """Windows of the training data that the methods are chosen by, evenly from all, `[W, L, features]`."""
    x, _ = job.task.windows("train")
    most = min(GUIDING_WINDOWS, max(1, GUIDING_STEPS // x.shape[1]))
    return x[np.unique(np.linspace(0, len(x) - 1, most).astype(int))]
