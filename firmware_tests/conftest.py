"""Programs, and the budgets of budgets.json.

`pytest firmware_tests --renew-budgets` stores what is measured, with the versions of the compilers, as the new budgets.
The figures of all targets and the reasons of those that were skipped are printed at the end of a run.
"""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from budgets import Budgets, with_table

from keras_s4.files import write_bytes
from keras_s4.testing.programs import model

BUDGETS = pytest.StashKey[Budgets]()
# What its table of budgets shows is renewed with them.
README = Path(__file__).parents[1] / "tflite" / "c99" / "README.md"


def pytest_addoption(parser):
    parser.addoption("--renew-budgets", action="store_true", help="store the measured figures in budgets.json")


def pytest_configure(config):
    renew = config.getoption("renew_budgets")
    if renew and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--renew-budgets needs one process: leave out -n.")
    config.stash[BUDGETS] = Budgets(Path(__file__).parent / "budgets.json", renew)


def pytest_sessionfinish(session):
    budgets = session.config.stash[BUDGETS]
    if budgets.renew:
        budgets.save()
        write_bytes(README, with_table(README.read_text(), budgets.table("classifier")).encode())


def pytest_terminal_summary(terminalreporter):
    lines = [
        value
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for key, value in report.user_properties
        if key == "firmware" and report.when == "call"
    ]
    skipped = terminalreporter.getreports("skipped")
    lines += sorted({f"skipped {r.nodeid}: {r.longrepr[2]}" for r in skipped if r.nodeid.startswith("firmware_tests")})
    if lines:
        terminalreporter.section("firmware")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def hold(request, record_property):
    """A function that prints the figures of an image and holds them to its budget."""

    def hold(name, image, instructions, stack_bytes, unit="instructions"):
        figures = {
            "code": image.code_bytes,
            "constants": image.constant_bytes,
            "ram": image.state_bytes + image.static_bytes,
            "stack": stack_bytes,
            "instructions": instructions,
        }
        text = (
            f"{name}: flash {figures['code']} B code + {figures['constants']} B constants, RAM {figures['ram']} B, "
            f"stack {stack_bytes} B, {instructions:,.0f} {unit} a step ({image.compiler})"
        )
        print(text)
        record_property("firmware", text)
        outcome = request.config.stash[BUDGETS].hold(name, image.compiler, figures)
        if outcome != "held":
            record_property("firmware", f"{name}: {outcome}")

    return hold


@pytest.fixture(scope="session")
def random_program():
    return model(blocks=2, lowered=True)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A classifier of six channels into seven classes, converted.

    Workers of pytest-xdist leave it to each other, since Keras takes seconds.
    """
    folder = tmp_path_factory.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "classifier.pickle"
    if not path.exists():
        unfinished = folder / "unfinished.pickle"
        unfinished.write_bytes(pickle.dumps(converted_classifier()))
        unfinished.replace(path)
    return pickle.loads(path.read_bytes())


def converted_classifier():
    import keras

    from keras_s4 import models
    from keras_s4.tflite import convert

    keras.utils.set_random_seed(0)
    model = models.classifier((150, 6), 7, channels=32, states=4, blocks=2)
    return convert(model, np.random.default_rng(0).normal(size=(4, 150, 6))).program


@pytest.fixture(scope="session")
def programs(request):
    """Programs by name, each made when it is asked for."""
    return lambda name: request.getfixturevalue({"random": "random_program"}.get(name, name))
