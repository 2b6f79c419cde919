#!/usr/bin/env bash
# Puts what the contracts are built and tested with into contracts/node_modules, from npm and pinned by the lock file:
# forge, anvil, cast, solc as WebAssembly, OpenZeppelin. Prints the folder with forge, anvil and cast.
# Needs nothing but Node; cargo needs none of this. Deleting contracts/node_modules undoes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./lib.sh

readonly OLDEST_NODE=18 # what OpenZeppelin's tree and the wrappers ask for
readonly contracts=$PWD/../contracts
readonly modules=$contracts/node_modules
readonly bin=$modules/.foundry

# Written last: a folder without it is half of one.
if cmp -s "$contracts/package-lock.json" "$bin/package-lock.json" && "$bin/forge" --version >/dev/null 2>&1; then
  (cd "$bin" && pwd)
  exit 0
fi

if ! have node || ! have npm; then
  say "contracts: no Node with npm found: installing the distribution's"
  apt_install nodejs npm || die "the contracts are built with tools from npm: $APT_WHY" \
    "install Node $OLDEST_NODE or newer with npm"
fi
major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
[ "$major" -ge "$OLDEST_NODE" ] || die "Node $major is too old" "install Node $OLDEST_NODE or newer"

case $(uname -sm) in
  'Linux x86_64') platform=linux-amd64 ;;
  'Linux aarch64') platform=linux-arm64 ;;
  'Darwin x86_64') platform=darwin-amd64 ;;
  'Darwin arm64') platform=darwin-arm64 ;;
  *) die "npm has no forge for $(uname -sm)" "use one of Linux or macOS on x86-64 or arm64" ;;
esac

say "contracts: installing forge, anvil, cast, solc and OpenZeppelin from npm (about 60 MB, once)"
# Install scripts would only look for the programs that are there already, or download them from elsewhere.
npm ci --prefix "$contracts" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 ||
  die "npm could not install what contracts/package-lock.json names" "check the network"

# The programs themselves and not npm's wrappers: a wrapper that is killed leaves its anvil behind.
mkdir -p "$bin"
for tool in forge anvil cast; do
  ln -sf "../@foundry-rs/$tool-$platform/bin/$tool" "$bin/$tool"
done
"$bin/forge" --version >/dev/null || die "forge from npm does not run on this machine" "it needs glibc 2.31 or newer"
cp "$contracts/package-lock.json" "$bin/package-lock.json"
(cd "$bin" && pwd)
