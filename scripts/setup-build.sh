#!/usr/bin/env bash
# Makes sure a build can work here: cargo, and a C compiler for the few dependencies that hold C and for linking.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./lib.sh

have cargo || die "there is no Rust toolchain" "install one as https://rustup.rs says, then open a new shell"
if ! have cc; then
  say "no C compiler found: installing one"
  apt_install build-essential || die "building needs a C compiler: $APT_WHY" \
    "install one (Debian, Ubuntu: apt-get install build-essential; macOS: xcode-select --install)"
fi
