"""The model with fewer states, and the spectra that say which: spectrum.json, reduced.keras."""

from __future__ import annotations

from keras_s4.compression import ranks, reduce, spectrum
from keras_s4.job.job import Job


def compute(job: Job) -> None:
    """Keeps the states that matter: spectrum.json, reduced.keras."""
    job.report(0, 1, "")
    model = job.folder.load_model("trained.keras")
    parts = spectrum(model)
    chosen = ranks.uniform(model, fraction=job.settings.fraction)
    figures, curves = parts.figures(), parts.curves(chosen)
    job.folder.write_json("spectrum.json", {name: figures[name] | curves[name] for name in curves})
    job.folder.save_model("reduced.keras", reduce(model, chosen))
