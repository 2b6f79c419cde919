#!/usr/bin/env python3
"""An engine that follows a script: what a small language model will not do when asked, it always does.

SmolLM2 calls no tool of its own, sees no image and has no vectors. Where a scenario is about such an answer's way
through the gateway, this stands behind it, speaking an engine's side of the protocol as llama.cpp does:

    asked with a tool on offer      calls it, with arguments made up from its schema; all of them where calls
                                    are required and none is named
    asked for a schema              answers with a value made up from it
    asked for anything slowly       answers with SENTENCE, a word a second
    anything else                   answers with SENTENCE
    asked for vectors               answers with numbers drawn from the text's digest

    engine.py PORT                  serves on 127.0.0.1 until its standard input ends
"""

import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "scripted"
SENTENCE = "This is what the script says."
CONTEXT_LENGTH = 8192
DIMENSIONS = 32


def made_up(schema):
    """A value a JSON schema accepts, for the schemas the scenarios use."""
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return made_up(schema[union][0])
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: made_up(of) for name, of in schema.get("properties", {}).items()}
    return {"array": lambda: [made_up(schema.get("items", {"type": "string"}))], "string": lambda: "Paris",
            "integer": lambda: 3, "number": lambda: 3.5, "boolean": lambda: True, "null": lambda: None}[kind]()


def wanted_calls(asked):
    """The functions to call: none where the last word is already a tool's answer or calling is forbidden."""
    tools = [tool["function"] for tool in asked.get("tools") or [] if tool.get("type") == "function"]
    choice = asked.get("tool_choice")
    if not tools or choice == "none" or asked["messages"][-1]["role"] == "tool":
        return []
    if isinstance(choice, dict) and "function" in choice:
        return [tool for tool in tools if tool["name"] == choice["function"]["name"]]
    return tools if choice == "required" and asked.get("parallel_tool_calls") else tools[:1]


def deltas(asked):
    """The pieces of one answer, and why it ends."""
    calls = wanted_calls(asked)
    for index, call in enumerate(calls):
        arguments = json.dumps(made_up(call.get("parameters") or {}))
        yield {"tool_calls": [{"index": index, "id": f"scripted{index}", "type": "function",
                               "function": {"name": call["name"], "arguments": ""}}]}, None
        half = len(arguments) // 2  # in two pieces, so that whoever joins them is tested
        for piece in (arguments[:half], arguments[half:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None
    if calls:
        yield {}, "tool_calls"
        return
    wanted = asked.get("response_format") or {}
    text = json.dumps(made_up(wanted["json_schema"]["schema"])) if wanted.get("type") == "json_schema" else SENTENCE
    pause_s = 1.0 if "slowly" in json.dumps(asked["messages"][-1]["content"]) else 0.0
    for word in text.split(" "):
        time.sleep(pause_s)
        yield {"content": word + " "}, None
    yield {}, "stop"


def vector(item):
    digest = hashlib.sha256(json.dumps(item).encode()).digest()[:DIMENSIONS]
    numbers = [byte - 127.5 for byte in digest]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        model = {"id": MODEL, "object": "model", "owned_by": "steelyard", "max_model_len": CONTEXT_LENGTH}
        pages = {"/health": {"status": "ok"}, "/v1/models": {"object": "list", "data": [model]}}
        page = pages.get(self.path)
        self.answer(page or {"error": {"message": "no such page", "code": 404}}, 200 if page else 404)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/embeddings":
            self.embed(asked)
        elif self.path == "/v1/chat/completions":
            self.chat(asked)
        else:
            self.answer({"error": {"message": "no such page", "code": 404}}, 404)

    def embed(self, asked):
        given = asked["input"]
        many = isinstance(given, list) and not isinstance(given[0], int)
        data = [{"object": "embedding", "index": index, "embedding": vector(item)}
                for index, item in enumerate(given if many else [given])]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        self.answer({"object": "list", "model": MODEL, "data": data, "usage": usage})

    def chat(self, asked):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        frame = {"id": "scripted", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
        written = 0

        def send(choices, **more):
            self.wfile.write(b"data: " + json.dumps(frame | {"choices": choices} | more).encode() + b"\n\n")

        def choice(index, delta, reason=None):
            return [{"index": index, "delta": delta, "finish_reason": reason}]

        for index in range(asked.get("n") or 1):
            send(choice(index, {"role": "assistant", "content": None}))
            for delta, reason in deltas(asked):
                send(choice(index, delta, reason))
                written += 1
        send([], usage={"prompt_tokens": 1, "completion_tokens": written, "total_tokens": 1 + written})
        self.wfile.write(b"data: [DONE]\n\n")


def main():
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()  # ends with whoever started this
    os._exit(0)


if __name__ == "__main__":
    main()
