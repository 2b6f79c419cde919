// What every suite written for Node shares: where the broker is, and how a scenario's result is told.
// A suite prints one JSON object per scenario to stdout, which table.py gathers, and a line for people to stderr.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";

export const URL = process.env.STEELYARD_URL.replace(/\/+$/, "");
export const KEY = process.env.STEELYARD_API_KEY;
export const MODEL = process.env.STEELYARD_MODEL;
export const SCRIPTED = process.env.STEELYARD_SCRIPTED_MODEL;
export const QUESTION = [{ role: "user", content: "Which city is the capital of France?" }];
export const PARAMETERS = {
  type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false,
};
export const SCHEMA = {
  type: "object", properties: { city: { type: "string" }, people: { type: "integer" } },
  required: ["city", "people"], additionalProperties: false,
};

/** The version of an installed package, read from its own package.json. */
export function version(name) {
  const file = path.join(process.env.STEELYARD_NODE_MODULES, name, "package.json");
  return `${name} ${JSON.parse(readFileSync(file, "utf8")).version}`;
}

/** Runs scenarios (name → async function) in order; the process fails when one did. */
export async function run(suite, release, scenarios) {
  for (const [scenario, body] of Object.entries(scenarios)) {
    const started = performance.now();
    let [result, reason] = ["pass", ""];
    try {
      await body();
    } catch (error) {
      [result, reason] = ["fail", `${error?.name}: ${error?.message ?? error}`.slice(0, 300)];
      process.exitCode = 1;
    }
    console.log(JSON.stringify({ suite, version: release, scenario, result, reason }));
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.error(`${result === "pass" ? "ok  " : "FAIL"} ${suite}: ${scenario} (${seconds} s) ${reason}`.trimEnd());
  }
}

/** The error a call ends with: of this status, with these members. */
export async function refused(status, expected, call) {
  const error = await call().then((answer) => assert.fail(`it answered: ${JSON.stringify(answer)}`), (error) => error);
  assert.equal(error.status ?? error.statusCode, status, error.message);
  for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value, `${name} of: ${error.message}`);
  return error;
}

/** Everything an async iterable yields. */
export async function all(stream) {
  const seen = [];
  for await (const item of stream) seen.push(item);
  return seen;
}
