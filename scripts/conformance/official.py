"""OpenAI's official OpenAPI document as the judge of live answers and stream chunks.

OPENAI_SPEC names it; where it is unset this suite is skipped, and says so.
"""

import json
import os
import sys
import urllib.error
import urllib.request

import jsonschema
import yaml
from suite import ADMIN_KEY, KEY, MODEL, QUESTION, SCHEMA, SCRIPTED, TOOLS, URL, Suite

SPEC = os.environ.get("OPENAI_SPEC")
# Of one request, in seconds.
TIMEOUT_S = 120
# What its document does not allow and OpenAI's own answers do: a null, at this place of this schema, and why.
NULL_UNTIL_KNOWN = (
    (("Response", "properties", "usage"),
     "`usage` of a response is null in the events of one that still goes on, since it is not known yet"),
    (("CreateCompletionResponse", "properties", "choices", "items", "properties", "finish_reason"),
     "`finish_reason` of a legacy completion is null in every chunk before its last, since it is not known yet"),
)
# What is changed of the document before it judges, and why.
REWRITTEN = (
    "`nullable: true` becomes a union with null, since OpenAPI 3.1, in which the document is written, knows no such word",
    "paths with `?beta=true` go, since a path holds no query",
    "of audit logs only events of types that OpenAI has are judged, since its list of types is closed and ours has more",
)
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


def rewritten(node):
    """The document in JSON Schema's words: `nullable: true` is a union with null, `?beta=true` paths go."""
    if isinstance(node, list):
        return [rewritten(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: rewritten(value) for key, value in node.items() if "?beta=true" not in str(key)}
    if node.get("nullable") is True:
        rest = {key: value for key, value in node.items() if key != "nullable"}
        return {"anyOf": [rest, {"type": "null"}]}
    return node


class Judge:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.document = rewritten(yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        self.version = self.document["info"]["version"]
        self.schemas = self.document["components"]["schemas"]
        for (*path, last), _ in NULL_UNTIL_KNOWN:
            holder = self.schemas
            for key in path:
                holder = next(part[key] for part in (holder, *holder.get("allOf", [])) if key in part)
            holder[last] = {"anyOf": [holder[last], {"type": "null"}]}
        self.known = {}

    def check(self, schema, value):
        if schema not in self.known:
            assert schema in self.schemas, f"the document has no {schema}"
            root = {"$ref": f"#/components/schemas/{schema}", "components": self.document["components"]}
            self.known[schema] = jsonschema.Draft202012Validator(root)
        error = jsonschema.exceptions.best_match(self.known[schema].iter_errors(value))
        if error:
            at = "/".join(str(part) for part in error.absolute_path)
            raise AssertionError(f"{schema} at {at or 'its root'}: {error.message[:200]}")


def call(path, body=None, key=KEY):
    """Status and text of one answer."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(URL + path, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answer(path, body=None, key=KEY):
    status, text = call(path, body, key)
    assert status == 200, f"{status}: {text[:200]}"
    return json.loads(text)


def chunks(path, body):
    status, text = call(path, body | {"stream": True})
    assert status == 200, f"{status}: {text[:200]}"
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(item) for item in data if item != "[DONE]"]


def audited(judge):
    """The audit log without the events that are our own, which OpenAI's list of types can't name."""
    page = answer("/v1/organization/audit_logs", key=ADMIN_KEY)
    known = judge.schemas["AuditLogEventType"]["enum"]
    return page | {"data": [entry for entry in page["data"] if entry["type"] in known]}


def add(suite, name, body):
    body.__name__ = name
    suite.scenario(body)


def main():
    if not SPEC:
        Suite("OpenAI's document", None, "not given").tell("all of it", "skip", "OPENAI_SPEC names no document to judge by")
        return 0
    judge = Judge(SPEC)
    suite = Suite("OpenAI's document", None, judge.version)
    for text in (*REWRITTEN, *(why for _, why in NULL_UNTIL_KNOWN)):
        suite.note(text)

    def whole(name, schema, path, body=None, key=KEY):
        add(suite, name, lambda: judge.check(schema, answer(path, body, key)))

    def streamed(name, schema, path, body):
        def every():
            seen = chunks(path, body)
            assert len(seen) > 1, seen
            for chunk in seen:
                judge.check(schema, chunk)
        add(suite, f"{name}, every chunk", every)

    def refused(name, status, path, body, key=KEY):
        def error():
            got, text = call(path, body, key)
            assert got == status, f"{got}: {text[:200]}"
            judge.check("ErrorResponse", json.loads(text))
        add(suite, name, error)

    plain = {"messages": QUESTION, "max_tokens": 16}
    for kind, body in {
        "chat": {"model": MODEL} | plain,
        "chat with logprobs": {"model": MODEL, "logprobs": True, "top_logprobs": 2} | plain,
        "chat with three choices": {"model": SCRIPTED, "n": 3} | plain,
        "chat with a tool": {"model": SCRIPTED, "tools": TOOLS} | plain,
        "chat with a schema": {"model": SCRIPTED, "response_format": FORMAT} | plain,
    }.items():
        whole(kind, "CreateChatCompletionResponse", "/v1/chat/completions", body)
        usage = {"stream_options": {"include_usage": True}}
        streamed(kind, "CreateChatCompletionStreamResponse", "/v1/chat/completions", body | usage)
    legacy = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 8, "logprobs": 1}
    whole("legacy completions", "CreateCompletionResponse", "/v1/completions", legacy)
    streamed("legacy completions", "CreateCompletionResponse", "/v1/completions", legacy)
    vectors = {"model": SCRIPTED, "input": ["one", "two"], "encoding_format": "float"}
    whole("embeddings", "CreateEmbeddingResponse", "/v1/embeddings", vectors)
    tools = [{"type": "function", "strict": True} | tool["function"] for tool in TOOLS]
    for kind, body in {
        "responses": {"model": MODEL, "input": "Say hello.", "max_output_tokens": 16},
        "responses with a tool": {"model": SCRIPTED, "input": "The weather?", "tools": tools},
        "responses with a schema": {"model": SCRIPTED, "input": "Which city?",
                                    "text": {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA}}},
    }.items():
        whole(kind, "Response", "/v1/responses", body)
        streamed(kind, "ResponseStreamEvent", "/v1/responses", body)
    whole("models", "ListModelsResponse", "/v1/models")
    whole("one model", "Model", f"/v1/models/{MODEL}")
    if ADMIN_KEY:
        whole("projects", "ProjectListResponse", "/v1/organization/projects", key=ADMIN_KEY)
        whole("admin keys", "ApiKeyList", "/v1/organization/admin_api_keys", key=ADMIN_KEY)
        add(suite, "audit logs of OpenAI's types", lambda: judge.check("ListAuditLogsResponse", audited(judge)))
        whole("usage of completions", "UsageResponse", "/v1/organization/usage/completions?start_time=1", key=ADMIN_KEY)
    refused("a bad field", 400, "/v1/chat/completions", {"model": MODEL, "temperature": 9} | plain)
    refused("a wrong key", 401, "/v1/chat/completions", {"model": MODEL} | plain, key="sk-wrong")
    refused("an unknown model", 404, "/v1/chat/completions", {"model": "no/such-model"} | plain)
    refused("an unknown URL", 404, "/v1/none", {})
    return int(not suite.run())


if __name__ == "__main__":
    sys.exit(main())
