"""Training on several machines: Keras' own `keras.distribution` on JAX, each process with its share of every batch.

Every process runs the same program. `join` makes them one, `parallel` lays models out over all of their devices, and
`Share` cuts batches: the gradient step is that of the whole batch, and weights, losses and metrics are equal in all
processes, and those of a single one.

    keras_s4.distribution.join("10.0.0.1:1234", processes=2, process=0)  # 1 in the second
    with keras_s4.distribution.parallel():
        model = keras_s4.models.classifier(...)
        keras_s4.training.compile_classifier(model, steps)
        model.fit(keras_s4.distribution.Share(batches), epochs=20)
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_s4 import extras
from keras_s4.checks import whole_number

CHIEF = 0
ADDRESS = re.compile(r"[^\s:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
NEEDS = "Trainings on several machines"


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Makes this process one of several, as soon as all have called it; before anything is computed.

    What is left out is taken from Keras' variables `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `..._NUM_PROCESSES` and
    `..._PROCESS_ID`, or on a cluster that JAX knows (Slurm, Cloud TPU), from that.

    Args:
        coordinator: `HOST:PORT` of process 0, as all can reach it.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        ImportError: JAX is not installed.
        RuntimeError: Keras runs on another backend, something was computed before, or the others do not come.
        ValueError: an address without a port, or numbers that do not fit each other.
    """
    extras.require("jax", NEEDS)
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            f"{NEEDS} need Keras' jax backend, not {keras.backend.backend()!r}: set KERAS_BACKEND=jax. On one machine "
            "with several GPUs tf.distribute.MirroredStrategy does as well."
        )
    check_place(coordinator, processes, process)
    import jax

    # On processors compilation and steps that wait for other processes share a few threads, and would wait for each
    # other: a step ends before another one is compiled.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    keras.distribution.initialize(coordinator, processes, process)


def check_place(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Refuses what cannot be a process of several; what is None is not looked at.

    Raises:
        ValueError: says what is wrong.
    """
    if coordinator is not None and not ADDRESS.fullmatch(coordinator):
        raise ValueError(f"The coordinator is {coordinator!r}; expected HOST:PORT of process 0, such as 10.0.0.1:1234.")
    if processes is not None:
        whole_number(processes, "The number of processes is ")
    if process is not None:
        whole_number(process, "The process is ", 0)
        if processes is not None and process >= processes:
            raise ValueError(f"The process is {process} of {processes}; they are counted from 0 to {processes - 1}.")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among several.

    Args:
        process: which one it is, from 0, the chief.
        processes: how many there are.
        devices: of all processes together; each has as many.
    """

    process: int = CHIEF
    processes: int = 1
    devices: int = 1


def find_place() -> Place:
    """That of this process; of one that joined no others, alone."""
    if keras.backend.backend() != "jax":
        return Place()
    import jax

    return Place(jax.process_index(), jax.process_count(), jax.device_count())


@contextlib.contextmanager
def parallel() -> Iterator[None]:
    """Inside it models are made, loaded and trained on the devices of all processes.

    Behind it a process computes with its own again, also with models from before; `get_weights` brings weights back.
    """
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


class Share(keras.utils.PyDataset):
    """What one process takes of each batch: as many examples as every other one.

    So that shares are equal, up to one example a device, less one, is left out of a last, shorter batch.

    Args:
        batches: the whole batches, in the same order in all processes.
        place: of the process; by default of this one.

    Raises:
        ValueError: fewer examples in a batch than devices.
    """

    def __init__(self, batches: keras.utils.PyDataset, place: Place | None = None):
        super().__init__(workers=batches.workers, use_multiprocessing=batches.use_multiprocessing)
        self._batches = batches
        self._place = place or find_place()
        devices, examples = self._place.devices, _examples(batches[0])
        if examples < devices:
            raise ValueError(
                f"A batch of {examples} examples cannot be shared by {devices} devices; expected at least one for "
                "each. Choose larger batches, or fewer processes."
            )
        self._last_is_too_short = _examples(batches[len(batches) - 1]) < devices

    def __len__(self):
        return len(self._batches) - self._last_is_too_short

    def __getitem__(self, index):
        batch = self._batches[index]
        shared = _examples(batch) // self._place.devices * self._place.devices
        rows = shared // self._place.processes
        mine = slice(self._place.process * rows, (self._place.process + 1) * rows)
        return keras.tree.map_structure(lambda values: values[mine], batch)

    def on_epoch_end(self):
        """Tells the batches."""
        self._batches.on_epoch_end()


def spread(content: bytes | None = None) -> bytes:
    """What the chief has, in all processes, as soon as all have called it; also a way to wait for it.

    Args:
        content: of the chief; that of the others is not looked at.
    """
    from jax.experimental.multihost_utils import broadcast_one_to_all

    is_chief = find_place().process == CHIEF
    sent = np.frombuffer(content if is_chief else b"", np.uint8)
    length = int(broadcast_one_to_all(np.int32(len(sent))))
    if not is_chief:
        sent = np.zeros(length, np.uint8)
    return np.asarray(broadcast_one_to_all(sent)).astype(np.uint8).tobytes()


def check_equal(what: str, digest: str) -> None:
    """Makes sure that all processes have the same of something; all of them call it.

    Args:
        what: it is, for the message: "recordings".
        digest: of it, in hexadecimal digits.

    Raises:
        ValueError: they have not, in all processes.
    """
    from jax.experimental.multihost_utils import process_allgather

    found = process_allgather(np.frombuffer(bytes.fromhex(digest), np.uint8))
    found = np.asarray(found).reshape(find_place().processes, -1)
    others = np.flatnonzero((found != found[CHIEF]).any(axis=1))
    if others.size:
        raise ValueError(
            f"The {what} of process {', '.join(map(str, others))} are not those of process 0. Start all with the same "
            "arguments, on the same files."
        )


def _examples(batch: Any) -> int:
    return len(keras.tree.flatten(batch)[0])
