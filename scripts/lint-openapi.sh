#!/usr/bin/env bash
# Lints the published document with Redocly. redocly.yaml says which rules hold.
# lint-openapi.sh FILE...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

# Of the last major that runs on the Node.js 18 of Debian 12.
readonly version=1.34.7
readonly tool=${STEELYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/steelyard}/redocly-$version

if ! have npm; then
  say "lint: installing Node.js"
  apt_install nodejs npm || die "linting the OpenAPI document needs Node.js: $APT_WHY" "install Node.js 18.17 or later with npm"
fi
if ! [ -e "$tool/ready" ]; then
  say "lint: installing @redocly/cli $version into $tool"
  rm -rf "$tool"
  mkdir -p "$tool"
  npm install --prefix "$tool" --loglevel=error --no-audit --no-fund --ignore-scripts "@redocly/cli@$version" >&2 ||
    die "@redocly/cli $version could not be installed" "see above, and whether npm reaches its registry"
  touch "$tool/ready"
fi
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
exec "$tool/node_modules/.bin/redocly" lint --config redocly.yaml --format stylish "$@"
