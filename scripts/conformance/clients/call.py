"""Lists the models and asks one for an answer, through the client that openapi-generator wrote."""

import os

import steelyard_client as generated

configuration = generated.Configuration(host=os.environ["STEELYARD_URL"], access_token=os.environ["STEELYARD_API_KEY"])
model = os.environ["STEELYARD_MODEL"]
with generated.ApiClient(configuration) as client:
    listed = [one.id for one in generated.CatalogueApi(client).list_models().actual_instance.data]
    assert model in listed, listed
    turn = generated.UserMessage(role="user", content=generated.ChatContent("Hello!"))
    request = generated.ChatCompletionRequest(model=model, messages=[generated.ChatMessage(turn)], max_tokens=16)
    answer = generated.InferenceApi(client).create_chat_completion(request)
    assert answer.model == model and answer.choices[0].message.content and answer.usage.completion_tokens > 0, answer
