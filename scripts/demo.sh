#!/usr/bin/env bash
# Sets everything up and runs the main job: train, reduce, retrain, convert, verify on the smartwatch recordings.
# Arguments go to `keras-s4 demo`, for example: bash scripts/demo.sh --out runs/mine
source "$(dirname "$0")/setup.sh" all
exec .venv/bin/keras-s4 demo "$@"
