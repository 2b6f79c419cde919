#!/usr/bin/env node
// Lets forge use the compiler that npm delivers: solc as WebAssembly, behind the two calls forge makes of a native one.
// forge hands over all sources inside the JSON, so nothing is imported from disk here and the path options say nothing.
"use strict";
const { readFileSync, writeSync } = require("node:fs");
const solc = require("solc");

// A pipe takes what fits, so one write may be a part of the answer only.
function print(text) {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if (error.code !== "EAGAIN") throw error; // the reader is slower than we are
    }
  }
}

if (process.argv.includes("--version")) {
  print(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (process.argv.includes("--standard-json")) {
  print(`${solc.compile(readFileSync(0, "utf8"))}\n`);
} else {
  process.stderr.write("solc.cjs answers --version and --standard-json only\n");
  process.exit(2);
}
