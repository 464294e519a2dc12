"""What each model takes on a device, and the files for it: decision.json, curve.json, firmware/, sizes.json."""

from __future__ import annotations

import shutil

from keras_s4.compression import parts_of
from keras_s4.job.decision import choose
from keras_s4.job.job import Job
from keras_s4.job.stages import MODELS


def compute(job: Job) -> None:
    """Converts every model, and writes the last one's firmware: decision.json, curve.json, firmware/, sizes.json."""
    sizes = {}
    for index, name in enumerate(MODELS):
        job.report(index, len(MODELS) + 1, f"the {name} model")
        model = job.exported(name)
        converted = job.firmware if name == MODELS[-1] else job.convert(model)
        parts = parts_of(model).values()
        sizes[name] = {
            "parameters": model.count_params(),
            "states": sum(part.modes for part in parts),
            "manifest": converted.manifest,
        }
    job.report(len(MODELS), len(MODELS) + 1, "firmware files")
    decision, curve = choose(job)
    job.folder.write_json("decision.json", {} if decision is None else decision.to_dict())
    job.folder.write_json("curve.json", {"curve": curve})
    saved = job.folder.work / "firmware"
    shutil.rmtree(saved, ignore_errors=True)
    sensors = job.task.sensors if all(sensor.lsb is not None for sensor in job.task.sensors) else None
    job.firmware.save(saved, decision=decision, sensors=sensors)
    job.folder.take_folder(saved, "firmware")
    job.folder.write_json("sizes.json", sizes)
