"""The official openai package for Python."""

import base64
import json
import struct
import sys
import time
import urllib.request
import uuid

import openai
from suite import (
    KEY, MODEL, PARAMETERS, POOR_KEY, QUESTION, REQUESTS_PER_MINUTE, SCHEMA, SCRIPTED, TOOLS, URL, Skip, Suite, limited_key,
)

suite = Suite("openai (Python)", "openai")
client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0, timeout=120)
# How long the books may take to show a finished answer.
READABLE_S = 5.0
# Tools whose arguments are a choice of words: a small model left to itself may write a name without end.
CITIES = ("Paris", "Rome")
CLOSED = [{"type": "function", "function": tool["function"] | {"parameters": PARAMETERS | {"properties": {"city": {"enum": list(CITIES)}}}}}
          for tool in TOOLS]
EXACT = {"max_tokens": 64, "temperature": 0}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


def chat(model=MODEL, **more):
    return client.chat.completions.create(**({"model": model, "messages": QUESTION, "max_tokens": 16} | more))


def refused(kind, call, **expected):
    """The error `call` raises: of this class, with these attributes."""
    try:
        answer = call()
    except kind as error:
        for name, value in expected.items():
            assert getattr(error, name) == value, f"{name} is {getattr(error, name)!r} in {error}"
        assert error.request_id, "no x-request-id"
        return error
    raise AssertionError(f"it answered: {answer}")


def joined(stream):
    """The chunks of a stream with the one call their deltas make up: (chunks, name, arguments)."""
    chunks, name, arguments = list(stream), "", ""
    for chunk in chunks:
        for call in chunk.choices and chunk.choices[0].delta.tool_calls or []:
            name, arguments = name or call.function.name, arguments + (call.function.arguments or "")
    return chunks, name, arguments


@suite.scenario
def models_are_listed_and_retrieved():
    listed = [model.id for model in client.models.list()]
    assert {MODEL, SCRIPTED} <= set(listed), listed
    for id in listed:  # ids hold a slash, which the package sends percent-encoded
        assert client.models.retrieve(id).id == id


@suite.scenario
def plain_chat():
    answer = chat()
    assert answer.object == "chat.completion" and answer.model == MODEL, answer
    assert answer.choices[0].message.content and answer.choices[0].finish_reason in ("stop", "length"), answer
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0, usage


@suite.scenario
def streamed_chat_with_usage():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1 and len(chunks) > 3
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert not chunks[-1].choices and 0 < chunks[-1].usage.completion_tokens <= 16, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1])


@suite.scenario
def streamed_chat_without_usage():
    chunks = list(chat(stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), chunks[-1]
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


@suite.scenario
def cancelled_in_mid_stream():
    with chat(stream=True, max_tokens=400, messages=[{"role": "user", "content": "Count to fifty in words."}]) as stream:
        seen = [next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content) for _ in range(3)]
    record = generation(seen[0].id)
    assert record["cancelled"] and 0 < record["tokens_completion"] < 400, record


def generation(id):
    request = urllib.request.Request(f"{URL}/v1/generation?id={id}", headers={"authorization": f"Bearer {KEY}"})
    deadline = time.monotonic() + READABLE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code != 404 or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@suite.scenario
def a_tool_is_called_and_answered():
    answer = chat(SCRIPTED, tools=TOOLS, max_tokens=64)
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls" and json.loads(call.function.arguments)["city"], answer
    turns = [*QUESTION, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert chat(SCRIPTED, tools=TOOLS, messages=turns).choices[0].message.content


@suite.scenario
def a_streamed_tool_call():
    chunks, name, arguments = joined(chat(SCRIPTED, tools=TOOLS, stream=True, max_tokens=64))
    assert name == "weather" and json.loads(arguments)["city"], arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls", chunks[-1]


@suite.scenario
def parallel_tool_calls():
    calls = chat(SCRIPTED, tools=TOOLS, tool_choice="required", parallel_tool_calls=True, max_tokens=64).choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "time"], calls
    assert len({call.id for call in calls}) == 2 and all(json.loads(call.function.arguments) for call in calls), calls


@suite.scenario
def a_named_tool():
    choice = {"type": "function", "function": {"name": "time"}}
    assert chat(SCRIPTED, tools=TOOLS, tool_choice=choice, max_tokens=64).choices[0].message.tool_calls[0].function.name == "time"


@suite.scenario
def a_required_tool_from_the_real_engine():
    # Its template knows of no tools: the broker makes the call out of an answer that follows the schema.
    assert "tools_emulated" in client.models.retrieve(MODEL).supported_parameters
    called = one_call(chat(tools=CLOSED[:1], tool_choice="required", **EXACT))
    assert called == ("weather", called[1]) and called[1]["city"] in CITIES, called


@suite.scenario
def a_named_tool_from_the_real_engine():
    choice = {"type": "function", "function": {"name": "time"}}
    name, arguments = one_call(chat(tools=CLOSED, tool_choice=choice, **EXACT))
    assert name == "time" and arguments["city"] in CITIES, arguments


@suite.scenario
def one_of_several_tools_from_the_real_engine():
    name, arguments = one_call(chat(tools=CLOSED, tool_choice="required", parallel_tool_calls=True, **EXACT))
    assert name in ("weather", "time") and arguments["city"] in CITIES, (name, arguments)


@suite.scenario
def a_streamed_tool_call_from_the_real_engine():
    chunks, name, arguments = joined(chat(tools=CLOSED, tool_choice="required", stream=True, **EXACT))
    assert name in ("weather", "time") and json.loads(arguments)["city"] in CITIES, arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls", chunks[-1]


@suite.scenario
def a_tools_answer_is_told_to_the_real_engine():
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    turns = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]},
             {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    choice = chat(messages=turns, tools=CLOSED, max_tokens=64, temperature=0).choices[0]
    assert choice.message.content or choice.message.tool_calls or choice.finish_reason == "length", choice


def one_call(answer):
    """The name and the arguments of the only call of an answer."""
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None, choice
    [call] = choice.message.tool_calls
    return call.function.name, json.loads(call.function.arguments)


@suite.scenario
def a_json_schema():
    answer = json.loads(chat(SCRIPTED, response_format=FORMAT, max_tokens=64).choices[0].message.content)
    assert set(answer) == set(SCHEMA["required"]), answer


@suite.scenario
def a_json_schema_from_the_real_engine():
    answer = json.loads(chat(response_format=FORMAT, max_tokens=300, temperature=0).choices[0].message.content)
    assert isinstance(answer["city"], str) and isinstance(answer["people"], int), answer


@suite.scenario
def a_json_object_from_the_real_engine():
    turns = [{"role": "user", "content": "Answer in JSON: {\"city\": \"Paris\"}"}]
    answer = chat(messages=turns, response_format={"type": "json_object"}, max_tokens=300, temperature=0)
    if answer.choices[0].finish_reason == "length":
        raise Skip("the small model did not finish its object in 300 tokens")
    assert isinstance(json.loads(answer.choices[0].message.content), dict), answer


@suite.scenario
def several_choices():
    answer = chat(SCRIPTED, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2], answer
    assert all(choice.message.content for choice in answer.choices)


@suite.scenario
def logprobs():
    answer = chat(logprobs=True, top_logprobs=2, max_tokens=4)
    entries = answer.choices[0].logprobs.content
    assert entries and all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in entries), entries


@suite.scenario
def a_stop_sequence():
    whole = chat(seed=7, temperature=0, max_tokens=24).choices[0].message.content
    word = whole.split()[2]
    cut = chat(seed=7, temperature=0, max_tokens=24, stop=[word]).choices[0]
    assert word not in cut.message.content and cut.finish_reason == "stop", (whole, cut)


@suite.scenario
def legacy_completions():
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8)
    assert answer.object == "text_completion" and answer.choices[0].text and answer.usage.total_tokens > 0, answer
    chunks = list(client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)


def embed(**more):
    return client.embeddings.create(**({"model": SCRIPTED, "input": ["one", "two"]} | more))


@suite.scenario
def embeddings_by_default_and_as_floats():
    default, floats = embed(), embed(encoding_format="float")  # the package asks for base64 and decodes it
    assert len(default.data) == 2 and default.usage.prompt_tokens > 0, default
    for ours, theirs in zip(default.data, floats.data):
        assert all(abs(a - b) < 1e-6 for a, b in zip(ours.embedding, theirs.embedding, strict=True))


@suite.scenario
def embeddings_as_base64():
    encoded = embed(encoding_format="base64").data[0].embedding
    numbers = struct.unpack(f"<{len(base64.b64decode(encoded)) // 4}f", base64.b64decode(encoded))
    assert abs(sum(number * number for number in numbers) - 1) < 1e-3, numbers


@suite.scenario
def embeddings_of_a_wrong_size():
    refused(openai.BadRequestError, lambda: embed(dimensions=0), param="dimensions")


@suite.scenario
def responses_as_text():
    answer = client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16)
    assert answer.object == "response" and answer.output_text and answer.usage.total_tokens > 0, answer


@suite.scenario
def responses_as_events():
    events = list(client.responses.create(model=SCRIPTED, input="Say hello.", stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"], kinds
    assert kinds[-4:] == ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"], kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text, text


@suite.scenario
def responses_with_tools():
    tools = [{"type": "function", "strict": True} | tool["function"] for tool in TOOLS]
    answer = client.responses.create(model=SCRIPTED, input="The weather?", tools=tools)
    call = next(item for item in answer.output if item.type == "function_call")
    assert json.loads(call.arguments)["city"], call
    turns = [{"role": "user", "content": "The weather?"}, *answer.output,
             {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    assert client.responses.create(model=SCRIPTED, input=turns, tools=tools).output_text


@suite.scenario
def responses_with_a_schema():
    format = {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA}
    answer = client.responses.create(model=SCRIPTED, input="Which city?", text={"format": format})
    assert set(json.loads(answer.output_text)) == set(SCHEMA["required"]), answer


@suite.scenario
def a_wrong_key_is_401():
    wrong = openai.OpenAI(base_url=URL + "/v1", api_key="sk-wrong", max_retries=0)
    refused(openai.AuthenticationError, lambda: wrong.chat.completions.create(model=MODEL, messages=QUESTION), code="invalid_api_key")


def watched(key):
    """A client with the package's own retries, and the list of the answers it gets."""
    seen = []
    http = openai.DefaultHttpxClient(event_hooks={"response": [seen.append]})
    return openai.OpenAI(base_url=URL + "/v1", api_key=key, timeout=120, http_client=http), seen


@suite.scenario
def no_credit_is_402_and_not_retried():
    if not POOR_KEY:
        raise Skip("no key of an organization without credit was given (STEELYARD_POOR_KEY)")
    poor, seen = watched(POOR_KEY)
    refused(openai.APIStatusError, lambda: poor.chat.completions.create(model=MODEL, messages=QUESTION),
            status_code=402, code="credit_balance_exhausted")
    assert len(seen) == 1 and seen[0].headers["x-should-retry"] == "false", seen


@suite.scenario
def a_limit_is_waited_out_by_its_own_retries():
    limited, seen = watched(limited_key())
    for _ in range(2 * REQUESTS_PER_MINUTE):  # more than at once are allowed, however slowly they are asked for
        began = time.monotonic()
        assert limited.chat.completions.create(model=SCRIPTED, messages=QUESTION).choices[0].message.content
        if len(seen) > 1 and seen[-2].status_code == 429:
            waited_s = time.monotonic() - began
            assert waited_s >= int(seen[-2].headers["retry-after-ms"]) / 1_000, (waited_s, seen[-2].headers)
            return
    raise AssertionError(f"no limit was met: {seen}")


@suite.scenario
def an_unknown_model_is_404():
    refused(openai.NotFoundError, lambda: chat("no/such-model"), code="model_not_found")


@suite.scenario
def a_bad_field_is_400_and_named():
    refused(openai.BadRequestError, lambda: chat(temperature=9), param="temperature")
    refused(openai.BadRequestError, lambda: chat(messages=[{"role": "nobody", "content": "hi"}]), param="messages[0].role")


@suite.scenario
def too_long_a_prompt_is_400():
    turns = [{"role": "user", "content": "word " * 4_000}]
    refused(openai.BadRequestError, lambda: chat(messages=turns), code="context_length_exceeded")


@suite.scenario
def one_idempotency_key_runs_once():
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first, second = (chat(extra_headers=headers) for _ in range(2))
    assert first.id == second.id and first.choices == second.choices, (first.id, second.id)
    refused(openai.APIStatusError, lambda: chat(extra_headers=headers, max_tokens=3), code="idempotency_key_reused")


@suite.scenario
def the_client_gives_up_in_time():
    turns = [{"role": "user", "content": "slowly, please"}]
    try:
        answer = client.with_options(timeout=1).chat.completions.create(model=SCRIPTED, messages=turns)
    except openai.APITimeoutError:
        assert chat(SCRIPTED).choices[0].message.content  # and the broker serves on
        return
    raise AssertionError(f"it answered: {answer}")


if __name__ == "__main__":
    sys.exit(not suite.run())
