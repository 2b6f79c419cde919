// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {DistributorTest} from "./support/DistributorTest.sol";
import {Tree} from "./support/Tree.sol";
import {VM} from "./support/Vm.sol";

/// The leaf, the tree and its proofs against OpenZeppelin's JavaScript, which wrote the golden file.
contract GoldenTest is DistributorTest {
    function test_leaves_trees_and_proofs_are_those_of_openzeppelins_javascript() public view {
        string memory json = VM.readFile("test/golden/merkle.json");
        uint256 chainId = VM.parseJsonUint(json, ".chain_id");
        address instance = VM.parseJsonAddress(json, ".contract");
        uint256[9] memory sizes = [uint256(1), 2, 3, 4, 5, 6, 7, 8, 33];
        for (uint256 t = 0; t < sizes.length; ++t) {
            string memory tree = string.concat(".trees[", VM.toString(t), "]");
            bytes32[] memory leaves = new bytes32[](sizes[t]);
            for (uint256 i = 0; i < leaves.length; ++i) {
                leaves[i] = _leaf(json, string.concat(tree, ".leaves[", VM.toString(i), "]"), chainId, instance);
            }
            bytes32[] memory built = Tree.build(leaves);
            VM.assertEq(built[0], VM.parseJsonBytes32(json, string.concat(tree, ".root")), "root");
            for (uint256 i = 0; i < leaves.length; ++i) {
                string memory key = string.concat(tree, ".leaves[", VM.toString(i), "].proof");
                bytes32[] memory proof = VM.parseJsonBytes32Array(json, key);
                VM.assertEq(keccak256(abi.encode(proof)), keccak256(abi.encode(Tree.proof(built, leaves[i]))), "proof");
                VM.assertTrue(MerkleProof.verify(proof, built[0], leaves[i]), "the proof does not verify");
            }
        }
    }

    /// The leaf of the row at `key`, after comparing it with the hash that JavaScript made.
    function _leaf(string memory json, string memory key, uint256 chainId, address instance)
        private
        pure
        returns (bytes32 leaf)
    {
        leaf = _hash(
            chainId,
            instance,
            bytes16(VM.parseJsonBytes(json, string.concat(key, ".provider"))),
            VM.parseJsonAddress(json, string.concat(key, ".payee")),
            VM.parseJsonUint(json, string.concat(key, ".cumulative"))
        );
        VM.assertEq(leaf, VM.parseJsonBytes32(json, string.concat(key, ".hash")), "leaf");
    }

    function testFuzz_the_contract_hashes_leaves_the_same_way(bytes16 provider, address payee, uint256 cumulative)
        public
        view
    {
        bytes32 expected = _hash(block.chainid, address(distributor), provider, payee, cumulative);
        VM.assertEq(distributor.leafOf(provider, payee, cumulative), expected);
    }

    function _hash(uint256 chainId, address instance, bytes16 provider, address payee, uint256 cumulative)
        private
        pure
        returns (bytes32)
    {
        return keccak256(bytes.concat(keccak256(abi.encode(chainId, instance, provider, payee, cumulative))));
    }
}
