"""What weights of 4 bits save and cost, and how long and fast an aware training ought to be.

Two classifiers, of the smartwatch recordings (people of fold 0) and of synthetic keywords, trained, reduced to an
eighth of their states and retrained as in `export.py`. Each is converted with weights of 8 bits and of 4, as it is and
after a quantisation-aware training, whose rate and length are chosen on validation data, of three and two, for either
kind of weights. "Device" is the emulator, which computes all test sequences; TensorFlow Lite Micro and the C code
compute the first of them, and must agree. Instructions and flash are those of the C code on a Cortex-M4.

A run over takes some ten minutes on two cores; interrupt it whenever you like, it continues where it was.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json
from keras_s4.testing.processes import run_apart

TASK_NAMES = ("smartwatch", "keywords")
WEIGHTS = ("int8", "int4")
RATES = (2e-4, 6e-4, 2e-3)
# Gradient steps of an aware training.
LENGTHS = (100, 300)
# Sequences that TensorFlow Lite Micro and the C code run; the emulator runs all.
ON_ENGINES = 20
AT_ONCE = 250
CORE = "m4"


class AwareTrainer:
    """A model on the grids of some weights, compiled once and trained many times.

    Args:
        name: of the task.
        model: trained.
        weights: "int8" or "int4".
    """

    def __init__(self, name: str, model, weights: str):
        import keras

        from keras_s4 import quantize_aware
        from keras_s4.testing.reference_models import calibration_of
        from keras_s4.testing.sequence_tasks import STEPS_AT_ONCE, TASKS

        self.task = TASKS[name]
        self.model = quantize_aware(model, calibration_of(name), weights=weights)
        self.start = self.model.get_weights()
        self.model.compile(
            keras.optimizers.Adam(1e-4, clipnorm=1.0),
            "sparse_categorical_crossentropy",
            jit_compile=False,  # it takes longer than these trainings
            steps_per_execution=STEPS_AT_ONCE,
        )

    def train(self, rate: float, steps: int):
        """The model after a training from where it started, with a learning rate that falls along half a cosine."""
        import keras

        self.model.set_weights(self.start)
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))

        def falling(batch, logs=None):
            self.model.optimizer.learning_rate = rate * 0.5 * (1.0 + np.cos(np.pi * batch / steps))

        x, y = self.task.batches(2000, steps)
        callback = keras.callbacks.LambdaCallback(on_train_batch_begin=falling)
        self.model.fit(x, y, batch_size=self.task.batch_size, shuffle=False, verbose=0, callbacks=[callback])
        return self.model


def choose_training(name: str, folder: Path, weights: str) -> dict[str, Any]:
    """Accuracy on validation data after each training, and the best of them, of equal ones the first."""
    from keras_s4.files import write_model
    from keras_s4.testing.reference_models import load_or_train
    from keras_s4.testing.sequence_tasks import TASKS, accuracy

    model, validation = load_or_train(name, folder), TASKS[name].evaluation("validation")
    trainer = AwareTrainer(name, model, weights)

    def attempt(rate: float, steps: int) -> dict[str, Any]:
        trained = trainer.train(rate, steps)
        write_model(folder / aware_file(weights, rate, steps), trained)
        return {"rate": rate, "steps": steps, "validation": accuracy(trained, validation)}

    trials = [
        cache_json(folder / f"trial_{weights}_{rate}_{steps}.json", functools.partial(attempt, rate, steps))
        for steps in LENGTHS
        for rate in RATES
    ]
    trainer.model.set_weights(trainer.start)
    return {
        "before": accuracy(model, validation),
        "untrained": accuracy(trainer.model, validation),
        "trials": trials,
        "chosen": max(trials, key=lambda trial: trial["validation"]),
    }


def aware_file(weights: str, rate: float, steps: int) -> str:
    """Name of the model of a training."""
    return f"aware_{weights}_{rate}_{steps}.keras"


def measure(name: str, model, weights: str | None) -> dict[str, Any]:
    """Accuracy of a model in floating point and on the device, and what it takes there."""
    from keras_s4.costs.counted import measure_on_cortex_m
    from keras_s4.testing.reference_models import calibration_of, evaluation_data_of, with_logits
    from keras_s4.tflite import convert
    from keras_s4.tflite.c99 import CRunner
    from keras_s4.tflite.emulator import Emulator
    from keras_s4.tflite.runtimes import TflmRunner

    x, y = evaluation_data_of(name)
    converted = convert(model, calibration_of(name), weights=weights)
    emulator = Emulator(converted.program)
    parts = [
        emulator.trace(converted.quantize(x[i : i + AT_ONCE])).outputs[0][:, -1] for i in range(0, len(x), AT_ONCE)
    ]
    floating, few = with_logits(model).predict(x, batch_size=500, verbose=0), converted.quantize(x[:ON_ENGINES])
    expected = emulator.run(few)
    runners = CRunner(converted.program), TflmRunner(converted.tflite)
    cost = measure_on_cortex_m(converted.program, CORE, inputs=[few[:, :20]])
    packed = [tensor for tensor in converted.program.tensors() if tensor.type == "int4"]
    return {
        "float": float(np.mean(floating.argmax(1) == y)),
        "device": float(np.mean(np.concatenate(parts).argmax(1) == y)),
        "equal_labels": float(np.mean(np.concatenate(parts).argmax(1) == floating.argmax(1))),
        "sequences": len(x),
        "engines_equal": all(bool(np.array_equal(runner.run(few), expected)) for runner in runners),
        "tflite_bytes": len(converted.tflite),
        "arena_bytes": converted.manifest["arena_bytes"],
        "weights_of_4_bits": sum(tensor.data.size for tensor in packed),
        "instructions": round(cost.instructions),
        "code_bytes": cost.code_bytes,
        "constant_bytes": cost.constant_bytes,
        "stack_bytes": cost.stack_bytes,
        "compiler": cost.compiler,
    }


def run_task(name: str, cache: Path) -> dict[str, Any]:
    """All figures of a task; what was finished before is not computed again."""
    import keras

    from keras_s4.testing.reference_models import load_or_train
    from keras_s4.testing.sequence_tasks import TASKS, use_one_thread

    use_one_thread()
    folder = cache / name
    result: dict[str, Any] = {"title": TASKS[name].title}
    for weights in WEIGHTS:
        result[weights] = cache_json(
            folder / f"{weights}.json", lambda weights=weights: measure(name, load_or_train(name, folder), weights)
        )
    for weights in WEIGHTS:
        choose = functools.partial(choose_training, name, folder, weights)
        choice = result[f"choice {weights}"] = cache_json(folder / f"choice_{weights}.json", choose)
        path = folder / aware_file(weights, choice["chosen"]["rate"], choice["chosen"]["steps"])
        result[f"aware {weights}"] = cache_json(
            folder / f"aware_{weights}.json", lambda path=path: measure(name, keras.saving.load_model(path), None)
        )
    return result


STAGES = (*WEIGHTS, *(f"aware {weights}" for weights in WEIGHTS))


def flash(result: dict[str, Any]) -> int:
    """Bytes of the C code's program and constants."""
    return result["code_bytes"] + result["constant_bytes"]


def summarise(results: dict[str, dict[str, Any]]) -> list[Figure]:
    """What 4 bits save and cost against 8, and whether all engines agree."""
    figures = []
    for result in results.values():
        title, eight, four = result["title"], result["int8"], result["int4"]
        best, aware = result["aware int8"], result["aware int4"]
        figures += [
            Figure(f"{title}: lost by 4 bits as it is", 100 * (eight["device"] - four["device"]), unit=" points"),
            Figure(
                f"{title}: lost by 4 bits after aware training",
                100 * (best["device"] - aware["device"]),
                at_most=1.0,
                unit=" points",
            ),
            Figure(
                f"{title}: gained by aware training with 8 bits",
                100 * (best["device"] - eight["device"]),
                unit=" points",
            ),
            Figure(
                f"{title}: lost from float to device after aware training with 4 bits",
                100 * (aware["float"] - aware["device"]),
                at_most=0.2,
                unit=" points",
            ),
            Figure(f"{title}: flash of the C code with 4 bits", flash(four) / flash(eight), at_most=1.0),
            Figure(f"{title}: .tflite with 4 bits", four["tflite_bytes"] / eight["tflite_bytes"], at_most=1.0),
            Figure(f"{title}: instructions on M4 with 4 bits", four["instructions"] / eight["instructions"]),
        ]
    unequal = sum(not result[stage]["engines_equal"] for result in results.values() for stage in STAGES)
    return [*figures, Figure("programs whose C code or .tflite differs from the emulator", unequal, at_most=0)]


def tables(record: dict[str, Any]) -> list[Table]:
    """Accuracies and sizes by task and stage; and the validation accuracies of all trainings."""
    columns = ("task", "weights", "float", "device", ".tflite", "flash in C", "instructions", "arena on the host")
    shown = Table(*columns, title="Weights of 8 and of 4 bits, on test data and on a Cortex-M4")
    trials = Table("task", "weights", "steps", *map(str, RATES), title="Validation accuracy after trainings, by rate")
    for result in record["tasks"].values():
        for stage in STAGES:
            found = result[stage]
            shown.add_row(
                result["title"],
                stage,
                *(f"{found[key]:.2%}" for key in ("float", "device")),
                f"{found['tflite_bytes']:,}",
                f"{flash(found):,}",
                f"{found['instructions']:,}",
                f"{found['arena_bytes']:,}",
            )
        for weights in WEIGHTS:
            choice = result[f"choice {weights}"]
            for steps in LENGTHS:
                row = [trial["validation"] for trial in choice["trials"] if trial["steps"] == steps]
                trials.add_row(result["title"], weights, str(steps), *(f"{value:.2%}" for value in row))
            untrained = (f"{choice[key]:.2%} {word}" for key, word in (("before", "float"), ("untrained", "rounded")))
            trials.add_row(result["title"], weights, "0", ", ".join(untrained))
    return [shown, trials]


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(TASK_NAMES),
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Weights of 8 and of 4 bits, before and after aware trainings."""
    results = run_apart(run_task, {name: (name, cache) for name in tasks.split(",")}, jobs)
    settings = {"rates": RATES, "lengths": LENGTHS, "core": CORE}
    return Measurement(summarise(results), {"settings": settings, "tasks": results})


EXPERIMENT = Experiment(
    title="Weights of 4 bits",
    result=Path(__file__).parents[1] / "results" / "int4.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "tensorflow-model-optimization", "numpy", "tflite-micro"),
    cache=Path("runs/int4"),
    tables=tables,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
