"""Measure a training step of the DSS layer on both backends beside public code, the start of a training, and streams.

All is processor time on one core. PyTorch S4D (github.com/state-spaces/s4) and annotated-s4 (github.com/srush) run from
checkouts of yours, in an environment with torch, einops and flax: `--s4-checkout`, `--annotated-s4-checkout` and
`--peer-python`; without them their rows are missing. The committed record has them: such a run writes it with `--json`.
Other layers stand in `layers.py`. A run over takes five minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from backends_measuring import Peers, describe_peers, measure_memory, measure_peers, tables

from keras_s4.testing.experiment import Experiment, Measurement, finished_parts
from keras_s4.testing.processes import describe_processor


def compute(
    cache: Path,
    rounds: Annotated[int, typer.Option(help="Timings of each library.", min=1)] = 5,
    s4_checkout: Annotated[Path | None, typer.Option(help="Checkout of github.com/state-spaces/s4.")] = None,
    annotated_s4_checkout: Annotated[
        Path | None, typer.Option(help="Checkout of github.com/srush/annotated-s4.")
    ] = None,
    peer_python: Annotated[str, typer.Option(help="Python that has torch, einops and flax; by default this one.")] = "",
) -> Measurement:
    """A training step on both backends, beside public code."""
    peers = Peers(s4_checkout, annotated_s4_checkout, peer_python or sys.executable)
    with finished_parts(cache, rounds=rounds, peers=peers) as part:
        found = Measurement.from_json(part("peers", lambda: measure_peers(peers, rounds).to_json()))
        memory = Measurement.from_json(part("memory", lambda: measure_memory(peers).to_json()))
    origin = {"processor": describe_processor(), "rounds": rounds, "peers": describe_peers(peers)}
    return Measurement(found.figures + memory.figures, origin | found.details | memory.details)


EXPERIMENT = Experiment(
    title="A training step on both backends, beside public code",
    result=Path(__file__).parents[1] / "results" / "backends.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "jax", "numpy"),
    cache=Path("runs/backends"),
    tables=tables,
    needs={"jax": "jax"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
