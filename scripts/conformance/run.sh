#!/usr/bin/env bash
# The field's own clients and judges, unmodified, against a broker started for them.
#
#   run.sh [SUITE]...        all suites, or those named: openai_python openai_node anthropic_node langchain_python
#                            langchain_node vercel official comply fuzz
#
# OPENAI_SPEC names OpenAI's official OpenAPI document; without it that suite says that it was skipped.
# A full run rewrites the table of docs/COMPATIBILITY.md. Exit status 1 where a scenario failed or a suite ended
# without saying so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
. scripts/lib.sh
conformance=$here
. "$here/broker.sh"

readonly work=target/conformance
readonly suite_timeout_s=600 # the longest suite takes a minute; this is for one that hangs
readonly all_suites=(openai_python openai_node anthropic_node langchain_python langchain_node vercel official comply fuzz)

suites=("$@")
[ $# -gt 0 ] || suites=("${all_suites[@]}")
clients=$("$here/setup.sh")
export STEELYARD_NODE_MODULES=$clients/node/node_modules
# Node resolves a package from where its importer lies.
cp "$here"/*.mjs "$clients/node/"
export PATH="$clients/node/node_modules/.bin:$clients/python/bin:$PATH"

start_broker "$work"
results=$work/results.jsonl
: >"$results"
failed=0
for suite in "${suites[@]}"; do
  say "== $suite"
  if [ -f "$here/$suite.mjs" ]; then
    command=(node "$clients/node/$suite.mjs")
  else
    command=("$clients/python/bin/python" "$here/$suite.py")
  fi
  # In the background, so that Ctrl-C is heard at once.
  timeout --kill-after=5 "$suite_timeout_s" "${command[@]}" >>"$results" &
  suite_pid=$!
  wait "$suite_pid" || { failed=1 && say "== $suite failed"; }
done

python3 "$here/table.py" --summary "$results" || failed=1
# The table tells of every suite, so only a run of every suite may write it.
[ $# -gt 0 ] || python3 "$here/table.py" "$results" docs/COMPATIBILITY.md
exit "$failed"
