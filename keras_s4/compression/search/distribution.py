"""Several processes for one search: a chief that proposes trials, and workers that run them.

The processes find each other by keras-tuner's environment variables: `KERASTUNER_TUNER_ID` ("chief" for one, any other
name for each worker), `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` (of the chief). All of them call the same
`search` with the same arguments and a folder that they share.
"""

from __future__ import annotations

import os
import socket
import threading
import time

from keras_s4.compression.search.engine import keras_tuner

# Seconds that a worker waits for a chief that does not answer.
PATIENCE = 120.0
# Seconds that a chief stays to send its last answers.
FAREWELL = 1.0


def role() -> str:
    """What this process is: "alone", "chief" or "worker".

    Raises:
        ValueError: some of keras-tuner's variables are missing.
    """
    names = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return "alone"
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise ValueError(f"KERASTUNER_ORACLE_IP is set, but not {' and '.join(missing)}; expected all three.")
    # keras-tuner's own rule.
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


def tuner_id() -> str:
    """What this process is called."""
    return os.environ.get("KERASTUNER_TUNER_ID", "alone")


def await_chief() -> None:
    """Returns as soon as the chief answers.

    Raises:
        ConnectionError: it does not for `PATIENCE` seconds.
    """
    address = os.environ["KERASTUNER_ORACLE_IP"], int(os.environ["KERASTUNER_ORACLE_PORT"])
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(address, timeout=5.0).close()
            return
        except OSError as error:
            if time.monotonic() >= give_up:
                raise ConnectionError(
                    f"No chief answers at {address[0]}:{address[1]} ({error}). Start the process whose "
                    "KERASTUNER_TUNER_ID is chief; finished trials are kept."
                ) from error
            time.sleep(0.5)


def lead(tuner: keras_tuner.Tuner, deadline: float) -> None:
    """Runs the chief until all workers were told that the search is over, or until a deadline.

    keras-tuner's own loop looks every 20 seconds, and waits forever for a worker that crashed.

    Args:
        tuner: the tuner of the chief.
        deadline: a time of `time.monotonic`.

    Raises:
        RuntimeError: the server cannot be started, for example because the port is taken.
    """
    errors: list[Exception] = []

    def serve() -> None:
        try:
            tuner.search()
        except Exception as error:
            errors.append(error)

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    oracle = tuner.oracle
    while server.is_alive() and time.monotonic() < deadline:
        if oracle.start_order and not oracle.tuner_ids and not oracle.ongoing_trials:
            time.sleep(FAREWELL)
            return
        time.sleep(0.2)
    if errors:
        raise RuntimeError(f"The chief of the search cannot serve its workers: {errors[0]}") from errors[0]
