"""What `convert` returns: an integer program with all that a firmware project needs of it."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4.decisions import Decider, Decision
from keras_s4.samples import as_list
from keras_s4.tflite import engines
from keras_s4.tflite.application.decisions import decision_of
from keras_s4.tflite.application.ends import ends_of
from keras_s4.tflite.application.folder import save, save_c
from keras_s4.tflite.application.own_names import check_name
from keras_s4.tflite.application.projects import check_project
from keras_s4.tflite.application.sensors import integers_of, sensor_inputs
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.engines import Engine
from keras_s4.tflite.flatbuffer import DssForm
from keras_s4.tflite.manifest import facts_of_padding, manifest_of
from keras_s4.tflite.program.interface import Arrays, Interface
from keras_s4.tflite.program.own_lengths import count_blocks, keep_real_steps, run_to_own_lengths
from keras_s4.tflite.verification import Verification, verify


@dataclasses.dataclass(frozen=True, repr=False)
class Converted(Interface):
    """An exported model.

    Args:
        warnings: what `convert` warned of in the representative data: features with too few integers, outliers.
    """

    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        program = self.program
        tensors = {"inputs": program.inputs, "outputs": program.outputs}
        ends = [
            f"{what} {', '.join(f'{t.name} {t.type}{list(t.shape)}' for t in found)}" for what, found in tensors.items()
        ]
        length = "any number of" if self.length is None else self.length
        return (
            f"<Converted {program.name!r}: {'; '.join(ends)}; {len(program.states)} states, "
            f"{len(self.tflite):,} bytes of .tflite; windows of {length} steps, {program.steps} an invoke>"
        )

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """What a firmware project must know, measured: bytes, arena, operators, tensors, versions and hashes."""
        found = {**manifest_of(self.program, self.tflite, self.length), "warnings": list(self.warnings)}
        return found if self.padded is None else {**found, "padding": facts_of_padding(self.program)}

    def c_source(self, name: str | None = None) -> dict[str, str]:
        """The model as C99 that computes what TensorFlow Lite Micro does, bit for bit, without an interpreter.

        Args:
            name: of the functions `NAME_reset` and `NAME_step`, the struct `NAME_state` and the first two files; by
                default the Keras model's, with "model_" in front where C or this package has it already.

        Returns:
            The text of each file, by name: `NAME.h`, `NAME.c`, and the kernels that they call.

        Raises:
            ValueError: `name` is no identifier of C, or taken.
            NotImplementedError: a DSS layer of more modes than 32 bits add up (516 of any kind).
        """
        return c_source(self.program, name, self.window)

    def save_c(self, folder: str | Path, name: str | None = None) -> Path:
        """Writes the C99 source alone: the files that `save` puts into `c99/`.

        Args:
            folder: created if need be; what an earlier `save_c` wrote there is replaced. `files.json` has the hashes.
            name: see `save`.

        Returns:
            The folder.

        Raises:
            ValueError, OSError, NotImplementedError: see `save`.
        """
        self._check_name(name)
        return save_c(self.program, Path(folder), self.window, name)

    def predict(self, x: Arrays, engine: Engine | None = None):
        """Runs the model on this computer, one step or block at a time, each sequence from a reset.

        Samples beyond the range of the program's integers are clipped, as on the device; a warning says how many.

        Args:
            x: `[B, L, features]`; of a model with several inputs a list in its order, or a dict by their names.
            engine: "tflm" for TensorFlow Lite Micro, "c" for the C99 source, compiled, "emulator" for numpy; all give
                the same. By default the first of these that this computer has.

        Returns:
            What the Keras model's `predict` returns, in the same shapes: behind a pooling over time, or for a last
            step, the outputs after the last step, for a classifier the probabilities, `[B, C]`; of a sequence all
            steps, `[B, L, C]`. For several outputs a list or a dict, as Keras has it. Sequences with steps that the
            model masks run without them (see `real_steps`).

        Raises:
            TypeError, ValueError: see `quantize`; another engine.
            ImportError, CompilerError: the engine that was asked for is not installed.
        """
        run = engines.choose_engine(engine, self.program, self.tflite)
        real = self.real_steps(x)
        if real is None:
            integers = self.quantize(x)
            self._warn_of_clipping(x)
            return self.outputs_of_keras(run(integers))
        samples = keep_real_steps(self.samples(x), real)
        integers, counts = as_list(self.quantize(samples)), count_blocks(real, self.program.steps, self.program.name)
        self._warn_of_clipping(samples)
        outputs = run_to_own_lengths(lambda arrays: as_list(run(arrays)), integers, counts, len(real))
        return self.outputs_of_keras(outputs if len(outputs) > 1 else outputs[0], real)

    def quantize_raw(self, raw: Any, sensors: Any) -> np.ndarray | list[np.ndarray]:
        """Integers of sensors as those of the model, as the firmware of `save(sensors=...)` makes them, bit for bit.

        Args:
            raw: whole numbers `[B, L, features]`; of a model with several inputs a list in its order.
            sensors: as for `save`.

        Returns:
            What `quantize` gives of `zero + lsb * raw`, but for the rounding of its floating point.

        Raises:
            TypeError, ValueError: see `save`; another shape, or no whole numbers.
        """
        integers = integers_of(self.program, sensor_inputs(self.program, sensors), raw)
        return integers if len(integers) > 1 else integers[0]

    def verify(self, model: keras.Model, x: Arrays, y: Any = None, task: Any = None) -> Verification:
        """Compares Keras and its stream with the program on all engines; see `keras_s4.tflite.verify`."""
        return verify(self, model, x, y, task=task)

    def decider(self, decision: Decision) -> Decider:
        """Makes decisions from the output integers of this model, as the firmware of `save(decision=...)` does.

        Args:
            decision: the settings.

        Returns:
            Its `run` takes integers as the engines give them, at each decision, or real numbers of the Keras model.

        Raises:
            TypeError: no `keras_s4.decisions.Decision`.
            ValueError: settings that do not fit the model: another number of classes, times at which it gives nothing,
                several outputs of which none is chosen.
        """
        return decision_of(self.program, self.length, decision, self.phase).decider

    def save(
        self,
        folder: str | Path,
        dss: DssForm = "operators",
        decision: Decision | None = None,
        sensors: Any = None,
        name: str | None = None,
        project: str | None = None,
        recordings: Any = None,
    ) -> Path:
        """Writes all that a firmware project needs, whole or not at all; the same model gives the same bytes.

        The files are `model.tflite`, also as a C array (`model_data.h`, `.cc`); `manifest.json`; golden vectors for
        numpy (`golden.npz`) and for C++ (`golden.h`); a class for TensorFlow Lite Micro (`keras_s4_model.h`, `.cc`);
        `main.cc`, which checks it against the golden vectors; a `Makefile`, and a `README.md` that explains all this.
        `c99/` is the same model as C99 that needs no interpreter (see `c_source`) with the kernels of all models, and
        `firmware/` an application around it for a sensor at a fixed rate, which also runs on this computer.

        Args:
            folder: created if need be. What an earlier save wrote there is replaced or removed, as a whole; files that
                someone else wrote stay.
            dss: "custom" also writes `tflm_custom/`: the application for TensorFlow Lite Micro with a `.tflite` whose
                S4 blocks, and `DSS` and `DiagonalSSM` layers outside of one, are a custom operator each, and that
                operator in C++ (see
                `keras_s4.tflite.flatbuffer.custom_operator`).
            decision: how to decide from the outputs in a stream. The applications then have `decisions.h` and
                `decisions.c`, which decide as `decider` does, bit for bit; the one in `firmware/` asks the model for
                outputs where a decision is due alone, and hands it to the board.
            sensors: what the integers of the sensors are, such as `task.sensors`: `keras_s4.datasets.Sensor`s with
                `lsb` and `zero` in the order of the features; or a dict by the number of the feature, of dicts with
                `lsb`, and if need be `zero`, `unit`, `range` (its least and largest integer) and `name`; of a model
                with several inputs a dict of these by their names. `firmware/` then takes the sensors' integers as
                they are: `sensors.c` has their scales, with the model's own units and normalisation in them.
            name: an identifier of C for firmware with several models: files, functions, types and macros that two of
                them would both have are called by it. "wake" gives `wake.tflite`, `c99/wake.h` with `wake_step`,
                `firmware/wake_application.h` with `wake_application_poll`, and for TensorFlow Lite Micro the class
                `wake::Wake`. The kernels are the same in every folder: compile them once. By default "model", with
                `application_poll` and `keras_s4_model::Model`.
            project: a kind of project, such as "make": the folder then holds that project instead, with the model as
                C99, its kernels, an example that reads a sensor, and a self-check (see
                `keras_s4.tflite.application.projects`). "web" is one HTML page that runs the model.
            recordings: what project="web" replays, as for `keras_s4.tflite.web_page`.

        Returns:
            The folder.

        Raises:
            TypeError: see `decider`; sensors that are none.
            ValueError: see `decider`; sensors without `lsb`, of other features, or whose integers would all be clipped
                or become one and the same; a name that is no identifier, or is taken by C, its headers, the kernels or
                the application; another word for `dss` or `project`; recordings for a project that replays none, or
                that the model cannot take; files of these names that no save wrote, or that were changed since.
            ModuleNotFoundError: a project needs a package that is missing; the message names the extra.
            OSError: the folder cannot be written; nothing half-written remains.
            NotImplementedError: the program has an operation in a form that C leaves out, such as a DSS layer of
                more modes than 32 bits add up.
        """
        if project is not None:
            check_project(project, dss, recordings, name)
        elif recordings is not None:
            raise ValueError('Received recordings without project="web", which alone replays them.')
        known = None if sensors is None else sensor_inputs(self.program, sensors)
        made = None if decision is None else decision_of(self.program, self.length, decision, self.phase)
        self._check_name(name)
        return save(self.program, self.tflite, self.manifest, Path(folder), dss, made, known, name, project, recordings)

    def _check_name(self, name: str | None) -> None:
        if name is not None:
            inputs, outputs, _ = ends_of(self.program)
            check_name(name, [*inputs, *outputs])

    def _warn_of_clipping(self, x: Arrays) -> None:
        clipped = {name: shares for name, shares in self.clipped(x).items() if shares.any()}
        if clipped:
            worst = ", ".join(
                f"{shares.max():.2%} of feature {int(shares.argmax())} of {name!r}" for name, shares in clipped.items()
            )
            warnings.warn(
                f"Program {self.program.name!r} clips samples beyond its range: {worst} at most. Calibration "
                "had no such samples; give convert data of the range that really occurs.",
                stacklevel=3,
            )
