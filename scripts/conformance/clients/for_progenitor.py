"""Makes of the document what progenitor reads: from stdin to stdout.

Two things of it are right and yet stop progenitor, so they are put otherwise for it alone:

- An operation that fails in two shapes: progenitor gives all failures of one the same type. There is one such
  operation, since a replica that is not ready says so in the shape of one that is. Its client is told of that as an
  unexpected answer, with the body.
- "This shape, or null" as OpenAPI 3.0 can say it, which is a union with what takes a null alone. progenitor knows a
  shorter way, `allOf` with `nullable`, and makes an Option of that; strictly read, it lets no null through.
"""

import json
import sys

METHODS = ("get", "put", "post", "delete", "patch")
ONLY_NULL = {"type": "string", "nullable": True, "enum": [None]}


def optional(node):
    """The document with every union of one shape and null in progenitor's words."""
    if isinstance(node, list):
        return [optional(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: optional(value) for key, value in node.items()}
    forms = node.get("oneOf")
    if not forms or ONLY_NULL not in forms or len(forms) != 2:
        return node
    form = next(form for form in forms if form != ONLY_NULL)
    rest = {key: value for key, value in node.items() if key != "oneOf"}
    return {**rest, "allOf": form.get("allOf", [form]), "nullable": True}


def shape(document, response):
    """The schema of a response's JSON, as text."""
    described = response
    if "$ref" in response:
        described = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    return json.dumps(described.get("content", {}).get("application/json", {}).get("schema"))


def main():
    document = optional(json.load(sys.stdin))
    for item in document["paths"].values():
        for operation in (item[method] for method in METHODS if method in item):
            answers = operation["responses"]
            failures = {status: shape(document, answers[status]) for status in answers if status[0] in "45"}
            if len(set(failures.values())) > 1:
                for status in [status for status, schema in failures.items() if "ErrorResponse" not in schema]:
                    del answers[status]
    json.dump(document, sys.stdout)


if __name__ == "__main__":
    main()
