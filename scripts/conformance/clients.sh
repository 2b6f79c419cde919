#!/usr/bin/env bash
# Generates clients from our OpenAPI document and compiles each with its language's own compiler.
#
#   clients.sh [LANGUAGE]...     python typescript java go csharp (openapi-generator), rust (progenitor)
#
# Where a compiler is missing the client is generated all the same, and that is said. Everything lands in
# target/clients; exit status 1 where a generator or a compiler failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
. scripts/lib.sh

readonly document=openapi/openapi-3.0.json # progenitor reads no 3.1, and the generators read 3.0 best
readonly out=$PWD/target/clients
readonly generator=openapi-generator-cli==7.26.0 # the program of openapi-generator, as PyPI carries it
readonly typescript=typescript@5.9.3
readonly cache=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}/clients

languages=("$@")
[ $# -gt 0 ] || languages=(python typescript java go csharp rust)
mkdir -p "$out" "$cache"
job=
trap '[ -z "$job" ] || kill "$job" 2>/dev/null || true' EXIT
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
  rm -rf "${out:?}/$language"
  step "$out/$language.generate.log" "$cache/venv/bin/openapi-generator-cli" generate -i "$document" -g "$name" \
    -o "$out/$language" "$@"
}

of_python() {
  generate python python --package-name steelyard_client && step "$out/python.compile.log" python3 -m compileall -q -f "$out/python/steelyard_client"
}

of_typescript() {
  generate typescript typescript-fetch || return
  have npm || return 2
  step "$out/typescript.compile.log" npm install --prefix "$cache" --no-audit --no-fund "$typescript" &&
    step "$out/typescript.compile.log" "$cache/node_modules/.bin/tsc" --noEmit --strict --target es2020 --module esnext \
      --moduleResolution node --lib es2020,dom "$out/typescript/index.ts"
}

of_java() {
  generate java java --library native --additional-properties=hideGenerationTimestamp=true || return
  have mvn || return 2
  step "$out/java.compile.log" mvn -q -B -f "$out/java/pom.xml" -DskipTests -Dmaven.test.skip=true compile
}

of_go() {
  generate go go --additional-properties=packageName=steelyard || return
  have go || return 2
  step "$out/go.compile.log" env -C "$out/go" go build ./...
}

of_csharp() {
  generate csharp csharp || return
  have dotnet || return 2
  step "$out/csharp.compile.log" dotnet build "$out/csharp"
}

# progenitor writes the client when the crate is built.
of_rust() {
  have cargo || return 2
  step "$out/rust.compile.log" env CARGO_TARGET_DIR="$out/rust" cargo build --manifest-path "$here/rust-client/Cargo.toml"
}

failed=0
setup_generator
for language in "${languages[@]}"; do
  started=$SECONDS status=0
  "of_$language" || status=$?
  case $status in
    0) say "ok   $language: generated and compiled ($((SECONDS - started)) s)" ;;
    2) say "part $language: generated; its compiler is not on this machine" ;;
    *)
      failed=1
      say "FAIL $language ($((SECONDS - started)) s): $out/$language.*.log"
      tail -n 15 "$(ls -t "$out/$language".*.log | head -1)" >&2
      ;;
  esac
done
exit "$failed"
