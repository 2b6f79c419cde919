"""llm-comply, as published, over each dialect.

The scripted model is asked, since most of its tests want a tool called or an image seen. Its tests of reasoning
skip themselves: they need a vendor's own model.
"""

import json
import subprocess
import sys
from pathlib import Path

from suite import KEY, SCRIPTED, URL, Suite

# Before its own words for a skipped test.
BY_NAME = "llm-comply tries it on models that it knows by their names, and on no other: "
FORMATS = {"openai-chat": "Chat", "open-responses": "Open Responses", "anthropic": "Messages"}
# Of one request, in seconds.
TIMEOUT_S = 60


def judge(suite, format):
    """Runs one format's tests; whether none failed."""
    command = [str(Path(sys.executable).with_name("llm-comply")), "--base-url", f"{URL}/v1", "--api-key", KEY,
               "--model", SCRIPTED, "--format", format, "--timeout", str(TIMEOUT_S), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        results = json.loads(ended.stdout)["results"]
    except ValueError:
        suite.tell("its run", "fail", f"it ended with {ended.returncode}: {(ended.stderr or ended.stdout)[-300:]}")
        return False
    words = {"passed": "pass", "failed": "fail", "skipped": "skip"}
    for result in results:
        skipped = BY_NAME if result["status"] == "skipped" else ""
        reason = skipped + "; ".join(result.get("errors", []))[:300]
        suite.tell(result["id"], words[result["status"]], reason, result["duration_ms"] / 1_000)
    return bool(results) and all(result["status"] != "failed" for result in results)


if __name__ == "__main__":
    passed = [judge(Suite(f"llm-comply: {name}", "llm-comply"), format) for format, name in FORMATS.items()]
    sys.exit(not all(passed))
