#!/usr/bin/env bash
# Runs the unmodified openai package against a broker: check.py says what is checked.
#
# With STEELYARD_URL and STEELYARD_API_KEY set, against that broker. Otherwise it starts $STEELYARD_BIN
# (target/debug/steelyard) with the engine in STEELYARD_ENGINE_DIR, or the simulated one where that is unset.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
. scripts/lib.sh

readonly cache=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}
readonly venv=$cache/client
readonly start_timeout_s=180 # a cold engine on a busy machine, with room

wanted=$(cksum <"$here/requirements.txt")
if [ "$(cat "$venv/ready" 2>/dev/null)" != "$wanted" ] || ! "$venv/bin/python" -c 'import openai' 2>/dev/null; then
  say "client: installing the openai package into $venv"
  mkdir -p "$cache"
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >&2; then
    apt_install python3 python3-venv || die "the client test needs python3 with venv: $APT_WHY" "install python3-venv"
    /usr/bin/python3 -m venv --clear "$venv" >&2
  fi
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  printf '%s\n' "$wanted" >"$venv/ready"
fi

if [ -z "${STEELYARD_URL:-}" ] || [ -z "${STEELYARD_API_KEY:-}" ]; then
  program=${STEELYARD_BIN:-target/debug/steelyard}
  [ -x "$program" ] || die "$program is missing" "run: make test-python"
  dir=target/client-test
  options=()
  if [ -z "${STEELYARD_ENGINE_DIR:-}" ]; then
    say "client: STEELYARD_ENGINE_DIR is unset, so the SIMULATED engine answers"
    options=(--engine simulated)
  fi
  mkdir -p "$dir"
  rm -f "$dir/env"
  "$program" demo --dir "$dir" --listen 127.0.0.1:0 ${options[@]+"${options[@]}"} >"$dir/output" 2>&1 &
  broker=$!
  stop() {
    kill -INT "$broker" 2>/dev/null || true
    wait "$broker" 2>/dev/null || true
  }
  trap stop EXIT
  trap 'exit 130' INT TERM
  until [ -s "$dir/env" ]; do
    kill -0 "$broker" 2>/dev/null || { cat "$dir/output" >&2; die "the broker ended before it was ready"; }
    [ "$SECONDS" -lt "$start_timeout_s" ] || { cat "$dir/output" >&2; die "the broker was not ready in $start_timeout_s s"; }
    sleep 0.1
  done
  set -a
  . "$dir/env"
  set +a
fi

"$venv/bin/python" "$here/check.py"
