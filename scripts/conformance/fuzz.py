"""schemathesis, as published, over our own document: no answer of 500, none of a status the document leaves out.

Each operation is asked with the kind of key its security names, so that what is tried lies behind the door.
"""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

from suite import KEY, URL, Suite

DOCUMENT = "openapi/openapi.json"
KEYS = {"inference": KEY, "admin": os.environ.get("STEELYARD_ADMIN_KEY"),
        "management": os.environ.get("STEELYARD_MANAGEMENT_KEY"), "provider": os.environ.get("STEELYARD_PROVIDER_KEY")}
# Cases of one operation, and of one request in seconds. The seed makes a failure come again.
EXAMPLES, TIMEOUT_S, SEED = 10, 30, 1
METHODS = ("get", "put", "post", "delete", "patch")


def kind_of(operation):
    """The first kind of key an operation takes that there is one of; None where only a node's session does."""
    names = [name for way in operation.get("security") or [{}] for name in way or {"inference": []}]
    return next((name for name in names if name in KEYS), None)


def part(document, kind):
    """The document with the operations of one kind alone, and how many they are."""
    paths, count = {}, 0
    for path, item in document["paths"].items():
        kept = {key: value for key, value in item.items() if key not in METHODS or kind_of(value) == kind}
        here = sum(key in METHODS for key in kept)
        paths |= {path: kept} if here else {}
        count += here
    return document | {"paths": paths}, count


def judge(suite, document, kind, folder):
    """Tries the operations of one kind; whether none failed."""
    wanted, count = part(document, kind)
    scenario = f"{count} operations with a key of kind {kind}"
    if not KEYS[kind]:
        suite.tell(scenario, "skip", f"no {kind} key was given")
        return True
    file, report = folder / f"{kind}.json", folder / f"{kind}.xml"
    file.write_text(json.dumps(wanted), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", str(file), "--url", URL, "--no-color",
               "--header", f"Authorization: Bearer {KEYS[kind]}", "--checks", "not_a_server_error,status_code_conformance",
               "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", str(SEED),
               "--continue-on-failure", "--request-timeout", str(TIMEOUT_S), "--suppress-health-check", "all",
               "--generation-database", "none", "--report", "junit", "--report-junit-path", str(report)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if not report.exists():
        suite.tell(scenario, "fail", f"it ended with {ended.returncode}: {(ended.stderr or ended.stdout)[-300:]}")
        return False
    failures = [(case.get("name"), found.get("message") or found.text or "")
                for case in xml.parse(report).iter("testcase") for found in case if found.tag in ("failure", "error")]
    for name, message in failures:
        suite.tell(name, "fail", " ".join(message.split())[:300])
    if not failures:
        cases = next((line.strip() for line in ended.stdout.splitlines() if " generated, " in line), "")
        suite.tell(scenario, "fail" if ended.returncode else "pass", cases)
    return not failures and ended.returncode == 0


def main():
    suite = Suite("schemathesis", "schemathesis")
    document = json.loads(Path(DOCUMENT).read_text(encoding="utf-8"))
    _, sessions = part(document, None)
    suite.tell(f"{sessions} operations with a node's session", "skip",
               "a session is opened with a signature of a node's own key, which schemathesis can't make")
    with tempfile.TemporaryDirectory() as folder:
        passed = [judge(suite, document, kind, Path(folder)) for kind in KEYS]
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
