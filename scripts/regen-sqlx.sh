#!/usr/bin/env bash
# Rewrites .sqlx, what lets the compiler check every query without a database.
#
#   scripts/regen-sqlx.sh           replace .sqlx
#   scripts/regen-sqlx.sh --check   change nothing; fail when .sqlx is not what this would write
#
# The query macros write that description themselves when they see a database and SQLX_OFFLINE_DIR. So this
# starts a PostgreSQL of its own on a unix socket, applies the migrations, and lets `cargo check` meet every
# query once. Nothing but PostgreSQL and cargo is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

check=
case ${1:-} in
  --check) check=yes ;;
  '') ;;
  *) die "unknown option $1" "use --check or nothing" ;;
esac

bindir=$(scripts/setup-postgres.sh)
psql=$bindir/psql
[ -x "$psql" ] || psql=$(command -v psql) || die "PostgreSQL's psql is missing" "install postgresql-client"

# /tmp and not $TMPDIR: a socket's path may have 107 bytes at most.
work=$(mktemp -d /tmp/sqlx.XXXXXX)
mkdir "$work/cluster" "$work/queries"
server=()
if [ "$(id -u)" -eq 0 ]; then
  # PostgreSQL refuses to run as root.
  user=nobody
  ! id postgres >/dev/null 2>&1 || user=postgres
  chown "$user" "$work/cluster"
  chmod 755 "$work"
  server=(su -s /bin/sh "$user" -c)
else
  server=(sh -c)
fi

roots=()
finish() {
  # The sources' times go back, so that the next build does not take them for edited; those really edited
  # meanwhile keep theirs.
  local file
  for file in ${roots[@]+"${roots[@]}"}; do
    [ "$file" -nt "$work/touched" ] || touch -r "$work/times/$file" "$file"
  done
  "${server[@]}" "'$bindir/pg_ctl' -D '$work/cluster/data' -m immediate stop" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "query cache 1/3: a scratch PostgreSQL with the migrations"
# Nothing here outlives the script, so nothing needs to reach the disk.
"${server[@]}" "cd / && '$bindir/initdb' -D '$work/cluster/data' -A trust -U postgres -E UTF8 --locale=C --no-sync &&
  '$bindir/pg_ctl' -D '$work/cluster/data' -w -l '$work/cluster/log' \
    -o \"-c listen_addresses='' -c unix_socket_directories='$work/cluster' -c fsync=off\" start" \
  </dev/null >"$work/start.log" 2>&1 || { cat "$work/start.log" "$work/cluster/log" >&2 2>/dev/null; die "the scratch PostgreSQL did not start"; }
for migration in migrations/*.sql; do
  "$psql" -h "$work/cluster" -U postgres -d postgres -qX1 -v ON_ERROR_STOP=1 -o /dev/null -f "$migration" ||
    die "migration $migration does not apply"
done

say "query cache 2/3: meeting every query"
# A macro only runs when its crate is compiled, and cargo compiles what looks edited.
mkdir "$work/times"
while IFS= read -r crate; do
  for file in "$crate"/src/lib.rs "$crate"/src/main.rs "$crate"/tests/*/main.rs "$crate"/tests/*.rs; do
    [ -f "$file" ] || continue
    mkdir -p "$work/times/$(dirname "$file")"
    touch -r "$file" "$work/times/$file"
    roots+=("$file")
  done
done < <(grep -rlE 'query(_as|_scalar|_file)?(_as|_scalar)?(_unchecked)?!' --include='*.rs' -- */src */tests 2>/dev/null | cut -d/ -f1 | sort -u)
touch "$work/touched"
[ ${#roots[@]} -eq 0 ] || touch -r "$work/touched" "${roots[@]}"
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$work/queries \
  DATABASE_URL="postgres://postgres@localhost/postgres?host=$work/cluster" \
  cargo check --workspace --all-targets --quiet

say "query cache 3/3: $(find "$work/queries" -name '*.json' | wc -l | tr -d ' ') queries"
if [ -n "$check" ]; then
  mkdir -p "$work/none"
  known=.sqlx
  [ -d "$known" ] || known=$work/none
  diff -ru "$known" "$work/queries" >&2 || die ".sqlx is stale" "run: make regen"
else
  rm -rf .sqlx
  mkdir .sqlx
  find "$work/queries" -name '*.json' -exec cp {} .sqlx/ \;
fi
