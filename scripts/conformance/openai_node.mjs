// The official openai package for Node.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import OpenAI from "openai";
import { all, givesUpWithoutCredit, KEY, MODEL, PARAMETERS, QUESTION, refused, run, SCHEMA, SCRIPTED, URL, version, waitsOut } from "./suite.mjs";

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY, maxRetries: 0, timeout: 120_000 });
const withRetries = (options) => new OpenAI({ baseURL: `${URL}/v1`, timeout: 120_000, ...options });
const chat = (more, options) =>
  client.chat.completions.create({ model: MODEL, messages: QUESTION, max_tokens: 16, ...more }, options);
const tools = ["weather", "time"].map((name) => ({ type: "function", function: { name, parameters: PARAMETERS } }));
const scripted = { model: SCRIPTED, max_tokens: 64 };

await run("openai (Node)", version("openai"), {
  "models are listed and retrieved": async () => {
    const listed = (await all(client.models.list())).map((model) => model.id);
    assert.ok(listed.includes(MODEL) && listed.includes(SCRIPTED), listed.join());
    for (const id of listed) assert.equal((await client.models.retrieve(id)).id, id);
  },
  "plain chat": async () => {
    const answer = await chat();
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  },
  "streamed chat with usage": async () => {
    const chunks = await all(await chat({ stream: true, stream_options: { include_usage: true } }));
    assert.ok(chunks.length > 3 && new Set(chunks.map((chunk) => chunk.id)).size === 1);
    assert.ok(chunks.at(-1).choices.length === 0 && chunks.at(-1).usage.completion_tokens > 0);
  },
  "cancelled in mid stream": async () => {
    const stream = await chat({ stream: true, max_tokens: 400 });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    assert.ok(stream.controller.signal.aborted);
    assert.ok((await chat()).choices[0].message.content);
  },
  "the helper for streams": async () => {
    const stream = client.chat.completions.stream({ ...scripted, messages: QUESTION, tools });
    const call = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
    assert.ok(JSON.parse(call.function.arguments).city);
  },
  "a tool is called and answered": async () => {
    const { message } = (await chat({ ...scripted, tools })).choices[0];
    const turns = [...QUESTION, message, { role: "tool", tool_call_id: message.tool_calls[0].id, content: "sunny" }];
    assert.ok((await chat({ ...scripted, tools, messages: turns })).choices[0].message.content);
  },
  "parallel tool calls": async () => {
    const answer = await chat({ ...scripted, tools, tool_choice: "required", parallel_tool_calls: true });
    assert.deepEqual(answer.choices[0].message.tool_calls.map((call) => call.function.name), ["weather", "time"]);
  },
  "a json schema, parsed": async () => {
    const response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema: SCHEMA } };
    const answer = await client.chat.completions.parse({ ...scripted, messages: QUESTION, response_format });
    assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), SCHEMA.required);
  },
  "several choices": async () => {
    const answer = await chat({ ...scripted, n: 2 });
    assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  },
  "legacy completions": async () => {
    const answer = await client.completions.create({ model: MODEL, prompt: "Once upon a time", max_tokens: 8 });
    assert.ok(answer.choices[0].text && answer.usage.total_tokens > 0);
  },
  "embeddings by default and as floats": async () => {
    const ask = { model: SCRIPTED, input: "one" };
    const byDefault = (await client.embeddings.create(ask)).data[0].embedding;
    const floats = (await client.embeddings.create({ ...ask, encoding_format: "float" })).data[0].embedding;
    assert.ok(byDefault.length === floats.length && byDefault.every((value, at) => Math.abs(value - floats[at]) < 1e-6));
  },
  "responses as text": async () => {
    const answer = await client.responses.create({ model: MODEL, input: "Say hello.", max_output_tokens: 16 });
    assert.ok(answer.output_text && answer.usage.total_tokens > 0);
  },
  "responses as events": async () => {
    const stream = client.responses.stream({ model: SCRIPTED, input: "Say hello." });
    const kinds = (await all(stream)).map((event) => event.type);
    assert.equal(kinds[0], "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    assert.ok((await stream.finalResponse()).output_text);
  },
  "responses with tools": async () => {
    const asked = { model: SCRIPTED, input: "The weather?", tools: [{ type: "function", name: "weather", strict: true, parameters: PARAMETERS }] };
    const call = (await client.responses.create(asked)).output.find((item) => item.type === "function_call");
    assert.ok(JSON.parse(call.arguments).city);
  },
  "a wrong key is 401": () =>
    refused(401, { code: "invalid_api_key" }, () => client.withOptions({ apiKey: "sk-wrong" }).chat.completions.create({ model: MODEL, messages: QUESTION })),
  "no credit is 402 and not retried": () =>
    givesUpWithoutCredit(withRetries, { code: "credit_balance_exhausted" }, (poor) => poor.chat.completions.create({ model: MODEL, messages: QUESTION })),
  "a limit is waited out by its own retries": () =>
    waitsOut(withRetries, (limited) => limited.chat.completions.create({ ...scripted, messages: QUESTION })),
  "an unknown model is 404": () => refused(404, { code: "model_not_found" }, () => chat({ model: "no/such-model" })),
  "a bad field is 400 and named": () => refused(400, { param: "temperature" }, () => chat({ temperature: 9 })),
  "one idempotency key runs once": async () => {
    const options = { headers: { "Idempotency-Key": randomUUID() } };
    assert.equal((await chat({}, options)).id, (await chat({}, options)).id);
  },
  "the client gives up in time": async () => {
    const asked = { ...scripted, messages: [{ role: "user", content: "slowly, please" }] };
    await assert.rejects(chat(asked, { timeout: 1_000 }), OpenAI.APIConnectionTimeoutError);
  },
});
