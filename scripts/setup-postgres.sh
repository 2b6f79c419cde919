#!/usr/bin/env bash
# Makes sure PostgreSQL's server programs are on this machine and prints the folder they are in.
# Looks where the broker looks: PG_BINDIR, PATH, the distributions' versioned folders (newest first),
# Homebrew, Postgres.app. Installs the distribution's package only when none of them is recent enough.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./lib.sh

readonly OLDEST_MAJOR=14 # what the migrations and the settle statement are tested on

# usable FOLDER: true when it holds a whole server of a version we support.
usable() {
  local dir=$1 tool major
  for tool in postgres initdb pg_ctl; do
    [ -x "$dir/$tool" ] || return 1
  done
  major=$("$dir/postgres" --version 2>/dev/null | sed -n 's/.*) \([0-9]*\).*/\1/p')
  [ "${major:-0}" -ge "$OLDEST_MAJOR" ]
}

candidates() {
  local program
  if program=$(command -v postgres 2>/dev/null); then
    # Distributions put lone links on PATH; the folder behind them has everything, psql included.
    dirname "$(readlink -f "$program" 2>/dev/null || printf '%s' "$program")"
    dirname "$program"
  fi
  printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV
  printf '%s\n' /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin | sort -rV
  printf '%s\n' /Applications/Postgres.app/Contents/Versions/*/bin | sort -rV
}

find_postgres() {
  local dir
  while IFS= read -r dir; do
    if usable "$dir"; then
      printf '%s\n' "$dir"
      return 0
    fi
  done < <(candidates)
  return 1
}

if [ -n "${PG_BINDIR:-}" ]; then
  usable "$PG_BINDIR" || die "PG_BINDIR=$PG_BINDIR holds no PostgreSQL server of version $OLDEST_MAJOR or newer" \
    "point it at a folder with postgres, initdb and pg_ctl, or unset it"
  printf '%s\n' "$PG_BINDIR"
  exit 0
fi

if find_postgres; then
  exit 0
fi

say "no PostgreSQL $OLDEST_MAJOR or newer found: installing the distribution's"
# Debian's package would also create a cluster and start it on port 5432. Nobody asked for that one,
# so it is switched off for the length of the install.
conf=/etc/postgresql-common/createcluster.conf
if apt_install postgresql-common; then
  if [ -f "$conf" ] && ! grep -Eq '^[[:space:]]*create_main_cluster[[:space:]]*=' "$conf"; then
    echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
    trap 'as_root sed -i "/^create_main_cluster = false$/d" "$conf"' EXIT
  fi
  apt_install postgresql || true
fi
find_postgres || die "no PostgreSQL server, and none could be installed: ${APT_WHY:-the installed one is too old}" \
  "install PostgreSQL $OLDEST_MAJOR or newer (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql) or set PG_BINDIR"
