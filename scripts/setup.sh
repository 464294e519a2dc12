# Sourced by the other scripts: makes .venv with this package installed in editable mode, or reuses what is there.
# Usage: source scripts/setup.sh EXTRAS     (for example "data,dev")
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

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

install_package() {
  local wanted
  wanted="$1 $(sha256sum pyproject.toml | cut -d ' ' -f 1)"
  if [ ! -x .venv/bin/python ]; then
    "$(find_python)" -m venv .venv
  fi
  if ! grep -qxF "$wanted" .venv/installed 2>/dev/null; then
    echo "Installing keras-s4[$1] into .venv (a few minutes the first time) ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$1]"
    echo "$wanted" >> .venv/installed
  fi
}

install_package "$1"
