#!/usr/bin/env bash
# Sets everything up, then lint, format check and all tests. Arguments go to pytest.
source "$(dirname "$0")/setup.sh" all,dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest -n "$(nproc)" --dist worksteal "$@"
