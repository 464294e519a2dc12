"""The metric on the validation data against size, and what a step costs: costs.json, tradeoff.json."""

from __future__ import annotations

from keras_s4.compression import reduce
from keras_s4.job import costs
from keras_s4.job.job import Job
from keras_s4.job.stages import MODELS

# The size of a `.tflite` does not depend on how many windows set its scales.
SIZE_WINDOWS = 8


def compute(job: Job) -> None:
    """Truncates the trained model to several ranks, and judges each; counts instructions: costs.json, tradeoff.json."""
    sizes, aim = job.folder.read_json("sizes.json"), job.aim
    trained = job.folder.load_model("trained.keras")
    candidates = [2**exponent for exponent in range(10) if 2**exponent < job.settings.states]
    points = []
    for index, rank in enumerate(candidates):
        job.report(index, len(candidates) + 1, f"{rank} modes a channel")
        model = reduce(trained, rank)
        size = len(job.convert(aim.exported(model), SIZE_WINDOWS).tflite)
        points.append({"rank": rank, aim.choice: aim.validate(model)[aim.choice], "tflite_bytes": size})
    job.report(len(candidates), len(candidates) + 1, "instructions a step")
    job.folder.write_json("costs.json", costs.measure(job))
    result = {"windows": len(aim.examples("validation")[0]), "score": aim.choice, "truncated": points}
    for name in ("trained", *MODELS[2:]):
        model = trained if name == "trained" else job.folder.load_model(f"{name}.keras")
        result[name] = {
            aim.choice: aim.validate(model)[aim.choice],
            "tflite_bytes": sizes[name]["manifest"]["tflite_bytes"],
        }
    job.folder.write_json("tradeoff.json", result)
