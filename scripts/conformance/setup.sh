#!/usr/bin/env bash
# Installs the clients and judges, each as published: Python's into one virtual environment, Node's by the
# committed lock. Prints the folder they are in; a second run finds the stamps and is done.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"

readonly cache=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}
readonly dir=$cache/conformance
mkdir -p "$dir/node"

stamped() { [ "$(cat "$1/ready" 2>/dev/null)" = "$2" ]; }

wanted=$(cksum <"$here/requirements.txt")
if ! stamped "$dir/python" "$wanted"; then
  say "conformance: installing Python's clients into $dir/python"
  rm -rf "$dir/python"
  python3 -m venv "$dir/python" >&2 || die "the suites need python3 with venv" "install python3-venv"
  "$dir/python/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  printf '%s\n' "$wanted" >"$dir/python/ready"
fi

wanted=$(cat "$here/package.json" "$here/package-lock.json" | cksum)
if ! stamped "$dir/node" "$wanted"; then
  have npm || apt_install nodejs npm || die "the suites need npm: $APT_WHY" "install nodejs and npm"
  say "conformance: installing Node's clients into $dir/node"
  rm -f "$dir/node/ready"
  cp "$here/package.json" "$here/package-lock.json" "$dir/node/"
  # The script allowed to run is that of the package `node`: the AI SDK wants a newer Node than Debian's.
  (cd "$dir/node" && npm ci --no-audit --no-fund --loglevel=error >&2)
  printf '%s\n' "$wanted" >"$dir/node/ready"
fi
printf '%s\n' "$dir"
