# Starts a broker to be asked: `steelyard demo` and, beside it, a second node with the scripted engine.
# Sourced by run.sh. Sets STEELYARD_URL, STEELYARD_API_KEY, STEELYARD_MODEL and STEELYARD_SCRIPTED_MODEL;
# everything started ends with the shell that sourced it.
#
# With STEELYARD_URL and STEELYARD_API_KEY set already, that broker is used and nothing is started; its
# models must then be named as well.

readonly start_timeout_s=180 # a cold engine on a busy machine, with room
readonly scripted_model=steelyard/scripted

# wait_for WHAT LOG PID COMMAND...: until the command succeeds, or the process or the patience ends.
wait_for() {
  local what=$1 log=$2 pid=$3 until=$((SECONDS + start_timeout_s))
  shift 3
  until "$@"; do
    kill -0 "$pid" 2>/dev/null || { tail -n 40 "$log" >&2; die "$what ended before it was ready"; }
    [ "$SECONDS" -lt "$until" ] || { tail -n 40 "$log" >&2; die "$what was not ready in $start_timeout_s s"; }
    sleep 0.2
  done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start_demo() { # DIR PROGRAM
  local options=()
  if [ -z "${STEELYARD_ENGINE_DIR:-}" ]; then
    say "STEELYARD_ENGINE_DIR is unset, so the SIMULATED engine answers and its scenarios say so"
    options=(--engine simulated)
    STEELYARD_MODEL=steelyard/simulated
  else
    STEELYARD_MODEL=HuggingFaceTB/SmolLM2-135M-Instruct
  fi
  rm -f "$1/env"
  "$2" demo --dir "$1" --listen 127.0.0.1:0 ${options[@]+"${options[@]}"} >"$1/output" 2>&1 &
  broker_pid=$!
  wait_for "the broker" "$1/output" "$broker_pid" test -s "$1/env"
  set -a
  . "$1/env"
  set +a
}

scripted_answers() {
  curl -sf -o "$1" -H "authorization: Bearer $STEELYARD_API_KEY" -H 'content-type: application/json' \
    "$STEELYARD_URL/v1/chat/completions" \
    -d "{\"model\":\"$scripted_model\",\"messages\":[{\"role\":\"user\",\"content\":\"ready?\"}]}"
}

start_scripted() { # DIR PROGRAM
  local dir=$1 program=$2 port provider
  mkdir -p "$dir"
  rm -rf "$dir/state"
  port=$(free_port)
  # Its standard input is a pipe whose other end this shell holds.
  exec {engine_stdin}> >(exec python3 "$conformance/engine.py" "$port" 2>"$dir/engine.log")
  "$program" admin model add --id "$scripted_model" --context-length 8192 --tiktoken o200k_base >"$dir/model.json"
  provider=$("${program}-node" register --broker "$STEELYARD_URL" --generate-wallet --name "Scripted" \
    --slug "scripted-$$" --email scripted@example.com --country DE --state-dir "$dir/state" 2>"$dir/node.log" |
    sed -n 's/^provider = "\(.*\)"$/\1/p')
  [ -n "$provider" ] || { cat "$dir/node.log" >&2; die "the scripted node could not be registered"; }
  cat >"$dir/node.toml" <<TOML
broker = "$STEELYARD_URL"
provider = "$provider"
state_dir = "$dir/state"
tunnels = 2
[engine]
kind = "attach"
url = "http://127.0.0.1:$port"
slots = 4
[location]
country_code = "DE"
[[offer]]
model = "$scripted_model"
context_length = 8192
input_modalities = ["text", "image"]
output_modalities = ["text", "embeddings"]
prompt_usd_per_million = "0.10"
completion_usd_per_million = "0.40"
supported_parameters = ["max_tokens", "response_format", "structured_outputs", "tools", "tool_choice", "parallel_tool_calls"]
TOML
  # The demo's own provider key is in the environment by now, and would be taken for this node's.
  env -u STEELYARD_PROVIDER_KEY "${program}-node" run --config "$dir/node.toml" >>"$dir/node.log" 2>&1 &
  node_pid=$!
  wait_for "the scripted node" "$dir/node.log" "$node_pid" scripted_answers "$dir/ready.json"
}

# A key of a new organization, which has no credit.
poor_key() { # PROGRAM KIND
  local org
  org=$("$1" admin --json org create Poor | json organization)
  "$1" admin --json key create --org "$org" --kind "$2" | json secret
}

json() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

stop_broker() {
  local pid
  for pid in ${suite_pid:-} ${node_pid:-} ${broker_pid:-}; do
    kill -INT "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}

start_broker() { # DIR
  local program=${STEELYARD_BIN:-target/debug/steelyard} started=$SECONDS
  if [ -n "${STEELYARD_URL:-}" ] && [ -n "${STEELYARD_API_KEY:-}" ]; then
    : "${STEELYARD_MODEL:?names a text model of the broker}" "${STEELYARD_SCRIPTED_MODEL:?names a model with tools and vectors}"
    return
  fi
  [ -x "$program" ] || die "$program is missing" "run: make conformance"
  mkdir -p "$1"
  trap stop_broker EXIT
  trap 'exit 130' INT TERM
  start_demo "$1" "$program"
  start_scripted "$1/scripted" "$program"
  STEELYARD_POOR_KEY=$(poor_key "$program" inference)
  STEELYARD_MANAGEMENT_KEY=$(poor_key "$program" management)
  export STEELYARD_POOR_KEY STEELYARD_MANAGEMENT_KEY STEELYARD_MODEL STEELYARD_SCRIPTED_MODEL=$scripted_model
  say "broker at $STEELYARD_URL, ready in $((SECONDS - started)) s"
}
