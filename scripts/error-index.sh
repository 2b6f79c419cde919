#!/usr/bin/env bash
# Rewrites the index of docs/errors from the first lines of its pages, so that the two cannot disagree.
#
#   scripts/error-index.sh           rewrite it
#   scripts/error-index.sh --check   change nothing; fail when it is stale or a code has no page
#
# A page opens with "# `code`" and, two lines below, "status · type · what a retry does".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
readonly pages=docs/errors

index() {
  cat <<'MD'
# Error codes

Every error body is `{"error":{"message","type","param","code"}}`, with `metadata` and `availability` where
they say more. Decide by `code`: messages may change, codes do not. Quote the `x-request-id` header when asking for help.

Three rules cover most clients. `x-should-retry: false` means a retry cannot help. `retry-after` (or the finer
`retry-after-ms`) says how long to wait. Anything else with 409, 429 or 5xx may be tried again with growing,
jittered pauses; other statuses need a changed request.

| Code | Status | Type | Retry |
| --- | --- | --- | --- |
MD
  local page code line
  for page in "$pages"/*.md; do
    code=$(basename "$page" .md)
    [ "$code" != README ] || continue
    [ "$(sed -n 1p "$page")" = "# \`$code\`" ] || die "$page must open with: # \`$code\`"
    line=$(sed -n 3p "$page")
    [[ $line == *" · "*" · "* ]] || die "line 3 of $page must read: status · type · what a retry does"
    printf '| [`%s`](%s.md) | %s |\n' "$code" "$code" "${line// · / | }"
  done
}

case ${1:-} in
  '') index >"$pages/README.md.new" && mv "$pages/README.md.new" "$pages/README.md" ;;
  --check)
    fresh=$(mktemp)
    trap 'rm -f "$fresh"' EXIT
    index >"$fresh"
    diff -u "$pages/README.md" "$fresh" >&2 || die "$pages/README.md is stale" "run: make regen"
    # Codes as the mapping to HTTP writes them down.
    for code in $(cat api/src/error.rs api/src/error/*.rs |
      grep -oE '(Some|with_code|payment|forbidden|not_found)\("[a-z]+_[a-z_]+"[,)]|StatusCode::[A-Z_]+, "[a-z]+_[a-z_]+"' |
      grep -oE '"[a-z]+_[a-z_]+"' | tr -d '"' | sort -u); do
      [ -f "$pages/$code.md" ] || die "the error code $code has no page" "write $pages/$code.md"
    done
    ;;
  *) die "unknown option $1" "use --check or nothing" ;;
esac
