#!/usr/bin/env bash
# Registers this node's provider on the first start, then runs the node with the image's engine.
set -euo pipefail

readonly state=/var/lib/steelyard-node
readonly config=$state/node.toml
readonly slots=4 context=2048 port=8090

if [ ! -f "$config" ]; then
  # A slug is taken for good, so a fresh volume asks for another one.
  # And a key without its configuration, as a start that was cut off leaves it, belongs to nobody.
  rm -f "$state/provider.key"
  slug=compose-$(tr -dc a-z0-9 </dev/urandom | head -c 6 || true)
  steelyard-node register --broker "$STEELYARD_BROKER_URL" --name "Compose node" --slug "$slug" \
    --email node@example.com --country DE --state-dir "$state" --generate-wallet >"$state/registered.toml"
  {
    # Who and where, as the broker said; engine and price are ours.
    grep -E '^(broker|provider|state_dir) = ' "$state/registered.toml"
    cat <<TOML

[engine]
kind = "supervise"
command = "/opt/steelyard/engine/serve"
args = ["--port", "$port", "--alias", "smollm2", "--slots", "$slots", "--context", "$context"]
url = "http://127.0.0.1:$port"

[[offer]]
model = "HuggingFaceTB/SmolLM2-135M-Instruct"
upstream_model = "smollm2"
context_length = $context
prompt_usd_per_million = "0.10"
completion_usd_per_million = "0.40"

[location]
country_code = "DE"
TOML
  } >"$config.new"
  mv "$config.new" "$config"
fi
exec steelyard-node run --config "$config"
