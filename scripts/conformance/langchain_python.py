"""LangChain's ChatOpenAI."""

import sys

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from suite import KEY, MODEL, SCRIPTED, URL, Suite

suite = Suite("LangChain ChatOpenAI (Python)", "langchain-openai")
QUESTION = "Which city is the capital of France?"


class Answer(BaseModel):
    city: str
    people: int


@tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


def chat(model=MODEL, **more):
    return ChatOpenAI(**({"model": model, "base_url": URL + "/v1", "api_key": KEY, "max_retries": 0, "max_tokens": 64} | more))


@suite.scenario
def invoked():
    answer = chat().invoke(QUESTION)
    assert answer.text and answer.usage_metadata["total_tokens"] > 0, answer
    assert answer.response_metadata["finish_reason"] in ("stop", "length"), answer


@suite.scenario
def streamed():
    chunks = list(chat(stream_usage=True).stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert len(chunks) > 3 and whole.text and whole.usage_metadata["output_tokens"] > 0, whole


@suite.scenario
def batched():
    answers = chat().batch([QUESTION] * 3)
    assert len(answers) == 3 and all(answer.text for answer in answers)


@suite.scenario
def a_tool_is_called_and_answered():
    bound = chat(SCRIPTED).bind_tools([weather])
    first = bound.invoke(QUESTION)
    call = first.tool_calls[0]
    assert call["name"] == "weather" and call["args"]["city"], first
    turns = [HumanMessage(QUESTION), first, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert bound.invoke(turns).text


@suite.scenario
def a_streamed_tool_call():
    chunks = list(chat(SCRIPTED).bind_tools([weather]).stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.tool_calls[0]["args"]["city"], whole


@suite.scenario
def structured_output():
    assert isinstance(chat(SCRIPTED).with_structured_output(Answer).invoke(QUESTION), Answer)


@suite.scenario
def structured_output_by_a_tool():
    assert isinstance(chat(SCRIPTED).with_structured_output(Answer, method="function_calling").invoke(QUESTION), Answer)


@suite.scenario
def over_the_responses_api():
    assert chat(SCRIPTED, use_responses_api=True).invoke(QUESTION).text
    assert chat(SCRIPTED, use_responses_api=True).bind_tools([weather]).invoke(QUESTION).tool_calls


@suite.scenario
def embeddings():
    client = OpenAIEmbeddings(model=SCRIPTED, base_url=URL + "/v1", api_key=KEY, check_embedding_ctx_length=False)
    assert len(client.embed_documents(["one", "two"])) == 2


@suite.scenario
def an_unknown_model_is_404():
    try:
        chat("no/such-model").invoke(QUESTION)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
        return
    raise AssertionError("an unknown model answered")


if __name__ == "__main__":
    sys.exit(not suite.run())
