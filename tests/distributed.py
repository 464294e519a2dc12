"""Several processes that train together: each runs the same code, and what they print is compared."""

import os
import socket
import subprocess
import sys

# Keras on JAX loads TensorFlow to ask whether data are a tf.data.Dataset, which takes longer than all the rest.
ON_JAX = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import warnings
warnings.simplefilter("ignore")
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_all(codes, cwd, variables=()):
    """Processes that run some code each, all at once, and know each other by Keras' variables if they are several."""
    address = f"127.0.0.1:{free_port()}"
    processes = []
    for index, code in enumerate(codes):
        known = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(len(codes)),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
            # One device a process, whatever the machine; little is computed of what is compiled.
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0",
        }
        command = code if isinstance(code, list) else [sys.executable, "-c", code]
        environment = {**os.environ, **known, **dict(variables)}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=cwd, env=environment, **streams))
    return processes


def run_all(codes, cwd, variables=(), limit=600):
    """The exit status, the output and the errors of each."""
    processes = start_all(codes, cwd, variables)
    try:
        ended = [process.communicate(timeout=limit) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *streams) for process, streams in zip(processes, ended, strict=True)]
