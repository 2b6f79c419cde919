// Writes trees of OpenZeppelin's StandardMerkleTree over payout leaves, as golden files for every other implementation of
// the same tree. Pseudo-random from a fixed seed, so the same bytes come out every time.
//
//   node merkle.mjs FILE
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";

const LEAF = ["uint256", "address", "bytes16", "address", "uint256"];
const CHAIN_ID = "31337";
const CONTRACT = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
// One leaf, every shape up to a full level, and one tree deep enough to have all kinds of paths.
const SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 33];

// Bytes that look random and never change.
const bytes = (name, length) =>
  `0x${createHash("sha256").update(name).digest("hex").slice(0, 2 * length)}`;

const trees = SIZES.map((size) => {
  const rows = Array.from({ length: size }, (_, i) => [
    CHAIN_ID,
    CONTRACT,
    bytes(`provider ${size} ${i}`, 16),
    bytes(`payee ${size} ${i}`, 20),
    // Small amounts, and some that fill all 256 bits.
    BigInt(bytes(`cumulative ${size} ${i}`, i % 5 === 4 ? 32 : 6)).toString(),
  ]);
  const tree = StandardMerkleTree.of(rows, LEAF);
  return {
    root: tree.root,
    leaves: rows.map((row, i) => ({
      provider: row[2],
      payee: row[3],
      cumulative: row[4],
      hash: tree.leafHash(row),
      proof: tree.getProof(i),
    })),
  };
});

const golden = { chain_id: CHAIN_ID, contract: CONTRACT, trees };
writeFileSync(process.argv[2], `${JSON.stringify(golden, null, 1)}\n`);
