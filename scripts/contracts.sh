#!/usr/bin/env bash
# Builds and tests the contracts and compares what is committed with what comes out: ABI and bytecode, golden trees, gas.
#
#   scripts/contracts.sh            fail when anything is stale
#   scripts/contracts.sh --update   rewrite what is stale
#   scripts/contracts.sh --deep     as the first, with many more fuzz and invariant runs (minutes)
#   scripts/contracts.sh --coverage instead, fail when a line or branch of the sources is met by no test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

update=
coverage=
case ${1:-} in
  --update) update=yes ;;
  --deep) export FOUNDRY_PROFILE=deep ;;
  --coverage) coverage=yes ;;
  '') ;;
  *) die "unknown option $1" "use --update, --deep, --coverage or nothing" ;;
esac

bin=$(scripts/setup-contracts.sh)
readonly stale_fix="run: make contracts ARGS=--update"
cd contracts
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

if [ -n "$coverage" ]; then
  # Random calls are left out: what only they reach, they may miss the next time. So is gas, which differs here.
  "$bin/forge" coverage --no-match-contract 'Gas|Invariants' --no-match-coverage '^test/' \
    --report summary --report lcov --report-file "$fresh/lcov.info"
  # Lines, branches and functions that were met zero times, by the file above them.
  missed=$(awk -F'[:,]' '/^SF/ { file = $2 } /^DA/ && $3 == 0 || /^BRDA/ && ($5 == "0" || $5 == "-") { print file ":" $2 }' \
    "$fresh/lcov.info" | sort -u)
  [ -z "$missed" ] || die "no test meets $(echo "$missed" | tr '\n' ' ')" "write one"
  exit 0
fi

if [ -n "$update" ]; then "$bin/forge" fmt; else "$bin/forge" fmt --check; fi
"$bin/forge" build
"$bin/forge" lint src # what the tests cast they made themselves

node abi.mjs "$fresh/abi"
mkdir -p "$fresh/golden"
node merkle.mjs "$fresh/golden/merkle.json"
if [ -n "$update" ]; then
  mkdir -p abi test/golden
  cp "$fresh"/abi/*.json abi/
  cp "$fresh/golden/merkle.json" test/golden/
else
  diff -ru abi "$fresh/abi" >&2 || die "contracts/abi is stale" "$stale_fix"
  diff -u test/golden/merkle.json "$fresh/golden/merkle.json" >&2 || die "the golden trees are stale" "$stale_fix"
fi

if [ -n "$update" ]; then
  FORGE_SNAPSHOT_EMIT=true "$bin/forge" test
else
  FORGE_SNAPSHOT_EMIT=false FORGE_SNAPSHOT_CHECK=true "$bin/forge" test || die "a test failed, or gas changed" "if only gas did, $stale_fix"
fi
