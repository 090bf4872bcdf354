#!/bin/sh
# Usage: install_locked.sh VENV cpu|cuda
# Installs the packages of uv.lock, in the folder that holds it, into a new virtual environment; the program itself comes after.
set -eu
venv=$1 torch=$2
uv venv --quiet "$venv"
case $torch in
cuda)
    uv export --quiet --frozen --no-emit-project --extra metrics --output-file requirements.txt
    ;;
cpu)
    # torch of the same version without CUDA, and everything that the lock has besides what only torch needs.
    version=$(sed -n '/^name = "torch"$/{n;s/^version = "\(.*\)"$/\1/p;}' uv.lock)
    uv export --quiet --frozen --no-emit-project --extra metrics --prune torch --output-file requirements.txt
    uv pip install --python "$venv" --torch-backend cpu "torch==$version"
    ;;
*)
    echo "install_locked.sh: $torch is neither cpu nor cuda" >&2
    exit 2
    ;;
esac
uv pip install --python "$venv" --no-deps --require-hashes --requirement requirements.txt
