// Writes ABI and creation bytecode of what Rust deploys and calls, as forge just built them, one file for each contract.
// Fails when something public of ours has no NatSpec notice.
//
//   node abi.mjs FOLDER
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const CONTRACTS = [
  { name: "PayoutDistributor", sources: ["src/PayoutDistributor.sol", "src/Timelocked.sol", "src/Intake.sol"] },
  { name: "ProviderStake", sources: ["src/ProviderStake.sol", "src/Timelocked.sol", "src/Intake.sol"] },
  { name: "TestToken", sources: ["test/tokens/TestToken.sol"] },
  { name: "TimelockController", sources: [] }, // OpenZeppelin's, here because a distributor is deployed behind one
];

// What the sources declare themselves; the rest is inherited from OpenZeppelin, which documents it in its own way.
function declared(sources) {
  const text = sources.map((path) => readFileSync(path, "utf8")).join("\n");
  const names = [...text.matchAll(/^ {4}(?:function|event|error) (\w+)/gm)].map((match) => match[1]);
  const variables = [...text.matchAll(/^ {4}[^/\n].* public (?:constant |immutable )?(\w+)(?: =|;)/gm)];
  return new Set([...names, ...variables.map((match) => match[1])]);
}

// NatSpec is keyed by signature, where a tuple stands for a struct.
const type = (input) =>
  input.type.startsWith("tuple") ? `(${input.components.map(type)})${input.type.slice(5)}` : input.type;
const signature = (entry) => `${entry.name}(${entry.inputs.map(type)})`;

function undocumented(abi, userdoc, own) {
  const notes = { ...userdoc.methods, ...userdoc.events, ...userdoc.errors };
  const has = (entry) => [notes[signature(entry)]].flat().some((note) => note?.notice);
  return abi.filter((entry) => own.has(entry.name) && !has(entry)).map(signature);
}

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
for (const { name, sources } of CONTRACTS) {
  const { abi, bytecode, rawMetadata } = JSON.parse(readFileSync(`out/${name}.sol/${name}.json`, "utf8"));
  const missing = undocumented(abi, JSON.parse(rawMetadata).output.userdoc, declared(sources));
  if (missing.length > 0) throw new Error(`${name} has no NatSpec notice on ${missing.join(", ")}`);
  writeFileSync(`${folder}/${name}.json`, `${JSON.stringify({ abi, bytecode: bytecode.object }, null, 1)}\n`);
}
