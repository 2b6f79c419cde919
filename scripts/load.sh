#!/usr/bin/env bash
# What the broker costs, beside a proxy that does nothing, nginx where it is installed, and the engine alone: the same
# load on each, in turn and in one run, on this machine. Ends with the books: they must add up.
#
# Everything listens on loopback and lives in one temporary folder. What was started here, and nothing else, is
# stopped at the end.
#
#   LOAD_TARGETS="bare nginx durable fast tunnel"   which columns, besides the engine itself; "lanes" is fast with a
#                                                   thread of its own for each core's connections
#   LOAD_STEP_S=2 LOAD_REPETITIONS=3                length and repetitions of the short steps
#   LOAD_STREAMS=1000                               streams open at once
#   LOAD_JSON=FILE                                  also write the figures as JSON
#   LOAD_PROFILE=release|dev                        which build; figures of a dev build mean nothing
#   LOAD_STRICT=1                                   fail when a broker is over its budget
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

targets=${LOAD_TARGETS:-bare nginx durable fast tunnel}
profile=${LOAD_PROFILE:-release}
port=${LOAD_FIRST_PORT:-17400} # the engine; the others count up from here
nginx=${NGINX:-$(command -v nginx || true)}
vocabulary=${LOAD_VOCABULARY:-cl100k_base} # what the brokers count tokens with
streams=${LOAD_STREAMS:-1000}

readonly FAST='load/fast,ttft_ms=0,tpot_ms=0'
readonly PACED='load/paced,ttft_ms=20,tpot_ms=20'
readonly SLOW='load/slow,ttft_ms=0,tpot_ms=1000'
readonly SLOTS=8192 # requests a node answers at once: never what limits a step
readonly READY_S=60 # longest wait for one program to answer: a first start makes a database
readonly RUN_S=320  # longest run of all steps together

wants() { case " $targets " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# Builds -------------------------------------------------------------------------------------------------------------
if [ "$profile" = release ]; then
  cargo build --release --workspace --bins
  bin=${CARGO_TARGET_DIR:-target}/release
else
  cargo build --workspace --bins
  bin=${CARGO_TARGET_DIR:-target}/debug
fi
bin=$(cd "$bin" && pwd)
load=$bin/steelyard-load

# What was started, and its end --------------------------------------------------------------------------------------
work=$(mktemp -d "${TMPDIR:-/tmp}/steelyard-load.XXXXXX")
chmod 711 "$work" # Postgres runs as a user of its own when this is root
pids=()

# stop PID: asks, waits up to ten seconds, insists.
stop() {
  local tries=100
  kill -TERM "$1" 2>/dev/null || return 0
  while [ $tries -gt 0 ] && kill -0 "$1" 2>/dev/null; do
    sleep 0.1
    tries=$((tries - 1))
  done
  kill -KILL "$1" 2>/dev/null || true
}

finish() {
  local status=$? i
  trap - EXIT INT TERM
  # Last started, first stopped: nodes before their broker, brokers before the engine.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do stop "${pids[i]}"; done
  stop_databases
  if [ $status -ne 0 ]; then
    for log in "$work"/*.log; do
      [ -s "$log" ] && { say "--- ${log##*/}"; tail -n 15 "$log" >&2; }
    done
  fi
  rm -rf "$work"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

# A broker leaves its database running for the next one; here there is no next one.
stop_databases() {
  local file
  for file in "$work"/pg-*/postmaster.pid "$work"/pg-*/*/postmaster.pid; do
    [ -f "$file" ] && stop "$(head -n 1 "$file")"
  done
  return 0
}

# start NAME COMMAND…: in the background, with a log; its pid in $started.
start() {
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 &
  started=$!
  pids+=("$started")
}

# await NAME PID URL: until it answers at all.
await() {
  local deadline=$((SECONDS + READY_S))
  until curl -fsS -o /dev/null --max-time 2 "$3" 2>/dev/null; do
    kill -0 "$2" 2>/dev/null || die "$1 ended before it was ready"
    [ $SECONDS -lt $deadline ] || die "$1 does not answer at $3"
    sleep 0.2
  done
}

# target NAME PORT PIDS [LINES]: one column of the table.
target() {
  {
    printf '\n[[target]]\nname = "%s"\nurl = "http://127.0.0.1:%s"\npids = [%s]\n' "$1" "$2" "$3"
    printf '%s' "${4:-}"
  } >>"$work/targets.toml"
}

# The columns --------------------------------------------------------------------------------------------------------
start_engine() {
  start engine "$load" engine --listen "127.0.0.1:$port" --model "$FAST" --model "$PACED" --model "$SLOW"
  await engine "$started" "http://127.0.0.1:$port/health"
  target engine "$port" "$started"
}

start_bare() {
  local own=$((port + 1))
  start bare "$load" proxy --listen "127.0.0.1:$own" --upstream "http://127.0.0.1:$port"
  await bare "$started" "http://127.0.0.1:$own/health"
  target bare "$own" "$started"
}

start_nginx() {
  local own=$((port + 2)) folder=$work/nginx user=
  [ -n "$nginx" ] || { say "nginx is not installed: its column is left out"; return 0; }
  mkdir -p "$folder"
  # Started by root, its workers would otherwise run as a user that can't enter this folder.
  if [ "$(id -u)" -eq 0 ]; then user='user root;'; fi
  cat >"$folder/nginx.conf" <<CONF
$user
worker_processes auto;
worker_rlimit_nofile 65536;
daemon off;
pid $folder/nginx.pid;
error_log $folder/error.log warn;
events { worker_connections 16384; }
http {
  access_log off;
  tcp_nodelay on;
  keepalive_requests 100000000;
  client_body_temp_path $folder/body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  upstream engine {
    server 127.0.0.1:$port;
    keepalive 2048;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:$own backlog=4096;
    client_max_body_size 32m;
    location / {
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }
  }
}
CONF
  start nginx "$nginx" -e "$folder/error.log" -c "$folder/nginx.conf" -p "$folder"
  await nginx "$started" "http://127.0.0.1:$own/health"
  target nginx "$own" "$started, $(children "$started")"
}

# children PID: its direct children, separated by commas.
children() { ps -o pid= --ppid "$1" | tr -s ' \n' ',' | sed 's/^,//; s/,$//'; }

# json_field NAME: the value of one string field of the JSON on stdin.
json_field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1; }

# start_broker NAME PORT ACK FLEET_OPTIONS…: a broker with a database, credit, a key and nodes of its own.
start_broker() {
  local name=$1 own=$2 ack=$3 config=$work/$1.toml data_dir=$work/pg-$1 key_file=$work/$1.key broker_pid org postmaster
  shift 3
  cat >"$config" <<TOML
[server]
listen = "127.0.0.1:$own"
replica = "load-$name"
lanes = $(if [ "$name" = lanes ]; then nproc; else echo 0; fi)

[providers]
allow_private = true     # direct nodes live on loopback here
probes_to_activate = 0   # the first request is a customer's

[scheduler]
direct_start = $SLOTS    # nothing has to be learned about what these nodes can take
tunnel_start = $SLOTS

[limits.key]              # counted as shipped, but above what any step can reach
requests_per_minute = 600000000
tokens_per_minute = 100000000000

[embedded]
data_dir = "$data_dir"

[billing.settlement]
ack = "$ack"
TOML
  start "$name" "$bin/steelyard" --config "$config" serve
  broker_pid=$started
  await "$name" "$broker_pid" "http://127.0.0.1:$own/health/ready"

  admin() { "$bin/steelyard" --config "$config" admin --json "$@"; }
  org=$(admin org create "load $name" | json_field organization)
  admin grant --org "$org" --usd 100000 >/dev/null
  (umask 077 && admin key create --org "$org" --name load | json_field secret >"$key_file")
  [ -s "$key_file" ] || die "$name gave no key"
  local model
  for model in "$FAST" "$PACED" "$SLOW"; do
    admin model add --id "${model%%,*}" --context-length 32768 --tiktoken "$vocabulary" >/dev/null
  done

  start "$name-nodes" "$load" fleet --broker "http://127.0.0.1:$own" --slots $SLOTS --ready-file "$work/$name.ready" \
    --model "$FAST" --model "$PACED" --model "$SLOW" "$@"
  await_file "$name-nodes" "$started" "$work/$name.ready"

  postmaster=$(cat "$data_dir"/postmaster.pid "$data_dir"/*/postmaster.pid 2>/dev/null | head -n 1 || true)
  target "$name" "$own" "$broker_pid" "beside = [${postmaster:-}]
durable = $([ "$ack" = durable ] && echo true || echo false)
key_file = \"$key_file\"
"
  brokers+=("$name")
}

# await_file NAME PID FILE
await_file() {
  local deadline=$((SECONDS + READY_S))
  until [ -s "$3" ]; do
    kill -0 "$2" 2>/dev/null || die "$1 ended before it was ready"
    [ $SECONDS -lt $deadline ] || die "$1 did not become ready"
    sleep 0.2
  done
}

# The run ------------------------------------------------------------------------------------------------------------
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
have curl || die "curl is needed to see when things are up" "apt-get install curl"
brokers=()
yardstick=engine
if wants bare; then yardstick=bare; fi
printf 'baseline = "engine"\nyardstick = "%s"\n' "$yardstick" >"$work/targets.toml"

start_engine
if wants bare; then start_bare; fi
if wants nginx; then start_nginx; fi
# Nodes in direct mode are called over HTTP/1.1 as the proxies call the engine: like beside like.
if wants durable; then start_broker durable $((port + 3)) durable --direct; fi
if wants fast; then start_broker fast $((port + 4)) fast --direct; fi
if wants lanes; then start_broker lanes $((port + 6)) fast --direct; fi
if wants tunnel; then start_broker tunnel $((port + 5)) fast --tunnels 4; fi

options=(--targets "$work/targets.toml" --step-s "${LOAD_STEP_S:-2}" --repetitions "${LOAD_REPETITIONS:-3}")
options+=(--streams "$streams")
if [ -n "${LOAD_JSON:-}" ]; then options+=(--json "$LOAD_JSON"); fi
if [ -n "${LOAD_STRICT:-}" ]; then options+=(--strict); fi

status=0
timeout "$RUN_S" "$load" compare "${options[@]}" || status=$?
[ $status -ne 124 ] || die "the steps took longer than $RUN_S s"

for name in ${brokers[@]+"${brokers[@]}"}; do
  echo
  echo "$name: reconcile"
  "$bin/steelyard" --config "$work/$name.toml" reconcile || status=1
done
exit $status
