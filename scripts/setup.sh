# Sourced by the other scripts: makes .venv with this package installed in editable mode, or reuses what is there.
# Usage: source scripts/setup.sh EXTRAS     (for example "data,dev")
# What is not whole (an interrupted set-up, a moved checkout, another Python) is made anew.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "keras-s4 needs Python 3.11 to 3.13; none was found. Install one, or name it: PYTHON=/path/to/python bash $0" >&2
  exit 1
}

# Whether .venv was made to its end, here, and its Python and pip still run.
environment_is_whole() {
  if [ -e .venv/unfinished ] || [ ! -x .venv/bin/python ]; then
    return 1
  fi
  case "$(sed -n 's/^command = //p' .venv/pyvenv.cfg 2>/dev/null)" in
    "" | *" $PWD/.venv") ;;
    *) return 1 ;;
  esac
  .venv/bin/python -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

# Whether the package can be found in .venv, in this checkout, with what it needs.
package_is_whole() {
  head -n 3 .venv/bin/keras-s4 2>/dev/null | grep -qF "$PWD/.venv/bin/" || return 1
  .venv/bin/python - "$PWD" 2>/dev/null <<'PYTHON'
import importlib.metadata, importlib.util, pathlib, sys
importlib.metadata.version("keras-s4")
found = pathlib.Path(importlib.util.find_spec("keras_s4").origin).resolve()
needed = ("numpy", "scipy", "keras", "tensorflow", "typer", "rich", "matplotlib")
here = pathlib.Path(sys.argv[1]).resolve() in found.parents
sys.exit(not here or not all(importlib.util.find_spec(name) for name in needed))
PYTHON
}

make_environment() {
  local python
  python=$(find_python) || exit 1
  if [ -e .venv ]; then
    echo "The environment in .venv is not whole (interrupted, moved, or of another Python); it is made anew."
  fi
  rm -rf .venv
  mkdir .venv
  touch .venv/unfinished
  if ! "$python" -m venv .venv; then
    echo "Python could not make an environment in $PWD/.venv. Mend what is said above, and start again." >&2
    exit 1
  fi
}

install_package() {
  local wanted
  wanted="$1 $(cksum < pyproject.toml) $PWD"
  if environment_is_whole && grep -qxF "$wanted" .venv/installed 2>/dev/null && package_is_whole; then
    return
  fi
  environment_is_whole || make_environment
  echo "Installing keras-s4[$1] into .venv (a few minutes the first time) ..."
  touch .venv/unfinished
  if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$1]"; then
    echo "The packages could not be installed into $PWD/.venv. Mend what is said above (the network, a full disk), and start again." >&2
    # As when an update could not be loaded: what is there stays in use.
    if package_is_whole; then
      rm .venv/unfinished
    fi
    exit 1
  fi
  echo "$wanted" >> .venv/installed
  rm .venv/unfinished
}

# Two set-ups at once wait for each other, where there is a `flock`.
if command -v flock >/dev/null; then
  exec 9< pyproject.toml
  flock -n 9 || { echo "Waiting for another set-up of this checkout ..."; flock 9; }
fi
trap 'echo "Set-up interrupted; the same command makes it anew." >&2; exit 130' INT
install_package "$1"
trap - INT
exec 9<&-
