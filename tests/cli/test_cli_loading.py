"""What is quick stays quick: help, and the refusal of arguments, before Keras is loaded."""

import subprocess
import sys

import pytest

COMMANDS = ("run", "train", "demo", "spectrum", "reduce", "tune", "convert", "import")
CODE = """
import sys
from typer.testing import CliRunner
from keras_s4.cli import app
call = lambda *arguments: CliRunner().invoke(app, arguments)
assert call("--help").exit_code == 0
for command in {commands}:
    result = call(command, "--help")
    assert result.exit_code == 0 and "--" in result.output, result.output
assert call("reduce", "none.keras", "out.keras").exit_code == 1
assert call("convert").exit_code == 1
assert call("tune", "none.keras", "none.npz", "out").exit_code == 1
print(sorted({{"keras", "tensorflow", "jax", "matplotlib", "sklearn"}} & set(sys.modules)))
"""


@pytest.mark.parametrize("ready", [True, False])
def test_help_and_refusals_load_no_keras(ready, tmp_path):
    """Whether this can fail: a command that begins to work does load it."""
    code = (
        CODE.format(commands=COMMANDS)
        if ready
        else "import keras_s4.cli.actions.spectrum, sys; print('keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["[]"] if ready else ["True"])
