#!/usr/bin/env bash
# Makes sure Redis's server program is on this machine and prints where it is. Only tests start it; a broker is
# led to one by address.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./lib.sh

if ! have redis-server; then
  say "no redis-server found: installing the distribution's"
  # Debian's package would also start a server on port 6379. A policy that forbids starting, for the length of
  # the install, keeps it to the program.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null; then
    trap 'as_root rm -f "$policy"' EXIT
    as_root chmod 755 "$policy"
  fi
  apt_install redis-server || die "no redis-server, and none could be installed: $APT_WHY" \
    "install it (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis)"
fi
command -v redis-server || die "redis-server was installed and is not on PATH" "add its folder to PATH"
