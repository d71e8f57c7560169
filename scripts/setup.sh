#!/bin/sh
# Make .venv and install Reverie in it, editable, with the extras named.
#
#   sh scripts/setup.sh demo
#   PYTHON=python3.12 sh scripts/setup.sh dev
#
# Safe to run again: what is there already is kept.
set -eu
cd "$(dirname "$0")/.."
extras=${1:?"name the extras to install, for example: sh scripts/setup.sh demo"}

# The torch release that the tests and the measured results use. A CPU build is named by its release
# because the newest one on PyPI brings several gigabytes of CUDA libraries to a Linux machine that
# cannot use them.
torch_release=2.13.0
torch_cpu_index=https://download.pytorch.org/whl/cpu

say() { printf '%s\n' "$*"; }

# usable PYTHON LOWEST HIGHEST: it runs, is of such a version 3.x, and can make virtual environments.
usable() {
    "$1" -c "import sys, venv, ensurepip; v = sys.version_info; sys.exit(not (v[0] == 3 and $2 <= v[1] <= $3))" \
        >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        if usable "$PYTHON" 11 99; then
            python=$PYTHON
            return
        fi
        say "PYTHON=$PYTHON is not a Python 3.11 or newer that can make virtual environments."
        exit 1
    fi
    # The versions that the tests run on first; a newer one only where none of them is there.
    for highest in 13 99; do
        for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
            if usable "$name" 11 "$highest"; then
                python=$name
                return
            fi
        done
    done
    say "Reverie needs Python 3.11 or newer with its venv module, and none was found."
    say "  Debian, Ubuntu:  sudo apt-get install python3 python3-venv"
    say "  Fedora:          sudo dnf install python3"
    say "  macOS:           brew install python@3.12"
    say "Or name one:       make PYTHON=/path/to/python3 demo"
    exit 1
}

has_module() { .venv/bin/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"; }

# Without byte code: pip would compile all of every package, which takes longer than the installation.
install() { .venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@"; }

# Byte code of what is used, also where the environment says that Python is not to write any.
compile_used() {
    env -u PYTHONDONTWRITEBYTECODE .venv/bin/python - >/dev/null 2>&1 <<'PYTHON' || true
import contextlib, importlib
for name in "torch torch._dynamo dm_control.suite gymnasium hypothesis pytest rich tyro".split():
    with contextlib.suppress(Exception):
        importlib.import_module(name)
PYTHON
}

# A .venv whose Python is gone (moved folder, upgraded system) is made anew.
if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
    find_python
    say "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi

# Linux without a working NVIDIA driver: the CPU build, from PyTorch's own index. Where that index cannot be
# reached the same release comes from wherever pip is set up to look.
if ! has_module torch && [ "$(uname -s)" = Linux ] && ! nvidia-smi >/dev/null 2>&1; then
    say "Installing torch $torch_release for the CPU (about 200 MB) ..."
    install --no-deps --timeout 10 --retries 1 --index-url "$torch_cpu_index" "torch==$torch_release" \
        2>/dev/null ||
        install "torch==$torch_release"
fi

say "Installing Reverie with its extras: $extras ..."
install --editable ".[$extras]"

# dm_control asks for labmaze, which has no wheel for Python 3.13 and which no suite task imports; its other
# requirements are in the extra `dmc`.
if has_module mujoco && ! has_module dm_control; then
    install --no-deps "dm_control>=1.0.50,<1.1"
fi

compile_used
