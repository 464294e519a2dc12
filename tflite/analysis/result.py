"""What an analysis found: figures, refusals with what would work, and tables of them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from rich.table import Table

from keras_s4.brief import Brief
from keras_s4.tables import text_of
from keras_s4.tflite.analysis import tables
from keras_s4.tflite.analysis.layer_analysis import LayerAnalysis
from keras_s4.tflite.analysis.signal_to_noise import COEFFICIENTS

# In dB: with less, the error is a third of the signal, and a classifier no longer gives the labels of its model.
LEAST_SIGNAL_TO_NOISE = 10.0
# A state that rounding keeps at so much more of its start than it should be spoils what a stream brings later.
MOST_REMEMBERED = 0.1
# An impulse response with a relative error above this is to blame for an output that is too noisy.
LARGE_KERNEL_ERROR = 0.1


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Analysis(Brief):
    """What `analyse` found; printed, a table.

    Signal-to-noise ratios compare with the trained model where it was given, else with the program in real arithmetic
    (then what the rounding of its coefficients costs is unknown). They are None where the program has no noise model.
    Those of a softmax are of its arguments less their mean, which it ignores.

    Args:
        layers: one entry for each DSS layer and each DiagonalSSM layer.
        predicted: signal-to-noise ratio of the model's (first) output in dB, by the noise model.
        measured: the same from the emulator.
        noise: the part of the noise at the output that each stage causes, the largest first, by the name of the tensor
            that is rounded ("input[2]" for a feature of an input, which is limited to its range as well);
            "coefficients" is all that is the same in every run: rounded weights, poles, gains and tables, and clipping.
        overflow: where a 32-bit accumulator wraps on the data, "" if none does.
        missing: why the program has no noise model, "" if it has one.
        sources: the stages of `noise` that are the rounding of an input, or of one of its features.
        coarse: a sentence for each feature of an input whose integers are too few.
    """

    layers: tuple[LayerAnalysis, ...]
    predicted: float | None
    measured: float | None
    noise: dict[str, float]
    overflow: str
    missing: str
    sources: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()

    @functools.cached_property
    def refusals(self) -> list[str]:
        """Why the model cannot work in this format: each with its number, and with what would work."""
        found = [f"On the data a 32-bit accumulator wraps. {self.overflow}"] if self.overflow else []
        for layer in self.layers:
            found += _refuse_saturation(layer)
        if self.predicted is not None and self.predicted < LEAST_SIGNAL_TO_NOISE:
            stage, part = next(iter(self.noise.items()))
            found.append(
                f"The output's predicted signal-to-noise ratio is {self.predicted:.1f} dB; it needs "
                f"{LEAST_SIGNAL_TO_NOISE:.0f} dB. {part:.0%} of the noise comes from {stage}. {self._remedy(stage)}"
            )
        return found

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What may go wrong on other data, and what was not analysed."""
        found = [*self.coarse, *(warning for layer in self.layers for warning in _warnings_of(layer))]
        return [*found, f"No signal-to-noise ratio is predicted: {self.missing}"] if self.missing else found

    def table(self) -> Table:
        """One row a layer, with the worst of its states in each column, and one for the model's output."""
        return tables.tabulate_layers(self.layers, self.predicted, self.measured)

    def states_table(self, layer: str) -> Table:
        """One row a state of a layer.

        Raises:
            ValueError: there is no such layer.
        """
        found = {candidate.name: candidate.states for candidate in self.layers}
        if layer not in found:
            raise ValueError(f"There is no DSS layer {layer!r}; there are {', '.join(found) or 'none'}.")
        return tables.tabulate_states(layer, found[layer])

    def noise_table(self, rows: int = 6) -> Table:
        """The stages that cause most of the noise at the output."""
        return tables.tabulate_noise(self.noise, rows)

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready; None where there is no figure, such as the headroom of a state that is not used."""
        return {
            "predicted_db": self.predicted,
            "measured_db": self.measured,
            "noise": self.noise,
            "refusals": self.refusals,
            "warnings": self.warnings,
            "layers": {
                layer.name: {
                    "predicted_db": layer.predicted,
                    "measured_db": layer.measured,
                    **layer.states.figures(),
                }
                for layer in self.layers
            },
        }

    def __str__(self) -> str:
        return text_of(self.table(), *self.refusals, *self.warnings)

    def _remedy(self, stage: str) -> str:
        """What would make the noise of a stage smaller."""
        if stage == COEFFICIENTS:
            for layer in self.layers:
                error = layer.states.largest_kernel_error
                if error > LARGE_KERNEL_ERROR:
                    return (
                        f"The modes of {layer.name!r} are too slow for poles on a grid of 2**-15, which change an "
                        f"impulse response by {error:.0%}. Faster modes would work: fewer samples a second, or a "
                        "reduced model (keras_s4.reduce) that is trained again."
                    )
            return "Finer weights than 8 bits would work, or a smaller model that is trained again."
        if stage in self.sources:
            return (
                "The integers of that input are too coarse for what the model makes of it: convert with data of the "
                "range that really occurs, and with a Normalization as the model's first layer where features differ."
            )
        if stage.endswith(("/hidden", "/partial")):
            return (
                "Its modes nearly cancel, which takes more than 16 bits of a state. Fewer modes would work: a reduced "
                "model (keras_s4.reduce) that is trained again."
            )
        return "int16 activations would work there, or calibration on data of the range that really occurs."


def _refuse_saturation(layer: LayerAnalysis) -> list[str]:
    headroom = layer.states.headroom("data")
    if not np.any(headroom < 0.0):
        return []
    channel, mode = layer.states.worst(headroom, largest=False)
    return [
        f"Layer {layer.name!r}: on the data the state of mode {mode}, channel {channel} lacks "
        f"{-headroom[channel, mode]:.1f} bits and saturates. Convert with representative data that reaches this far: "
        "the headroom is chosen from it."
    ]


def _warnings_of(layer: LayerAnalysis) -> list[str]:
    return [*_warn_of_worst_case(layer), *_warn_of_memory(layer), *_warn_of_noise(layer)]


def _warn_of_worst_case(layer: LayerAnalysis) -> list[str]:
    states = layer.states
    headroom = states.headroom("worst", "int32")
    place = channel, mode = states.worst(headroom, largest=False)
    if headroom[place] >= 0.0:
        return []
    return [
        f"Layer {layer.name!r}: the worst input of the full int16 range would wrap the state of mode {mode}, channel "
        f"{channel}, which lacks {-headroom[place]:.1f} bits; the data leave it "
        f"{states.headroom('data', 'int32')[place]:.1f} bits."
    ]


def _warn_of_memory(layer: LayerAnalysis) -> list[str]:
    states = layer.states
    place = channel, mode = states.worst(states.remembered)
    if states.remembered[place] <= MOST_REMEMBERED:
        return []
    return [
        f"Layer {layer.name!r}: after {states.decay_steps[place]:,} steps without input, the state of mode {mode}, "
        f"channel {channel} leaves {states.left_in_output[place]:.2g} in the layer's output, which reaches "
        f"{layer.largest_output:.2g} on the data: rounding keeps it up, where it should have faded to "
        f"{states.ideal_decay[place]:.1%} of its peak. If streams have such pauses, reset the state in them, or use "
        "faster modes."
    ]


def _warn_of_noise(layer: LayerAnalysis) -> list[str]:
    if layer.predicted is None or layer.predicted >= LEAST_SIGNAL_TO_NOISE:
        return []
    return [f"Layer {layer.name!r}: the predicted signal-to-noise ratio of its output is {layer.predicted:.1f} dB."]
