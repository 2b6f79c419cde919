// LangChain's ChatOpenAI for Node.

import assert from "node:assert/strict";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import { all, KEY, MODEL, PARAMETERS, QUESTION, refused, run, SCHEMA, SCRIPTED, URL, version } from "./suite.mjs";

const options = { apiKey: KEY, configuration: { baseURL: `${URL}/v1` }, maxRetries: 0, maxTokens: 64 };
const chat = (more) => new ChatOpenAI({ model: MODEL, ...options, ...more });
const scripted = (more) => chat({ model: SCRIPTED, ...more });
const tools = [{ type: "function", function: { name: "weather", description: "Tells the weather of a city.", parameters: PARAMETERS } }];
const joined = (chunks) => chunks.reduce((whole, chunk) => whole.concat(chunk));

await run("LangChain ChatOpenAI (Node)", version("@langchain/openai"), {
  "invoked": async () => {
    const answer = await chat().invoke(QUESTION);
    assert.ok(answer.text);
    assert.ok(["stop", "length"].includes(answer.response_metadata.finish_reason), answer.response_metadata.finish_reason);
  },
  "usage metadata": async () => {
    const { input_tokens, output_tokens, total_tokens } = (await chat().invoke(QUESTION)).usage_metadata;
    assert.ok(input_tokens > 0 && output_tokens > 0);
    assert.equal(total_tokens, input_tokens + output_tokens);
  },
  "streamed with usage": async () => {
    const chunks = await all(await chat({ streamUsage: true }).stream(QUESTION));
    const whole = joined(chunks);
    assert.ok(chunks.length > 3 && whole.text);
    assert.ok(whole.usage_metadata.output_tokens > 0);
  },
  "aborted in mid stream": async () => {
    const controller = new AbortController();
    let pieces = 0;
    await assert.rejects(async () => {
      for await (const chunk of await chat({ maxTokens: 400 }).stream(QUESTION, { signal: controller.signal })) {
        pieces += chunk.text ? 1 : 0;
        if (pieces > 0) controller.abort();
      }
    }, /abort/i);
    assert.ok(pieces > 0);
    assert.ok((await chat().invoke(QUESTION)).text);
  },
  "batched": async () => {
    const answers = await chat().batch([QUESTION, QUESTION, QUESTION]);
    assert.ok(answers.length === 3 && answers.every((answer) => answer.text));
  },
  "a tool is called and answered": async () => {
    const bound = scripted().bindTools(tools);
    const first = await bound.invoke(QUESTION);
    const [call] = first.tool_calls;
    assert.ok(call.name === "weather" && call.args.city);
    const turns = [...QUESTION, first, { role: "tool", content: "sunny", tool_call_id: call.id }];
    assert.ok((await bound.invoke(turns)).text);
  },
  "a streamed tool call": async () => {
    const whole = joined(await all(await scripted().bindTools(tools).stream(QUESTION)));
    assert.ok(whole.tool_calls[0].args.city);
  },
  "structured output by a json schema": async () => {
    const answer = await scripted().withStructuredOutput(SCHEMA, { name: "answer", method: "jsonSchema", strict: true }).invoke(QUESTION);
    assert.deepEqual(Object.keys(answer), SCHEMA.required);
  },
  "structured output by zod": async () => {
    const schema = z.object({ city: z.string(), people: z.number().int() });
    const answer = await scripted().withStructuredOutput(schema, { method: "jsonSchema" }).invoke(QUESTION);
    assert.equal(answer.city, "Paris");
  },
  "structured output by a tool": async () => {
    const answer = await scripted().withStructuredOutput(SCHEMA, { name: "answer", method: "functionCalling" }).invoke(QUESTION);
    assert.deepEqual(Object.keys(answer), SCHEMA.required);
  },
  "over the responses api": async () => {
    assert.ok((await scripted({ useResponsesApi: true }).invoke(QUESTION)).text);
    assert.ok((await scripted({ useResponsesApi: true }).bindTools(tools).invoke(QUESTION)).tool_calls.length > 0);
  },
  "embeddings": async () => {
    const vectors = await new OpenAIEmbeddings({ ...options, model: SCRIPTED }).embedDocuments(["one", "two"]);
    assert.ok(vectors.length === 2 && vectors.every((vector) => vector.length > 0));
  },
  "an unknown model is 404": () => refused(404, { code: "model_not_found" }, () => chat({ model: "no/such-model" }).invoke(QUESTION)),
  "a wrong key is 401": () => refused(401, { code: "invalid_api_key" }, () => chat({ apiKey: "sk-wrong" }).invoke(QUESTION)),
  "a bad field is 400 and named": () => refused(400, { param: "temperature" }, () => chat({ temperature: 9 }).invoke(QUESTION)),
});
