"""One step of a Keras model through TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import typer

TYPES = ("int8", "16x8", "float32")
# Calibration takes some milliseconds a step: so many of the steps of the sequences, chosen at random.
CALIBRATION_STEPS = 3000


def activations(model) -> dict[str, str]:
    """The activations of the layers that have one, by the layers' names."""
    return {
        layer.name: layer.get_config()["activation"] for layer in model.layers if "activation" in layer.get_config()
    }


def logistic_gelu(values):
    """Within 0.02 of GELU; two operators more than the activation itself."""
    import keras

    return values * keras.ops.sigmoid(1.702 * values)


def cubic_gelu(values):
    """Within 0.0005 of GELU: its tanh form, written so that the converter does not make it a GELU again."""
    import keras

    return values * keras.ops.sigmoid(1.5957691216057308 * (values + 0.044715 * values * values * values))


GELUS: dict[str, Callable] = {"GELU = x sigmoid(1.702 x)": logistic_gelu, "GELU by its tanh form": cubic_gelu}


def convertible_models(model) -> dict[str, Any]:
    """The network as it is, and with other formulas for GELU where it has some, by what is appended to a row's name."""
    from keras_s4.surgery.cloning import clone

    with_gelu = [name for name, activation in activations(model).items() if activation == "gelu"]
    replaced = {
        f", {formula}": clone(model, {name: {"activation": function} for name in with_gelu})
        for formula, function in GELUS.items()
        if with_gelu
    }
    return {"": model, **replaced}


class StreamedStep:
    """One step of a model as TensorFlow's converter takes it: a function with explicit states.

    Args:
        model: gives logits.
        calibration: `[B, L, features]`.
    """

    def __init__(self, model, calibration: np.ndarray):
        import keras
        import tensorflow as tf

        from keras_s4.streaming import StreamingModel

        self._stream = stream = StreamingModel(model)  # the function holds its variables weakly
        structure = stream.initial_state(1)
        if any(np.any(state) for state in keras.tree.flatten(structure)):
            raise typer.BadParameter("A state of this model does not begin as zero; such models are not compared here.")

        def step(samples, *states):
            outputs, next_states = stream.step(samples, keras.tree.pack_sequence_as(structure, states))
            return outputs, *keras.tree.flatten(next_states)

        one = [calibration[:1, 0], *keras.tree.flatten(structure)]
        specs = [tf.TensorSpec(value.shape, tf.float32, name=f"input_{index}") for index, value in enumerate(one)]
        self._function = tf.function(step, input_signature=specs, autograph=False).get_concrete_function()
        self._steps = list(self._carried(stream, calibration.astype(np.float32)))

    @staticmethod
    def _carried(stream, sequences: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Inputs of single steps, each with the states before it: some at random, and the last of each sequence."""
        import keras
        import tensorflow as tf

        count, length = sequences.shape[:2]
        chosen = np.random.default_rng(0).random((count, length)) < CALIBRATION_STEPS / (count * length)
        chosen[:, -1] = True
        step, states = tf.function(stream.step, autograph=False), stream.initial_state(count)
        for index in range(length):
            arrays = [sequences[:, index], *(np.asarray(state) for state in keras.tree.flatten(states))]
            for stream_index in np.flatnonzero(chosen[:, index]):
                yield [array[stream_index : stream_index + 1] for array in arrays]
            _, states = step(sequences[:, index], states)

    def convert(self, type: str) -> bytes:
        """The `.tflite`, of "int8", "16x8" or "float32"."""
        import tensorflow as tf

        from keras_s4.cli.console import hide_start_messages

        with hide_start_messages():  # it asks for an argument that would leave the weights out of the file
            converter = tf.lite.TFLiteConverter.from_concrete_functions([self._function])
        if type != "float32":
            operators, ends = {
                "int8": (tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8),
                "16x8": (tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, tf.int16),
            }[type]
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: iter(self._steps)
            converter.target_spec.supported_ops = [operators]
            converter.inference_input_type = converter.inference_output_type = ends
        with hide_start_messages():
            return converter.convert()
