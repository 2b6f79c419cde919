#!/usr/bin/env bash
# Generates clients from our OpenAPI document with openapi-generator and compiles each with its language's own compiler.
#
#   clients.sh [LANGUAGE]...     python typescript java go csharp
#
# Where a compiler is missing the client is generated all the same, and that is said. Everything lands in
# target/clients; exit status 1 where a generator or a compiler failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
. scripts/lib.sh

readonly document=openapi/openapi-3.0.json # the revision that all of the generators read well
readonly out=$PWD/target/clients
readonly generator=openapi-generator-cli==7.26.0 # the program of openapi-generator, as PyPI carries it
readonly typescript="typescript@5.9.3 axios@1.21.1" # the compiler, and what the client stands on
readonly no_compiler=69 # no compiler exits with this
readonly cache=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}/clients

languages=("$@")
[ $# -gt 0 ] || languages=(python typescript java go csharp)
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
  # Of the generators for TypeScript, the one that gets a union of unions right.
  generate typescript typescript-axios || return
  have npm || return "$no_compiler"
  # shellcheck disable=SC2086 # two packages
  step "$out/typescript.compile.log" npm install --prefix "$out/typescript" --no-audit --no-fund --no-save $typescript &&
    step "$out/typescript.compile.log" "$out/typescript/node_modules/.bin/tsc" --noEmit --strict --skipLibCheck \
      --target es2020 --module esnext --moduleResolution node --lib es2020,dom "$out/typescript/index.ts"
}

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

failed=0
setup_generator
for language in "${languages[@]}"; do
  started=$SECONDS status=0
  "of_$language" || status=$?
  case $status in
    0) say "ok   $language: generated and compiled ($((SECONDS - started)) s)" ;;
    "$no_compiler") say "part $language: generated, not compiled: its compiler or what it builds on can't be had here" ;;
    *)
      failed=1
      say "FAIL $language ($((SECONDS - started)) s): $out/$language.*.log"
      tail -n 15 "$(ls -t "$out/$language".*.log | head -1)" >&2
      ;;
  esac
done
exit "$failed"
