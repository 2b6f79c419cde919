#!/usr/bin/env bash
# Generates clients from our OpenAPI document, compiles each with its language's own compiler, and lets those of
# three languages list the models of a broker and ask one for an answer. Rust's is progenitor's, the others are
# openapi-generator's.
#
#   clients.sh [LANGUAGE]...     python typescript rust java go csharp
#
# Where a compiler is missing the client is generated all the same, and that is said. The broker is that of
# STEELYARD_URL, STEELYARD_API_KEY and STEELYARD_MODEL, or else one started from STEELYARD_BIN. Everything lands in
# target/clients; exit status 1 where a generator, a compiler or a call failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
. scripts/lib.sh
conformance=$here
. "$here/broker.sh"

readonly document=openapi/openapi-3.0.json # the revision that all of the generators read well
readonly out=$PWD/target/clients
readonly generator=openapi-generator-cli==7.26.0 # the program of openapi-generator, as PyPI carries it
readonly typescript="typescript@5.9.3 axios@1.21.1" # the compiler, and what the client stands on
# What Rust's client is made of. Whatever else it needs is progenitor's to choose.
readonly progenitor=0.15.1 reqwest=0.13 tokio=1
readonly no_compiler=69 # no compiler exits with this
readonly cache=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}/clients

languages=("$@")
[ $# -gt 0 ] || languages=(python typescript rust java go csharp)
mkdir -p "$out" "$cache"
job=
stop_job() { [ -z "$job" ] || kill "$job" 2>/dev/null || true; }
trap stop_job EXIT
trap 'exit 130' INT TERM

# In the background, so that Ctrl-C is heard at once and takes the step with it.
step() { # LOG COMMAND...
  local log=$1
  shift
  "$@" >"$log" 2>&1 &
  job=$!
  local status=0
  wait "$job" || status=$?
  job=
  return "$status"
}

setup_generator() {
  have java || apt_install default-jre-headless || die "openapi-generator needs Java: $APT_WHY" "install a JRE"
  [ "$(cat "$cache/ready" 2>/dev/null)" = "$generator" ] && return
  say "clients: installing openapi-generator into $cache"
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv" >&2
  "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$generator" >&2
  printf '%s\n' "$generator" >"$cache/ready"
}

generate() { # LANGUAGE GENERATOR [OPTION]...
  local language=$1 name=$2
  shift 2
  setup_generator
  rm -rf "${out:?}/$language"
  step "$out/$language.generate.log" "$cache/venv/bin/openapi-generator-cli" generate -i "$document" -g "$name" \
    -o "$out/$language" "$@"
}

of_python() {
  generate python python --package-name steelyard_client || return
  step "$out/python.compile.log" python3 -m compileall -q -f "$out/python/steelyard_client" || return
  # What the client stands on, as it says itself; the venv is outside of what is generated anew each time.
  local wanted
  wanted=$(cksum <"$out/python/requirements.txt")
  [ "$(cat "$cache/python/ready" 2>/dev/null)" = "$wanted" ] && return
  step "$out/python.compile.log" python3 -m venv --clear "$cache/python" &&
    step "$out/python.compile.log" "$cache/python/bin/pip" install --quiet -r "$out/python/requirements.txt" &&
    printf '%s\n' "$wanted" >"$cache/python/ready"
}

call_python() { env PYTHONPATH="$out/python" "$cache/python/bin/python" "$here/clients/call.py"; }

of_typescript() {
  # Of the generators for TypeScript, the one that gets a union of unions right.
  generate typescript typescript-axios || return
  have npm || return "$no_compiler"
  # shellcheck disable=SC2086 # two packages
  cp "$here/clients/call.ts" "$out/typescript/"
  step "$out/typescript.compile.log" npm install --prefix "$out/typescript" --no-audit --no-fund --no-save $typescript &&
    step "$out/typescript.compile.log" "$out/typescript/node_modules/.bin/tsc" --outDir "$out/typescript/dist" --strict \
      --skipLibCheck --target es2020 --module commonjs --moduleResolution node --lib es2020,dom "$out/typescript/call.ts"
}

call_typescript() { node "$out/typescript/dist/call.js"; }

of_rust() {
  have cargo || return "$no_compiler"
  mkdir -p "$out/rust/src"
  cp "$here/clients/call.rs" "$out/rust/src/main.rs"
  # A crate and a workspace of its own, in a folder of its own: ours builds with its own choice of features.
  cat >"$out/rust/Cargo.toml" <<TOML
[package]
name = "steelyard-client"
version = "0.0.0"
edition = "2024"
[dependencies]
progenitor = "=$progenitor"
progenitor-client = "=$progenitor"
reqwest = { version = "$reqwest", default-features = false, features = ["json", "query", "stream"] }
serde = { version = "1", features = ["derive"] }
serde_json = "1"
tokio = { version = "$tokio", features = ["macros", "net", "rt"] }
[profile.dev]
debug = false
[workspace]
TOML
  python3 "$here/clients/for_progenitor.py" <"$document" >"$out/rust/document.json" || return
  step "$out/rust.compile.log" cargo build --quiet --manifest-path "$out/rust/Cargo.toml" --target-dir "$out/rust/target"
}

call_rust() { "$out/rust/target/debug/steelyard-client"; }

of_java() {
  generate java java --library native --additional-properties=hideGenerationTimestamp=true || return
  have mvn || return "$no_compiler"
  step "$out/java.compile.log" mvn -q -B -f "$out/java/pom.xml" -Dmaven.test.skip=true compile && return
  # Maven's plugins come from a repository that is not reached everywhere.
  grep -q 'Unknown host' "$out/java.compile.log" && return "$no_compiler"
  return 1
}

of_go() {
  generate go go --additional-properties=packageName=steelyard || return
  have go || return "$no_compiler"
  step "$out/go.compile.log" env -C "$out/go" go build ./...
}

of_csharp() {
  generate csharp csharp || return
  have dotnet || return "$no_compiler"
  step "$out/csharp.compile.log" dotnet build "$out/csharp"
}

# Tells how a step of a language ended.
tell() { # STATUS LANGUAGE WHAT SECONDS
  case $1 in
    0) say "ok   $2: $3 ($4 s)" ;;
    "$no_compiler") say "part $2: generated, not compiled: its compiler or what it builds on can't be had here" ;;
    *)
      failed=1
      say "FAIL $2 ($4 s): $out/$2.*.log"
      tail -n 15 "$(ls -t "$out/$2".*.log | head -1)" >&2
      ;;
  esac
}

failed=0
callers=()
for language in "${languages[@]}"; do
  started=$SECONDS status=0
  "of_$language" || status=$?
  tell "$status" "$language" "generated and compiled" $((SECONDS - started))
  [ "$status" -ne 0 ] || ! have "call_$language" || callers+=("$language")
done

if [ ${#callers[@]} -gt 0 ]; then
  start_broker "$out/broker"
  trap 'stop_job; stop_broker' EXIT
  for language in "${callers[@]}"; do
    started=$SECONDS status=0
    step "$out/$language.call.log" "call_$language" || status=$?
    tell "$status" "$language" "lists models and gets an answer" $((SECONDS - started))
  done
fi
exit "$failed"
