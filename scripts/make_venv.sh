#!/bin/sh
# Makes a virtual environment in the folder $1 with $2 (default: python3, or a newer one beside it that is new enough).
# Says in a sentence what is missing, instead of a traceback from the middle of an installation.
set -eu
folder=$1
wanted=${2:-}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "$wanted" ]; then
    python=$wanted
    if ! command -v "$python" >/dev/null; then
        echo "daglens: there is no '$python' here. Install Python 3.11 or newer, or name another: make PYTHON=/path/to/python3 ..." >&2
        exit 1
    fi
else
    python=
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if command -v "$name" >/dev/null && new_enough "$name"; then
            python=$name
            break
        fi
    done
    if [ -z "$python" ]; then
        if command -v python3 >/dev/null; then python=python3; else
            echo "daglens: there is no python3 here. Install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)." >&2
            exit 1
        fi
    fi
fi

if ! new_enough "$python"; then
    echo "daglens: $python is $("$python" -V 2>&1); daglens needs Python 3.11 or newer. Name one: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

# Debian packs ensurepip apart; without it `-m venv` leaves half a folder behind.
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    echo "daglens: $python cannot make virtual environments: its venv module is not installed (Debian: apt-get install python3-venv)." >&2
    exit 1
fi

exec "$python" -m venv "$folder"
