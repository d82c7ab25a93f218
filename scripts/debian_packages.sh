#!/bin/sh
# Installs the Debian packages that the system tests drive, where their commands are missing.
set -eu
PATH=$PATH:/usr/sbin:/sbin # where Debian keeps nginx and pgbouncer

missing=
command -v chromium >/dev/null || missing="$missing chromium"
command -v nginx >/dev/null || missing="$missing nginx-light"
command -v pgbouncer >/dev/null || missing="$missing pgbouncer"
[ -n "$missing" ] || exit 0

sentence="daglens: the system tests need these Debian packages:$missing."
if ! command -v apt-get >/dev/null; then
    echo "$sentence There is no apt-get here; install chromium, nginx and pgbouncer another way, then try again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif ! command -v sudo >/dev/null; then
    echo "$sentence Run as root: apt-get install$missing" >&2
    exit 1
elif [ -t 0 ]; then
    as_root="sudo env"
else
    as_root="sudo -n env" # nobody there to type a password
fi

echo "$sentence Installing them. (Where systemd runs, Debian starts nginx and pgbouncer as services too; the tests need neither.)"
# shellcheck disable=SC2086 # words on purpose
if ! { $as_root apt-get update -qq </dev/null &&
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null; }; then
    echo "$sentence apt-get failed, as it says above. Run as root: apt-get install$missing" >&2
    exit 1
fi
