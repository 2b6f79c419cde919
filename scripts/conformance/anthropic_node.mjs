// The official @anthropic-ai/sdk for Node.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { all, givesUpWithoutCredit, KEY, MODEL, PARAMETERS, QUESTION, refused, run, SCRIPTED, URL, version, waitsOut } from "./suite.mjs";

const client = new Anthropic({ baseURL: URL, apiKey: KEY, maxRetries: 0, timeout: 120_000 });
const withRetries = (options) => new Anthropic({ baseURL: URL, timeout: 120_000, ...options });
const message = (more, options) =>
  client.messages.create({ model: MODEL, max_tokens: 16, messages: QUESTION, ...more }, options);
const tools = [{ name: "weather", description: "Tells the weather of a city.", input_schema: PARAMETERS }];
const scripted = { model: SCRIPTED, max_tokens: 64 };

await run("@anthropic-ai/sdk", version("@anthropic-ai/sdk"), {
  "a message": async () => {
    const answer = await message({ system: "Be brief." });
    assert.equal(answer.type, "message");
    assert.ok(answer.content[0].text && answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
    assert.ok(["end_turn", "max_tokens"].includes(answer.stop_reason), answer.stop_reason);
  },
  "a streamed message": async () => {
    const kinds = (await all(await message({ stream: true }))).map((event) => event.type).filter((kind) => kind !== "ping");
    assert.deepEqual(kinds.slice(0, 2), ["message_start", "content_block_start"]);
    assert.deepEqual(kinds.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
  },
  "the helper for streams": async () => {
    const stream = client.messages.stream({ model: MODEL, max_tokens: 16, messages: QUESTION });
    let text = "";
    stream.on("text", (piece) => (text += piece));
    const answer = await stream.finalMessage();
    assert.equal(answer.content[0].text, text);
  },
  "cancelled in mid stream": async () => {
    const stream = await message({ stream: true, max_tokens: 400 });
    for await (const event of stream) if (event.type === "content_block_delta") break;
    assert.ok((await message()).content[0].text);
  },
  "a stop sequence": async () => {
    const whole = (await message({ temperature: 0, max_tokens: 24 })).content[0].text;
    const cut = await message({ temperature: 0, max_tokens: 24, stop_sequences: [whole.split(" ")[2]] });
    assert.ok(cut.content.map((block) => block.text).join("").length < whole.length);
  },
  "a tool is called and answered": async () => {
    const answer = await message({ ...scripted, tools });
    const call = answer.content.find((block) => block.type === "tool_use");
    assert.equal(answer.stop_reason, "tool_use");
    assert.ok(call.input.city);
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "sunny" }] };
    const next = await message({ ...scripted, tools, messages: [...QUESTION, { role: "assistant", content: answer.content }, result] });
    assert.ok(next.content[0].text);
  },
  "a streamed tool call": async () => {
    const answer = await client.messages.stream({ ...scripted, messages: QUESTION, tools }).finalMessage();
    assert.ok(answer.content.find((block) => block.type === "tool_use").input.city);
  },
  "tokens are counted": async () => {
    const counted = await client.messages.countTokens({ model: MODEL, messages: QUESTION });
    const { input_tokens, cache_read_input_tokens } = (await message()).usage; // what a cache holds is told apart
    assert.equal(counted.input_tokens, input_tokens + (cache_read_input_tokens ?? 0));
  },
  "models are listed": async () => {
    const listed = (await all(client.models.list())).map((model) => model.id);
    assert.ok(listed.includes(MODEL), listed.join());
  },
  "a wrong key is 401": async () => {
    const error = await refused(401, {}, () => new Anthropic({ baseURL: URL, apiKey: "sk-wrong", maxRetries: 0 }).messages.create({ model: MODEL, max_tokens: 1, messages: QUESTION }));
    assert.equal(error.error.error.type, "authentication_error");
  },
  "no credit is 402 and not retried": async () => {
    const error = await givesUpWithoutCredit(withRetries, {}, (poor) => poor.messages.create({ model: MODEL, max_tokens: 1, messages: QUESTION }));
    assert.equal(error.error.error.type, "billing_error");
  },
  "a limit is waited out by its own retries": () =>
    waitsOut(withRetries, (limited) => limited.messages.create({ ...scripted, messages: QUESTION })),
  "an unknown model is 404": async () => {
    const error = await refused(404, {}, () => message({ model: "no/such-model" }));
    assert.equal(error.error.error.type, "not_found_error");
  },
  "a bad field is 400": async () => {
    const error = await refused(400, {}, () => message({ temperature: 9 }));
    assert.equal(error.error.error.type, "invalid_request_error");
  },
});
