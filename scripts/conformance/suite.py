"""What every suite written in Python shares: where the broker is, and how a scenario's result is told.

A suite prints one JSON object per scenario to stdout, and one per note on all of them, which table.py gathers; and a
line for people to stderr.
"""

import json
import os
import sys
import time
import traceback
import urllib.request
from importlib.metadata import version

URL = os.environ["STEELYARD_URL"].rstrip("/")
KEY = os.environ["STEELYARD_API_KEY"]
# A text model, and one whose engine follows a script: it calls tools, obeys schemas and has vectors.
MODEL = os.environ["STEELYARD_MODEL"]
SCRIPTED = os.environ["STEELYARD_SCRIPTED_MODEL"]
# A key of an organization without credit, and one that may change the limits of the organization that is asked for;
# unset where the broker was not started here.
POOR_KEY = os.environ.get("STEELYARD_POOR_KEY")
ADMIN_KEY = os.environ.get("STEELYARD_ADMIN_KEY")
# What a project may ask for in a scenario about limits: a whole minute's worth is soon used up, and one more request
# is allowed four seconds later.
REQUESTS_PER_MINUTE = 15

# Two functions, the schema of an answer, and the question that goes with each.
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": name, "description": f"Tells the {name} of a city.", "parameters": PARAMETERS}}
         for name in ("weather", "time")]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
          "required": ["city", "people"], "additionalProperties": False}
QUESTION = [{"role": "user", "content": "Which city is the capital of France?"}]


class Skip(Exception):
    """A scenario that can't be tried here, and why."""


def limited_key():
    """A key of a new project that may ask REQUESTS_PER_MINUTE times a minute."""
    if not ADMIN_KEY:
        raise Skip("no key of an organization's admin was given (STEELYARD_ADMIN_KEY)")
    project = "/v1/organization/projects/" + administered("/v1/organization/projects", {"name": "limited"})["id"]
    administered(f"{project}/rate_limits/rl-*", {"max_requests_per_1_minute": REQUESTS_PER_MINUTE})
    return administered(f"{project}/service_accounts", {"name": "caller"})["api_key"]["value"]


def administered(path, body):
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(URL + path, json.dumps(body).encode(), headers), timeout=10) as answer:
        return json.load(answer)


class Suite:
    """Scenarios against one client: name → function, in the order written."""

    def __init__(self, name, package, release=None):
        self.name, self.release, self.scenarios = name, release or f"{package} {version(package)}", []

    def scenario(self, function):
        self.scenarios.append((function.__name__.replace("_", " "), function))
        return function

    def note(self, text):
        """Something to be known about all its results."""
        print(json.dumps({"suite": self.name, "version": self.release, "note": text}), flush=True)

    def tell(self, scenario, result, reason="", seconds=0.0):
        line = {"suite": self.name, "version": self.release, "scenario": scenario, "result": result, "reason": reason}
        print(json.dumps(line), flush=True)
        mark = {"pass": "ok  ", "skip": "skip", "fail": "FAIL"}[result]
        print(f"{mark} {self.name}: {scenario} ({seconds:.1f} s) {reason}".rstrip(), file=sys.stderr, flush=True)

    def run(self):
        """Runs every scenario; whether none failed."""
        failed = False
        for name, function in self.scenarios:
            started = time.monotonic()
            try:
                function()
                self.tell(name, "pass", seconds=time.monotonic() - started)
            except Skip as skip:
                self.tell(name, "skip", str(skip))
            except Exception as error:  # a suite reports every scenario, whatever befalls one
                failed = True
                where = traceback.extract_tb(error.__traceback__)[-1]
                reason = f"{type(error).__name__}: {error}"[:300] + f" ({os.path.basename(where.filename)}:{where.lineno})"
                self.tell(name, "fail", reason, time.monotonic() - started)
        return not failed
