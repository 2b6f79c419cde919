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

// What a project may ask for in a scenario about limits: a whole minute's worth is soon used up, and one more request
// is allowed four seconds later.
const REQUESTS_PER_MINUTE = 15;
const MARKS = { pass: "ok  ", skip: "skip", fail: "FAIL" };

/** A scenario that can't be tried here, and why. */
export class Skip extends Error {}

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
      if (error instanceof Skip) {
        [result, reason] = ["skip", error.message];
      } else {
        [result, reason] = ["fail", `${error?.name}: ${error?.message ?? error}`.slice(0, 300)];
        process.exitCode = 1;
      }
    }
    console.log(JSON.stringify({ suite, version: release, scenario, result, reason }));
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.error(`${MARKS[result]} ${suite}: ${scenario} (${seconds} s) ${reason}`.trimEnd());
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

/** A fetch like any other that keeps what it was answered, retries included. */
export function watched() {
  const seen = [];
  const watching = async (...asked) => {
    const answer = await fetch(...asked);
    seen.push({ status: answer.status, headers: answer.headers });
    return answer;
  };
  return { seen, fetch: watching };
}

/** A client with its own retries asks until a limit is met: it waits as long as the refusal says, and is answered. */
export async function waitsOut(connect, ask) {
  const { seen, fetch } = watched();
  const client = connect({ apiKey: await limitedKey(), fetch });
  // More than at once are allowed, however slowly they are asked for.
  for (let asked = 0; asked < 2 * REQUESTS_PER_MINUTE; asked++) {
    const began = performance.now();
    await ask(client);
    if (seen.at(-2)?.status !== 429) continue;
    const waited = performance.now() - began;
    assert.ok(waited >= Number(seen.at(-2).headers.get("retry-after-ms")), `after ${waited} ms`);
    return;
  }
  assert.fail(`no limit was met: ${seen.map((answer) => answer.status)}`);
}

/** A client with its own retries and no credit asks once, since the answer says that no retry can help. */
export async function givesUpWithoutCredit(connect, expected, ask) {
  const apiKey = process.env.STEELYARD_POOR_KEY;
  if (!apiKey) throw new Skip("no key of an organization without credit was given (STEELYARD_POOR_KEY)");
  const { seen, fetch } = watched();
  const client = connect({ apiKey, fetch });
  const error = await refused(402, expected, () => ask(client));
  assert.deepEqual(seen.map(({ status, headers }) => [status, headers.get("x-should-retry")]), [[402, "false"]]);
  return error;
}

/** A key of a new project that may ask so often. */
async function limitedKey() {
  if (!process.env.STEELYARD_ADMIN_KEY) throw new Skip("no key of an organization's admin was given (STEELYARD_ADMIN_KEY)");
  const project = `/v1/organization/projects/${(await administered("/v1/organization/projects", { name: "limited" })).id}`;
  await administered(`${project}/rate_limits/rl-*`, { max_requests_per_1_minute: REQUESTS_PER_MINUTE });
  return (await administered(`${project}/service_accounts`, { name: "caller" })).api_key.value;
}

async function administered(path, body) {
  const headers = { authorization: `Bearer ${process.env.STEELYARD_ADMIN_KEY}`, "content-type": "application/json" };
  const answer = await fetch(URL + path, { method: "POST", headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}
