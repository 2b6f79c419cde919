"""What a customer's program does, done with the unmodified openai package.

Reads STEELYARD_URL and STEELYARD_API_KEY. Each check prints one line; the first that fails ends the run.
"""

import json
import os
import time
import urllib.request
from decimal import Decimal

import openai

URL = os.environ["STEELYARD_URL"].rstrip("/")
KEY = os.environ["STEELYARD_API_KEY"]
# How long the books may take to show a finished answer.
READABLE_S = 2.0
QUESTION = [{"role": "user", "content": "Count from one to fifty, in words."}]


def get(path):
    """A plain GET of what the package has no method for."""
    request = urllib.request.Request(URL + path, headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["data"]


def generation(id):
    """The record of one answer, waiting as long as it may take to appear."""
    deadline = time.monotonic() + READABLE_S
    while True:
        try:
            return get(f"/v1/generation?id={id}")
        except urllib.error.HTTPError as error:
            if error.code != 404 or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def models(client):
    listed = [model.id for model in client.models.list()]
    assert listed, "no models"
    for id in listed:  # ids hold a slash, which the package sends percent-encoded
        assert client.models.retrieve(id).id == id
    return listed[0]


def plain(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=16)
    assert answer.id.startswith("chatcmpl-") and answer.model == model, answer
    assert answer.choices[0].message.content and answer.choices[0].finish_reason in ("stop", "length"), answer
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.cost > 0, usage
    assert Decimal(str(generation(answer.id)["total_cost"])) == Decimal(str(usage.cost))


def streamed(client, model):
    chunks = list(client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=16, stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1, "the id changed within a stream"
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text and not chunks[-1].choices, chunks[-1]
    usage = chunks[-1].usage
    assert 0 < usage.completion_tokens <= 16 and usage.cost > 0, usage
    assert len(chunks) > 3, "the whole answer came in one lump"


def cancelled(client, model):
    stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=400, stream=True)
    with stream:
        seen = [next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content) for _ in range(3)]
    record = generation(seen[0].id)
    assert record["cancelled"], record
    assert 0 < record["tokens_completion"] < 400, record


def refused(client, model):
    try:
        client.chat.completions.create(model="no/such-model", messages=QUESTION)
        raise AssertionError("an unknown model answered")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    try:
        openai.OpenAI(base_url=URL + "/v1", api_key="sk-wrong").models.list()
        raise AssertionError("a wrong key was let in")
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key", error


def main():
    client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0, timeout=120)
    spent = Decimal(str(get("/v1/credits")["total_usage"]))
    model = models(client)
    print(f"ok  models ({model})", flush=True)
    for check in (plain, streamed, cancelled, refused):
        started = time.monotonic()
        check(client, model)
        print(f"ok  {check.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
    now = Decimal(str(get("/v1/credits")["total_usage"]))
    assert now > spent, f"three answers cost nothing: {spent} before, {now} after"
    print(f"ok  credits ({now - spent} USD spent)", flush=True)


if __name__ == "__main__":
    main()
