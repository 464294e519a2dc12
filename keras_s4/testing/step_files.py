"""Any `.tflite` that takes a step of a network, or a block: what it holds, where it runs, how well, and how fast.

Files are read with the schema module of the tflite-micro package, not with our own reader, which would not read a file
of TensorFlow's converter and is itself under test here.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import dataclasses
import functools
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from keras_s4.tflite.flatbuffer.operators.table import NOTHING, check_types
from keras_s4.tflite.runtimes import load_tflm

AMPLE_ARENA = 4 * 2**20
# Smaller arenas make the host's interpreter crash, which only costs the bisection a process.
ARENAS = range(1024, AMPLE_ARENA, 16)
# One timing lasts at least as long, in seconds.
SHORTEST_TIMING = 0.02

_TRY = """
import pathlib, sys
from tflite_micro import runtime
runtime.Interpreter.from_bytes(pathlib.Path(sys.argv[1]).read_bytes(), arena_size=int(sys.argv[2])).invoke()
"""


@functools.cache
def _schema():
    """The schema module of tflite-micro."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated

    return schema_py_generated


@functools.cache
def _names_of(kind: str) -> dict[int, str]:
    """The names of the schema's "BuiltinOperator" or "TensorType" by their codes."""
    return {code: name for name, code in vars(getattr(_schema(), kind)).items() if not name.startswith("_")}


@dataclasses.dataclass(frozen=True)
class TensorOfFile:
    """A tensor; its scale is 0 where it has none."""

    shape: tuple[int, ...]
    type: str
    scale: float
    zero_point: int

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Real numbers in the tensor's type."""
        if not self.scale:
            return values.astype(self.type)
        ends = np.iinfo(self.type)
        return np.clip(np.rint(values / self.scale) + self.zero_point, ends.min, ends.max).astype(self.type)

    def dequantize(self, values: np.ndarray) -> np.ndarray:
        """What the tensor's values stand for."""
        return (values.astype(np.float64) - self.zero_point) * (self.scale or 1.0)

    def is_like(self, other: TensorOfFile) -> bool:
        """Whether both give the same number to the same bytes."""
        return (self.type, self.scale, self.zero_point) == (other.type, other.scale, other.zero_point)


@dataclasses.dataclass(frozen=True)
class OperatorOfFile:
    """An operator with the tensors that it reads and writes, by their indices; of a VAR_HANDLE the variable's name."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    variable: str = ""


class StepFile:
    """A file that takes a step or a block: inputs are samples and states, outputs logits and next states, so ordered.

    States may be variables inside the file instead. Every state begins as zero.

    Args:
        tflite: its bytes.

    Attributes:
        tensors: of the main subgraph.
        operators: of the main subgraph.
        inputs: the tensors of its inputs, the samples first.
        outputs: those of its outputs, the logits first.
        float_tensors: how many tensors, of all subgraphs, are not integers.
    """

    def __init__(self, tflite: bytes):
        self.tflite = bytes(tflite)
        model = _schema().ModelT.InitFromPackedBuf(self.tflite, 0)
        graph = model.subgraphs[0]
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        self.tensors = [_tensor(tensor) for tensor in graph.tensors]
        self.operators = [_operator(operator, codes[operator.opcodeIndex]) for operator in graph.operators]
        self.inputs = [self.tensors[index] for index in graph.inputs]
        self.outputs = [self.tensors[index] for index in graph.outputs]
        types = [_type_of(tensor) for subgraph in model.subgraphs for tensor in subgraph.tensors]
        self.float_tensors = sum(type.startswith(("float", "complex")) for type in types)
        self._state_ends = [*zip(graph.inputs[1:], graph.outputs[1:], strict=True), *self._variables()]

    def steps(self, features: int) -> int:
        """Samples of so many features that an invoke takes."""
        return int(np.prod(self.inputs[0].shape)) // features

    @property
    def operator_counts(self) -> dict[str, int]:
        """How often each operator occurs."""
        return dict(sorted(collections.Counter(operator.name for operator in self.operators).items()))

    @property
    def unequal_states(self) -> int:
        """States whose two ends have different types, scales or zero points: raw feedback is wrong for them."""
        return sum(not self.tensors[before].is_like(self.tensors[after]) for before, after in self._state_ends)

    @property
    def wrapped_states(self) -> int:
        """States that are kept in one form and computed in another: read and written by conversions alone."""

        def converts(operators: list[OperatorOfFile]) -> bool:
            return bool(operators) and all(operator.name in ("QUANTIZE", "DEQUANTIZE") for operator in operators)

        return sum(
            converts([operator for operator in self.operators if before in operator.inputs])
            and converts([operator for operator in self.operators if after in operator.outputs])
            for before, after in self._state_ends
        )

    @property
    def foreign_operators(self) -> int:
        """Operators that are not, with these types, in the table of what runs everywhere."""
        return sum(not self._is_known(operator) for operator in self.operators)

    @functools.cached_property
    def refusal(self) -> str:
        """Why TensorFlow Lite Micro does not run it, in its own words; empty if it does."""
        with _on_disk(self.tflite) as path:
            tried = _try(path, AMPLE_ARENA)
        if tried.returncode == 0:
            return ""
        return (tried.stderr.strip() or f"exit status {tried.returncode}").splitlines()[0]

    def arena(self) -> int:
        """The least working memory on this computer, in bytes, to 16."""
        with _on_disk(self.tflite) as path:
            fitting = bisect.bisect_left(ARENAS, True, key=lambda size: _try(path, size).returncode == 0)
        return ARENAS[fitting]

    def run(self, x: np.ndarray, requantize: bool = True) -> np.ndarray:
        """The logits at the end of sequences, in real numbers `[B, C]`: on TFLM, or else on TensorFlow's interpreter.

        Args:
            x: `[B, L, features]`.
            requantize: bring each state from the scale of the output to that of the input, as a caller of a file with
                unequal ends has to. Otherwise the integers are fed back as they are.
        """
        interpreter = _TensorFlow(self.tflite) if self.refusal else self._tflm()
        ends = [self._run(interpreter, self._samples(sequence), requantize) for sequence in x]
        return self.outputs[0].dequantize(np.array(ends))

    def after(self, sequence: np.ndarray):
        """TensorFlow Lite Micro behind a sequence `[L, features]`, its inputs set: ready to be called again."""
        interpreter = self._tflm()
        self._run(interpreter, self._samples(sequence), requantize=True)
        return interpreter

    def _samples(self, sequence: np.ndarray) -> np.ndarray:
        """What each invoke reads."""
        return self.inputs[0].quantize(sequence).reshape(-1, *self.inputs[0].shape)

    def _run(self, interpreter, samples: np.ndarray, requantize: bool) -> np.ndarray:
        """The last logits, `[C]`, in the type of the output."""
        interpreter.reset()
        ends = list(zip(self.inputs[1:], self.outputs[1:], strict=True))
        states = [before.quantize(np.zeros(before.shape)) for before, _ in ends]
        for sample in samples:
            for index, array in enumerate((sample, *states)):
                interpreter.set_input(array, index)
            interpreter.invoke()
            states = [interpreter.get_output(index) for index in range(1, len(self.outputs))]
            if requantize:
                states = [_requantize(state, *pair) for state, pair in zip(states, ends, strict=True)]
        return interpreter.get_output(0).ravel()

    def _tflm(self):
        return load_tflm().Interpreter.from_bytes(self.tflite, arena_size=AMPLE_ARENA)

    def _variables(self) -> list[tuple[int, int]]:
        """What is read from each variable, and what is assigned to it."""
        names = {op.outputs[0]: op.variable for op in self.operators if op.name == "VAR_HANDLE"}
        read = {names[op.inputs[0]]: op.outputs[0] for op in self.operators if op.name == "READ_VARIABLE"}
        assigned = {names[op.inputs[0]]: op.inputs[1] for op in self.operators if op.name == "ASSIGN_VARIABLE"}
        return [(read[name], assigned[name]) for name in sorted(read.keys() & assigned.keys())]

    def _is_known(self, operator: OperatorOfFile) -> bool:
        read = [self.tensors[index] for index in operator.inputs if index >= 0]  # -1: no bias
        written = [self.tensors[index].type for index in operator.outputs] or [NOTHING]
        try:
            check_types(
                operator.name,
                tuple(tensor.type for tensor in read),
                written[0],
                tuple(bool(tensor.scale) for tensor in read),
            )
        except ValueError:
            return False
        return len(written) == 1


def time_steps(files: Mapping[str, StepFile], sequence: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Microseconds of an invoke on TensorFlow Lite Micro, one entry a round, in which all files take turns.

    It runs on one thread, whose processor time is taken. What is not counted: setting inputs, fetching outputs, and
    bringing states to another scale.

    Args:
        files: by name.
        sequence: `[L, features]`; what is timed is a step at its end.
        rounds: timings of each.
    """
    interpreters = {name: file.after(sequence) for name, file in files.items()}
    calls = {name: 1 + int(SHORTEST_TIMING / _seconds(each, 20)) for name, each in interpreters.items()}
    timings = {name: [] for name in files}
    for _ in range(rounds):
        for name, interpreter in interpreters.items():
            timings[name].append(1e6 * _seconds(interpreter, calls[name]))
    return timings


class _TensorFlow:
    """TensorFlow's interpreter, to be used like that of TensorFlow Lite Micro.

    Its reference kernels sum int16 wrongly; without delegates, its others gave what TensorFlow Lite Micro gave.
    """

    def __init__(self, tflite: bytes):
        import tensorflow

        lite = tensorflow.lite
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # announces the package that will replace it
            self._interpreter = lite.Interpreter(
                model_content=tflite,
                experimental_op_resolver_type=lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        self._interpreter.allocate_tensors()
        self._inputs = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self.invoke = self._interpreter.invoke
        self.reset = self._interpreter.reset_all_variables

    def set_input(self, array: np.ndarray, index: int) -> None:
        self._interpreter.set_tensor(self._inputs[index], array)

    def get_output(self, index: int) -> np.ndarray:
        return self._interpreter.get_tensor(self._outputs[index])


@contextlib.contextmanager
def _on_disk(content: bytes) -> Iterator[Path]:
    """Bytes in a temporary file, for other processes."""
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        yield Path(file.name)


def _try(path: Path, arena: int) -> subprocess.CompletedProcess:
    """One step in a process of its own, which may crash."""
    return subprocess.run([sys.executable, "-c", _TRY, path, str(arena)], capture_output=True, text=True, check=False)


def _seconds(interpreter, calls: int) -> float:
    """Processor time of a call: what else the machine does is not counted."""
    start = time.thread_time()
    for _ in range(calls):
        interpreter.invoke()
    return (time.thread_time() - start) / calls


def _requantize(values: np.ndarray, before: TensorOfFile, after: TensorOfFile) -> np.ndarray:
    return values if before.is_like(after) else before.quantize(after.dequantize(values))


def _type_of(tensor) -> str:
    return _names_of("TensorType")[tensor.type].lower()


def _tensor(tensor) -> TensorOfFile:
    """Tensors with a scale for each channel are weights; the first stands for all."""
    quantization = tensor.quantization
    scaled = quantization is not None and quantization.scale is not None and len(quantization.scale) > 0
    return TensorOfFile(
        _indices(tensor.shape),
        _type_of(tensor),
        float(quantization.scale[0]) if scaled else 0.0,
        int(quantization.zeroPoint[0]) if scaled else 0,
    )


def _operator(operator, code: int) -> OperatorOfFile:
    name = _names_of("BuiltinOperator")[code]
    variable = operator.builtinOptions.sharedName.decode() if name == "VAR_HANDLE" else ""
    return OperatorOfFile(name, _indices(operator.inputs), _indices(operator.outputs), variable)


def _indices(numbers) -> tuple[int, ...]:
    return () if numbers is None else tuple(int(number) for number in numbers)
