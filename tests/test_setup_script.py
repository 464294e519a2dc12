"""The set-up of the scripts, with a stand-in for Python that makes environments and installs packages at once."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from interruptions import hear_interruptions

SCRIPTS = Path(__file__).parents[1] / "scripts"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are for bash")

# Told by MODE to hang, or to fail, while it makes an environment or installs.
PYTHON = r"""#!/bin/bash
echo "$*" | head -n 1 >> "$LOG"
venv=$(cd "$(dirname "$0")/.." && pwd -P)
case "$*" in
  "-m venv"*)
    mkdir -p .venv/bin
    echo "command = /usr/bin/python3 -m venv $PWD/.venv" > .venv/pyvenv.cfg
    cp "$STAND_IN" .venv/bin/python
    [ "$MODE" = hang-venv ] && sleep 60
    [ "$MODE" = fail-venv ] && { echo "ensurepip is not available" >&2; exit 1; }
    touch .venv/pip
    ;;
  *"import sys, pip"*) [ -e "$venv/pip" ] ;;
  "-m pip install"*)
    [ -e "$venv/pip" ] || { echo "No module named pip" >&2; exit 1; }
    [ "$MODE" = fail-pip ] && { echo "no network" >&2; exit 1; }
    [ "$MODE" = slow-pip ] && sleep 1
    touch "$venv/half"
    [ "$MODE" = hang-pip ] && sleep 60
    printf '#!/bin/bash\n# %s/bin/python\necho "demo $*"\n' "$venv" > "$venv/bin/keras-s4"
    chmod +x "$venv/bin/keras-s4"
    ;;
  "- "*) [ -x "$venv/bin/keras-s4" ] ;;
esac
"""


class Checkout:
    def __init__(self, path):
        self.path = path
        (path / "scripts").mkdir(parents=True)
        for name in ("setup.sh", "demo.sh"):
            shutil.copy(SCRIPTS / name, path / "scripts")
        (path / "pyproject.toml").write_text("[project]\n")
        (path.parent / "python").write_text(PYTHON)
        (path.parent / "python").chmod(0o755)

    def start(self, mode=""):
        root = self.path.parent
        names = {"PYTHON": root / "python", "STAND_IN": root / "python", "LOG": root / "log", "MODE": mode}
        return subprocess.Popen(
            ["bash", str(self.path / "scripts" / "demo.sh"), "--out", "here"],
            env={**os.environ, **{name: str(value) for name, value in names.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=hear_interruptions,
        )

    def run(self, mode=""):
        """The exit status and all that was printed."""
        process = self.start(mode)
        out, errors = process.communicate(timeout=60)
        return process.returncode, out + errors

    def calls(self, kind):
        """How often the stand-in made environments (`-m venv`) or installed (`-m pip`)."""
        return (self.path.parent / "log").read_text().count(kind)

    def stop(self, mode, signal_number):
        """Interrupts or kills everything once the stand-in hangs."""
        process = self.start(mode)
        waited_for = self.path / ".venv" / ("half" if mode == "hang-pip" else "bin/python")
        for _ in range(600):
            if waited_for.exists():
                break
            time.sleep(0.05)
        time.sleep(0.1)
        os.killpg(process.pid, signal_number)
        out, errors = process.communicate(timeout=60)
        return process.returncode, out + errors


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "a checkout")


def test_the_first_run_sets_up_and_the_second_runs_at_once(checkout):
    assert checkout.run() == (
        0,
        "Installing keras-s4[all] into .venv (a few minutes the first time) ...\ndemo demo --out here\n",
    )
    assert checkout.run() == (0, "demo demo --out here\n")
    assert (checkout.calls("-m venv"), checkout.calls("-m pip")) == (1, 1)


@pytest.mark.parametrize("mode", ["hang-venv", "hang-pip"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_set_up_is_made_anew(checkout, mode, number):
    status, printed = checkout.stop(mode, number)
    if number == signal.SIGINT:
        assert status == 130
        assert printed.endswith("Set-up interrupted; the same command makes it anew.\n")
    status, printed = checkout.run()
    assert (status, printed.splitlines()[-1]) == (0, "demo demo --out here")
    assert "is not whole" in printed
    assert checkout.calls("-m venv") == 2
    assert not (checkout.path / ".venv" / "unfinished").exists()
    assert checkout.run() == (0, "demo demo --out here\n")


def test_an_environment_of_an_earlier_version_without_pip_is_made_anew(checkout):
    """What Ctrl-C in the first seconds left before there was a mark for it."""
    checkout.run()
    (checkout.path / ".venv" / "pip").unlink()
    (checkout.path / ".venv" / "installed").unlink()
    status, printed = checkout.run()
    assert (status, printed.splitlines()[-1]) == (0, "demo demo --out here")


@pytest.mark.parametrize("copied", [False, True])
def test_a_moved_or_copied_checkout_is_set_up_anew(checkout, copied):
    checkout.run()
    there = checkout.path.with_name("elsewhere")
    (shutil.copytree if copied else shutil.move)(checkout.path, there)
    before, checkout.path = checkout.path, there
    status, printed = checkout.run()
    assert (status, printed.splitlines()[-1]) == (0, "demo demo --out here")
    assert str(there) in (there / ".venv" / "bin" / "keras-s4").read_text()
    assert before.exists() == copied
    assert checkout.run() == (0, "demo demo --out here\n")


def remove_interpreter(environment):
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/nonexistent/python3.11")


def remove_command(environment):
    (environment / "bin" / "keras-s4").unlink()


def remove_pip(environment):
    (environment / "pip").unlink()


@pytest.mark.parametrize("damage", [remove_interpreter, remove_command, remove_pip])
def test_what_is_missing_from_an_environment_is_made_anew(checkout, damage):
    checkout.run()
    damage(checkout.path / ".venv")
    status, printed = checkout.run()
    assert (status, printed.splitlines()[-1]) == (0, "demo demo --out here")


@pytest.mark.parametrize(
    ("mode", "message"),
    [("fail-venv", "Python could not make an environment"), ("fail-pip", "The packages could not be installed")],
)
def test_a_set_up_that_fails_says_so_and_works_once_that_is_mended(checkout, mode, message):
    status, printed = checkout.run(mode)
    assert status == 1
    assert message in printed
    assert checkout.run()[0] == 0


def test_an_update_that_fails_leaves_what_is_there(checkout):
    checkout.run()
    (checkout.path / "pyproject.toml").write_text("[project]\ndependencies = []\n")
    assert checkout.run("fail-pip")[0] == 1
    assert checkout.run()[0] == 0
    assert checkout.calls("-m venv") == 1


@pytest.mark.skipif(shutil.which("flock") is None, reason="without flock, set-ups do not wait for each other")
def test_two_set_ups_at_once_install_once(checkout):
    first, second = checkout.start("slow-pip"), checkout.start("slow-pip")
    printed = [process.communicate(timeout=60) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], printed
    assert (checkout.calls("-m venv"), checkout.calls("-m pip")) == (1, 1)
    assert sum("Waiting for another set-up" in out for out, _ in printed) == 1


def test_no_python_is_said(checkout, tmp_path):
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("bash", "dirname", "grep", "sed", "head", "cksum", "rm", "mkdir", "touch"):
        (bare / tool).symlink_to(shutil.which(tool))
    command = ["bash", str(checkout.path / "scripts" / "demo.sh")]
    done = subprocess.run(command, env={"PATH": str(bare)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 to 3.13; none was found" in done.stderr
