#!/usr/bin/env bash
# Reads the contracts with slither and fails on any finding. contracts/slither.config.json leaves out two detectors:
# `timestamp`, since delays of hours to weeks do not mind the seconds a validator can move, and `calls-loop`, since
# claimMany is that loop, with a bound on its length and on the gas of each call.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
. scripts/lib.sh

readonly cache=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}
readonly venv=$cache/slither

wanted=$(cksum <"$here/requirements.txt")
if [ "$(cat "$venv/ready" 2>/dev/null)" != "$wanted" ] || ! "$venv/bin/slither" --version >/dev/null 2>&1; then
  say "slither: installing it into $venv"
  mkdir -p "$cache"
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >&2; then
    apt_install python3 python3-venv || die "slither needs python3 with venv: $APT_WHY" "install python3-venv"
    /usr/bin/python3 -m venv --clear "$venv" >&2
  fi
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  printf '%s\n' "$wanted" >"$venv/ready"
fi

# It builds with the forge it finds on PATH, into out/ like everybody else.
bin=$(scripts/setup-contracts.sh)
cd contracts
PATH="$bin:$PATH" "$venv/bin/slither" .
