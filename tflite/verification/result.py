"""What `verify` found, as a table and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_s4.brief import Brief
from keras_s4.scoring.heads import MULTI_LABEL, REGRESSION, Head
from keras_s4.scoring.scores import GOOD, LEAST_AGREEMENTS, LEAST_RATIOS, VERDICTS, verdict

# Stages that compute in integers, as a device does.
DEVICE = ("emulator", "tflm", "c")
_LABELS = {"accuracy": "accuracy", "agreement": "equal labels", "snr": "SNR in dB"}
_SEVERAL = {
    "accuracy": "accuracy",
    "exact": "all right",
    "agreement": "equal labels",
    "exact_agreement": "all equal",
    "snr": "SNR in dB",
}
_QUANTITIES = {"snr": "SNR in dB", "rmse": "RMSE", "mae": "MAE"}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OutputVerification(Brief):
    """What `verify` found of one output.

    Args:
        name: of the output.
        head: what it means.
        stages: by stage ("keras", "streamed", "emulator", "tflm", "c", "tensorflow") figures. Of labels "accuracy" and
            "agreement" with the labels of the whole-sequence Keras model, of several labels also "exact" and
            "exact_agreement", all of them at once; "snr" if all are the same. Of quantities "snr" against Keras in dB,
            of the column that has the least, and on targets "rmse" and "mae" in their units. Without targets there are
            none on them.
    """

    name: str
    head: Head
    stages: dict[str, dict[str, float | None]]

    @property
    def verdict(self) -> str:
        """How well the integers stand for the model, "good", "poor" or "WRONG"; see `scoring.scores.verdict`."""
        return max((verdict(figures) for figures in self._on_device), key=VERDICTS.index, default=GOOD)

    @property
    def _on_device(self) -> list[dict[str, float | None]]:
        return [figures for stage, figures in self.stages.items() if stage in DEVICE]

    def verdict_row(self) -> str:
        """The verdict as a sentence, with what it is based on."""
        found = []
        for name, least in (("agreement", LEAST_AGREEMENTS), ("snr", LEAST_RATIOS)):
            values = [figures[name] for figures in self._on_device if figures.get(name) is not None]
            if values:
                shown = [f"{value:.1f}" if name == "snr" else f"{value:.1%}" for value in (min(values), *least)]
                found.append(f"{_LABELS[name]} {shown[0]} (good from {shown[1]}, wrong below {shown[2]})")
        basis = ", ".join(found) or "both are zero throughout"
        advice = (
            "" if self.verdict == GOOD else ". Has calibration seen the range of x? `analyse` shows where it is lost"
        )
        return f"device against Keras: {self.verdict}, {basis}{advice}"

    def figures(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"task": self.head.task, "stages": self.stages, "verdict": self.verdict}

    def rows(self) -> list[str]:
        """A row a stage."""
        titles = {REGRESSION: _QUANTITIES, MULTI_LABEL: _SEVERAL}.get(self.head.task, _LABELS)
        known = [name for name in titles if any(name in figures for figures in self.stages.values())]
        width = max(12, *(len(titles[name]) + 2 for name in known))
        rows = [f"{'stage':<12}" + "".join(f"{titles[name]:>{width}}" for name in known)]
        for stage, figures in self.stages.items():
            rows.append(f"{stage:<12}" + "".join(f"{_cell(name, figures[name], stage):>{width}}" for name in known))
        return rows


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Verification:
    """What `verify` found.

    Args:
        outputs: each output of the model.
        streamed_deviation: largest difference of an output between streamed and whole-sequence Keras.
        steps: samples that emulator, TFLM and C were compared on.
        first_difference: where one of them first differs from the emulator, "" if every output and state of every step
            is equal: an output or a state, and of TFLM the first tensor inside the program.
        largest_accumulator: the largest 32-bit accumulator or state, as a part of what 32 bits hold.
        tensorflow_sequences: how many of the sequences TensorFlow's reference interpreter ran.
        tensorflow_difference: largest difference of an output integer between it and the emulator.
        labels: what the device decides, of the first output; None for quantities.
        states_inside: the states are resource variables of the file, so that only outputs were compared with TFLM.
        layers: signal-to-noise ratio of each layer's output in dB, integers against Keras, in the order in which the
            program computes them: see `keras_s4.tflite.analysis.layer_ratios`.
        clipped: by input, the share of the samples of each feature beyond the range of the program's integers.
        missing: by stage that was not run, why.
        values: by stage what it gave, of the first output; TensorFlow of the first sequences.
    """

    outputs: tuple[OutputVerification, ...]
    streamed_deviation: float
    steps: int
    first_difference: str
    largest_accumulator: float
    tensorflow_sequences: int
    tensorflow_difference: int
    labels: np.ndarray | None
    states_inside: bool = False
    layers: dict[str, float | None] = dataclasses.field(default_factory=dict)
    clipped: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    values: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def bit_exact(self) -> bool:
        """Emulator, TFLM and C are equal in every output and, unless `states_inside`, every state of every step."""
        return not self.first_difference

    @property
    def verdict(self) -> str:
        """How well the integers stand for the model, "good", "poor" or "WRONG": of the output where it is worst."""
        return max((output.verdict for output in self.outputs), key=VERDICTS.index, default=GOOD)

    @property
    def accuracy(self) -> dict[str, float]:
        """Of the first output by stage: share of right labels; empty for quantities, or without labels."""
        return self._of_first("accuracy")

    @property
    def agreement(self) -> dict[str, float]:
        """Of the first output by stage: share of labels equal to those of the whole-sequence Keras model."""
        return self._of_first("agreement")

    @property
    def snr(self) -> dict[str, float | None]:
        """Of the first output by stage: ratio against Keras in dB; of labels only where all are the same."""
        return self._of_first("snr")

    def figures(self) -> dict[str, Any]:
        """Everything but labels and values, JSON-ready."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("labels", "values")]
        values = {name: getattr(self, name) for name in names}
        values["outputs"] = {output.name: output.figures() for output in self.outputs}
        own = {name: getattr(self, name) for name in ("accuracy", "agreement", "snr", "bit_exact", "verdict")}
        return {**values, **own}

    def __str__(self) -> str:
        return "\n".join(
            [*self._output_rows(), *self._engine_rows(), *self._clipping_rows(), *self._layer_rows()],
        )

    __repr__ = __str__

    def _of_first(self, name: str) -> dict[str, Any]:
        stages = self.outputs[0].stages if self.outputs else {}
        return {stage: figures[name] for stage, figures in stages.items() if name in figures}

    def _output_rows(self) -> list[str]:
        rows = []
        for output in self.outputs:
            rows += [f"output {output.name}:"] if len(self.outputs) > 1 else []
            rows += [*output.rows(), output.verdict_row()]
        return rows

    def _engine_rows(self) -> list[str]:
        equal = f"equal in all {self.steps:,} steps" if self.bit_exact else f"DIFFER: {self.first_difference}"
        equal += " (TFLM: outputs only, the states are inside the interpreter)" if self.states_inside else ""
        ran = [title for stage, title in (("tflm", "TFLM"), ("c", "C")) if stage not in self.missing]
        names = {0: "", 1: "emulator and " + "".join(ran), 2: "emulator, " + " and ".join(ran)}[len(ran)]
        rows = [f"{names}: {equal}"] if ran else ["The emulator was compared with no other engine."]
        rows.append(f"largest 32-bit accumulator: {self.largest_accumulator:.0%} of full scale")
        if "tensorflow" not in self.missing:
            rows.append(f"TensorFlow's interpreter: within {self.tensorflow_difference}")
        return rows + [f"{stage} was not run: {reason}" for stage, reason in self.missing.items()]

    def _clipping_rows(self) -> list[str]:
        """The features that the program clips."""
        rows = []
        for name, shares in self.clipped.items():
            found = [f"feature {index} {share:.2%}" for index, share in enumerate(np.ravel(shares)) if share]
            if found:
                rows.append(f"clipped samples of {name}: {', '.join(found)}; calibration had none beyond its range")
        return rows or ["clipped samples: none"]

    def _layer_rows(self) -> list[str]:
        """The table of the layers."""
        width = max([len("layer"), *map(len, self.layers)])
        rows = [(name, "–" if ratio is None else f"{ratio:.1f}") for name, ratio in self.layers.items()]
        return [f"{name:<{width}}{ratio:>10}" for name, ratio in [("layer", "SNR in dB"), *rows]] if rows else []


def _cell(name: str, value: float | None, stage: str) -> str:
    if value is None or (name == "snr" and stage == "keras"):
        return "–"
    if name == "snr":
        return f"{value:.1f}"
    return f"{value:.4g}" if name in ("rmse", "mae") else f"{value:.2%}"
