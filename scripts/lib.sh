# Shared by the set-up scripts: speaking, failing with the fix, installing distribution packages.
# Sourced, never run. Everything it says goes to stderr, so a script's stdout stays its answer.

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE [FIX]: says what is wrong and what cures it, then stops.
die() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  fix: %s\n' "$2" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root, or returns 1 when there is no way to become root without a person.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo "$@"
  else
    return 1
  fi
}

# apt_install PACKAGE...: installs from the distribution, or returns 1 with the reason in APT_WHY.
apt_install() {
  APT_WHY=
  if ! have apt-get; then
    APT_WHY="there is no apt-get here"
    return 1
  fi
  if ! as_root true; then
    APT_WHY="installing needs root, and sudo is missing or asks for a password"
    return 1
  fi
  say "apt-get install $*"
  # stdin is closed to apt so that it can never eat the script's own, and its chatter is kept for failures only.
  local log
  log=$(mktemp)
  if as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null >"$log" 2>&1 &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >>"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  tail -n 20 "$log" >&2
  rm -f "$log"
  APT_WHY="apt-get failed, see above"
  return 1
}
