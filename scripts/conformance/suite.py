"""What every suite written in Python shares: where the broker is, and how a scenario's result is told.

A suite prints one JSON object per scenario to stdout, which table.py gathers, and a line for people to stderr.
"""

import json
import os
import sys
import time
import traceback
from importlib.metadata import version

URL = os.environ["STEELYARD_URL"].rstrip("/")
KEY = os.environ["STEELYARD_API_KEY"]
# A text model, and one whose engine follows a script: it calls tools, obeys schemas and has vectors.
MODEL = os.environ["STEELYARD_MODEL"]
SCRIPTED = os.environ["STEELYARD_SCRIPTED_MODEL"]
# A key of an organization without credit; unset where the broker was not started here.
POOR_KEY = os.environ.get("STEELYARD_POOR_KEY")

# Two functions, the schema of an answer, and the question that goes with each.
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": name, "description": f"Tells the {name} of a city.", "parameters": PARAMETERS}}
         for name in ("weather", "time")]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
          "required": ["city", "people"], "additionalProperties": False}
QUESTION = [{"role": "user", "content": "Which city is the capital of France?"}]


class Skip(Exception):
    """A scenario that can't be tried here, and why."""


class Suite:
    """Scenarios against one client: name → function, in the order written."""

    def __init__(self, name, package, release=None):
        self.name, self.release, self.scenarios = name, release or f"{package} {version(package)}", []

    def scenario(self, function):
        self.scenarios.append((function.__name__.replace("_", " "), function))
        return function

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
