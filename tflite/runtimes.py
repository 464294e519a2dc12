"""Runs `.tflite` files of this package step by step, on two interpreters; explicit states are fed back.

TensorFlow Lite Micro (the `tflite-micro` package, the same kernels as on a microcontroller) is the judge. TensorFlow's
reference interpreter is a second opinion: it agrees bit for bit except in FULLY_CONNECTED, which it rounds in another
way: outputs differ by at most 1, for int8 on some in a thousand outputs, for int16 on some in a hundred.
"""

from __future__ import annotations

import abc
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.files import temporary_folder
from keras_s4.tflite.flatbuffer.reader import TensorSummary, check_tflite

Progress = Callable[[int, int], None]

# A smaller arena than this makes the host's interpreter crash before it can say that it is too small.
SMALLEST_ARENA = 1024
# Ample, for `bound_of_arena`: what an interpreter keeps of a tensor or an operator, and of a channel that has a scale.
_RECORD, _BYTES_PER_CHANNEL = 256, 8


class Runner(abc.ABC):
    """Runs a file step by step and feeds explicit states back.

    Args:
        tflite: the bytes of a file that `to_tflite` wrote.

    Attributes:
        summary: what the file consists of.
        states: the states before the next step, `[2, N, H]` or `[H]` each; may be assigned. Only `reset` touches states
            that are resource variables: using this attribute raises a ValueError then.

    Raises:
        ValueError: when the file is damaged (see `check_tflite`), before the runtime sees it.
    """

    def __init__(self, tflite: bytes):
        self.summary = check_tflite(tflite)
        tensors = self.summary.tensors
        self._state_count = len(self.summary.states)
        self._inputs = [tensors[index] for index in self.summary.inputs]
        self._outputs = [tensors[index] for index in self.summary.outputs]
        self._tflite = bytes(tflite)
        self._load(self._tflite)
        self._states = self._zeros()

    @abc.abstractmethod
    def _load(self, tflite: bytes) -> None:
        """Create the interpreter."""

    @abc.abstractmethod
    def _invoke(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Run one step on arrays of the file's shapes."""

    @abc.abstractmethod
    def _reset_variables(self) -> None:
        """Zero the resource variables."""

    def reset(self) -> None:
        """Zero the states."""
        self._states = self._zeros()
        if self.summary.variables:
            self._reset_variables()

    @property
    def states(self) -> tuple[np.ndarray, ...]:
        """See the class."""
        self._check_explicit()
        return self._states

    @states.setter
    def states(self, states: Sequence[np.ndarray]) -> None:
        self._check_explicit()
        self._states = tuple(states)

    def _check_explicit(self) -> None:
        if count := len(self.summary.variables):
            raise ValueError(
                f"The {count} states of this file are resource variables inside the interpreter, which nobody can read "
                'or set from outside. Write the file with states="inputs" to have them as inputs and outputs.'
            )

    def _zeros(self) -> tuple[np.ndarray, ...]:
        return tuple(np.zeros(_shape(tensor), tensor.type) for tensor in self._inputs[self._sensors :])

    @property
    def _sensors(self) -> int:
        """How many inputs are no states."""
        return len(self._inputs) - self._state_count

    def step(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run one step.

        Args:
            inputs: for each input, integers of its type, `[H]`.

        Returns:
            For each output, its integers `[C]`.

        Raises:
            ValueError: when the number, shape or type of the inputs or states is not the file's.
        """
        arrays = [np.asarray(value) for value in (*inputs, *self._states)]
        if len(arrays) != len(self._inputs):
            raise ValueError(
                f"Received {len(inputs)} inputs and {len(self._states)} states; the file has {self._sensors} and "
                f"{self._state_count}."
            )
        for array, tensor in zip(arrays, self._inputs, strict=True):
            if array.shape != _shape(tensor) or array.dtype != tensor.type:
                expected = f"{tensor.type}{list(_shape(tensor))}"
                raise ValueError(f"{tensor.name!r} received {array.dtype}{list(array.shape)}; expected {expected}.")
        results = self._invoke([array.reshape(t.shape) for array, t in zip(arrays, self._inputs, strict=True)])
        results = [array.reshape(_shape(tensor)) for array, tensor in zip(results, self._outputs, strict=True)]
        first_state = len(results) - self._state_count
        self._states = tuple(results[first_state:])
        return tuple(results[:first_state])

    def run(
        self,
        inputs: np.ndarray | Sequence[np.ndarray],
        states: Sequence[np.ndarray] | None = None,
        keep_states: bool = False,
        progress: Progress | None = None,
    ):
        """Run streams, one after the other, each from zeroed states.

        Args:
            inputs: integers `[B, L, H]`; a sequence of them when the file has several inputs.
            states: where each stream starts, `[B, ...]` each; zeros when omitted.
            keep_states: also return the states after every step.
            progress: called as `progress(steps done, steps in all)` after each stream.

        Returns:
            The outputs `[B, L, C]` (a tuple of them when there are several); with `keep_states`, a pair of that and a
            tuple of states `[B, L, ...]`.

        Raises:
            ValueError: when shapes or types do not fit, or when `states` or `keep_states` is given and the states are
                resource variables.
        """
        if keep_states or states is not None:
            self._check_explicit()
        arrays = [inputs] if isinstance(inputs, np.ndarray) else [np.asarray(value) for value in inputs]
        if any(array.ndim < 3 for array in arrays) or len({array.shape[:2] for array in arrays}) != 1:
            raise ValueError(
                f"Received inputs of shapes {[list(array.shape) for array in arrays]}; expected [B, L, H]."
            )
        batch, length = arrays[0].shape[:2]
        kept = self._outputs if keep_states else self._outputs[: len(self._outputs) - self._state_count]
        results = [np.empty((batch, length, *_shape(tensor)), tensor.type) for tensor in kept]
        for stream in range(batch):
            self.reset()
            if states is not None:
                self.states = tuple(state[stream] for state in states)
            for index in range(length):
                outputs = self.step(*(array[stream, index] for array in arrays))
                for result, value in zip(results, (*outputs, *self._states), strict=False):
                    result[stream, index] = value
            if progress:
                progress((stream + 1) * length, batch * length)
        outputs = tuple(results[: len(self._outputs) - self._state_count])
        outputs = outputs[0] if len(outputs) == 1 else outputs
        return (outputs, tuple(results[len(results) - self._state_count :])) if keep_states else outputs


class TflmRunner(Runner):
    """Runs a file on TensorFlow Lite Micro, on this computer.

    Args:
        tflite: the bytes of a file that `to_tflite` wrote.
        arena_size: the working memory in bytes; ample when omitted.

    Raises:
        ValueError: when the file is damaged or the arena is too small.
        ImportError: when the `tflite-micro` package is not installed.
    """

    def __init__(self, tflite: bytes, arena_size: int | None = None):
        self._arena_size = arena_size
        super().__init__(tflite)

    def _load(self, tflite: bytes) -> None:
        runtime = load_tflm()
        ample = 10 * len(tflite) + 2 * sum(tensor.bytes for tensor in self.summary.tensors) + 65_536
        size = ample if self._arena_size is None else self._arena_size
        if size < SMALLEST_ARENA:
            raise ValueError(f"Received an arena of {size} bytes; expected at least {SMALLEST_ARENA}.")
        try:
            self._interpreter = runtime.Interpreter.from_bytes(tflite, arena_size=size)
        except RuntimeError as error:
            raise ValueError(
                f"TensorFlow Lite Micro refused the file with an arena of {size} bytes ({error}); see `measure_arena`."
            ) from error

    def _invoke(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        for index, array in enumerate(inputs):
            self._interpreter.set_input(np.ascontiguousarray(array), index)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise ValueError(
                f"TensorFlow Lite Micro cannot compute this step ({error}); is a token number outside its table?"
            ) from error
        return [self._interpreter.get_output(index) for index in range(len(self._outputs))]

    def _reset_variables(self) -> None:
        self._interpreter.reset()


class TensorFlowRunner(Runner):
    """Runs a file on the reference kernels of TensorFlow's own interpreter; arguments as in `Runner`.

    Raises:
        ValueError: when the file is damaged, or TensorFlow refuses it.
    """

    def _load(self, tflite: bytes) -> None:
        import tensorflow

        lite = tensorflow.lite
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # announces the package that will replace it
            self._interpreter = lite.Interpreter(
                model_content=tflite, experimental_op_resolver_type=lite.experimental.OpResolverType.BUILTIN_REF
            )
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ValueError(f"TensorFlow's interpreter refused the file ({error}).") from error
        self._input_indices = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._output_indices = [detail["index"] for detail in self._interpreter.get_output_details()]

    def _invoke(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        for index, array in zip(self._input_indices, inputs, strict=True):
            self._interpreter.set_tensor(index, array)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise ValueError(
                f"TensorFlow's interpreter cannot compute this step ({error}); is a token number outside its table?"
            ) from error
        return [self._interpreter.get_tensor(index) for index in self._output_indices]

    def _reset_variables(self) -> None:
        # Neither `reset_all_variables` nor `allocate_tensors` touches resource variables.
        self._load(self._tflite)


def run_tflm(
    tflite: bytes,
    inputs: np.ndarray | Sequence[np.ndarray],
    states: Sequence[np.ndarray] | None = None,
    keep_states: bool = False,
    progress: Progress | None = None,
):
    """Run streams on TensorFlow Lite Micro; arguments and results as in `Runner.run`.

    Raises:
        ValueError: when the file is damaged, before the runtime sees it, or when shapes or types do not fit.
        ImportError: when the `tflite-micro` package is not installed.
    """
    return TflmRunner(tflite).run(inputs, states, keep_states, progress)


# The interpreter prints to stderr when the arena is too small, and crashes when it is far too small: another process.
# The inputs are set, since a token number out of range would fail, too.
_BISECTION = """
import pathlib, sys
import numpy as np
from tflite_micro import runtime
model, low, high = pathlib.Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
while high - low > 16:
    size = (low + high) // 2
    print("try", size, flush=True)
    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=size)
        for index in range(int(sys.argv[4])):
            details = interpreter.get_input_details(index)
            interpreter.set_input(np.zeros(details["shape"], details["dtype"]), index)
        interpreter.invoke()
    except RuntimeError:
        low = size
    else:
        high = size
        print("fits", size, flush=True)
print("done", high, flush=True)
"""


def measure_arena(tflite: bytes) -> int:
    """The least working memory that the file runs in on TensorFlow Lite Micro on this computer.

    A 64-bit computer needs more than a 32-bit microcontroller, where pointers are half as long.

    Args:
        tflite: the bytes of a file that `to_tflite` wrote.

    Returns:
        Bytes, at most 16 more than needed; never less than `SMALLEST_ARENA`.

    Raises:
        ValueError: when the file is damaged, or does not run at all.
        ImportError: when the `tflite-micro` package is not installed.
    """
    summary = check_tflite(tflite)
    load_tflm()
    high = 10 * len(tflite) + 2 * sum(tensor.bytes for tensor in summary.tensors) + 65_536
    TflmRunner(tflite, high)
    low = SMALLEST_ARENA - 1
    with temporary_folder() as folder:
        file = folder / "model.tflite"
        file.write_bytes(tflite)
        while True:
            command = [sys.executable, "-c", _BISECTION, str(file), str(low), str(high), str(len(summary.inputs))]
            lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
            sizes = [(word, int(size)) for word, size in (line.split() for line in lines)]
            if not sizes:
                raise ValueError(
                    "TensorFlow Lite Micro did not start in another process; does `import tflite_micro` work?"
                )
            word, size = sizes[-1]
            if word == "done":
                return size
            # It crashed on the last size that it tried: too small.
            low = size
            high = min([high, *(size for word, size in sizes if word == "fits")])


def bound_of_arena(tflite: bytes) -> int:
    """Working memory that suffices for a file, computed: no tensor's memory is used twice, and records are ample.

    For where `measure_arena` cannot run; two to five times what it finds.

    Args:
        tflite: the bytes of a file that `to_tflite` wrote.

    Raises:
        ValueError: when the file is damaged.
    """
    summary = check_tflite(tflite)
    graphs = [summary, *([summary.initializer] if summary.initializer else [])]
    computed = sum(_aligned(tensor.bytes) for graph in graphs for tensor in graph.tensors if not tensor.constant_bytes)
    channels = sum(len(tensor.scales) for graph in graphs for tensor in graph.tensors)
    records = sum(_RECORD * (len(graph.tensors) + len(graph.operators)) for graph in graphs)
    return _aligned(computed + records + _BYTES_PER_CHANNEL * channels + SMALLEST_ARENA)


def _aligned(size: int) -> int:
    return -(-size // 16) * 16


def _shape(tensor: TensorSummary) -> tuple[int, ...]:
    """A tensor's shape in the program: without the axes of size 1 in front of it."""
    shape = tensor.shape
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def load_tflm():
    """The module that runs files.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise ImportError(
            "TensorFlow Lite Micro is not installed: `pip install tflite-micro` (Linux on x86-64). Elsewhere the "
            "emulator, compiled C and `TensorFlowRunner` run the program."
        ) from error
    return runtime
