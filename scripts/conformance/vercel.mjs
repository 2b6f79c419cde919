// The Vercel AI SDK, through its provider for OpenAI-compatible servers.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { all, KEY, MODEL, run, SCRIPTED, URL, version } from "./suite.mjs";

const options = { name: "steelyard", baseURL: `${URL}/v1`, apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true };
const provider = createOpenAICompatible(options);
const asked = { model: provider(MODEL), prompt: "Which city is the capital of France?", maxOutputTokens: 16, maxRetries: 0 };
const scripted = { ...asked, model: provider(SCRIPTED), maxOutputTokens: 64 };
const weather = tool({
  description: "Tells the weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});
const release = `${version("ai")}, ${version("@ai-sdk/openai-compatible")}`;

await run("Vercel AI SDK", release, {
  "generated text": async () => {
    const answer = await generateText(asked);
    assert.ok(answer.text && answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
  },
  "streamed text": async () => {
    const answer = streamText(asked);
    assert.ok((await all(answer.textStream)).join(""));
    assert.ok((await answer.usage).outputTokens > 0);
  },
  "cancelled in mid stream": async () => {
    const controller = new AbortController();
    const answer = streamText({ ...asked, maxOutputTokens: 400, abortSignal: controller.signal });
    for await (const piece of answer.textStream) {
      assert.equal(typeof piece, "string");
      controller.abort();
      break;
    }
    assert.ok((await generateText(asked)).text);
  },
  "a tool is called and answered": async () => {
    const answer = await generateText({ ...scripted, tools: { weather }, stopWhen: stepCountIs(3) });
    assert.equal(answer.steps.length, 2);
    assert.equal(answer.steps[0].toolCalls[0].toolName, "weather");
    assert.ok(answer.text);
  },
  "a streamed tool call": async () => {
    const answer = streamText({ ...scripted, tools: { weather }, stopWhen: stepCountIs(3) });
    assert.ok((await all(answer.textStream)).join(""));
    assert.equal((await answer.steps)[0].toolCalls[0].input.city, "Paris");
  },
  "structured output": async () => {
    const schema = z.object({ city: z.string(), people: z.number().int() });
    const answer = await generateText({ ...scripted, output: Output.object({ schema }) });
    assert.equal(answer.output.city, "Paris");
  },
  "embeddings": async () => {
    const { embeddings } = await embedMany({ model: provider.embeddingModel(SCRIPTED), values: ["one", "two"] });
    assert.ok(embeddings.length === 2 && embeddings[0].length > 0);
  },
  "an unknown model is 404": async () => {
    const error = await generateText({ ...asked, model: provider("no/such-model") }).then(assert.fail, (error) => error);
    assert.ok(APICallError.isInstance(error), String(error));
    assert.equal(error.statusCode, 404);
  },
  "a wrong key is 401": async () => {
    const stranger = createOpenAICompatible({ ...options, apiKey: "sk-wrong" });
    const error = await generateText({ ...asked, model: stranger(MODEL) }).then(assert.fail, (error) => error);
    assert.equal(error.statusCode, 401);
  },
});
