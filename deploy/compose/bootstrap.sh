#!/usr/bin/env bash
# Gives a fresh installation its first model, organization, credit and key, once.
set -euo pipefail

readonly done_file=/var/lib/steelyard/bootstrapped
readonly model=HuggingFaceTB/SmolLM2-135M-Instruct

# The engine's own model file brings the vocabulary, so that bills rest on the broker's count.
steelyard admin model add --id "$model" --context-length 2048 --tokenizer /opt/steelyard/engine/SmolLM2-135M-Instruct.Q4_1.gguf

if [ -f "$done_file" ]; then
  echo "an organization and a key were made earlier; make another with: docker compose exec broker steelyard admin key create"
  exit 0
fi
organization=$(steelyard admin --json org create compose | grep -oE 'org-[0-9a-f]{32}' | head -n1)
steelyard admin grant --org "$organization" --usd 5.00 --cause "compose:$organization"
echo "The key is shown this once. Model: $model"
steelyard admin key create --org "$organization" --name compose
touch "$done_file"
