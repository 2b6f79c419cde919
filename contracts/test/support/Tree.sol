// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// The tree of OpenZeppelin's StandardMerkleTree over leaves that are hashed already: sorted, and laid out as a complete
/// binary tree in an array, root first, leaves last and backwards.
library Tree {
    function build(bytes32[] memory leaves) internal pure returns (bytes32[] memory tree) {
        bytes32[] memory sorted = _sorted(leaves);
        uint256 n = sorted.length;
        tree = new bytes32[](2 * n - 1);
        for (uint256 i = 0; i < n; ++i) {
            tree[2 * n - 2 - i] = sorted[i];
        }
        for (uint256 i = n - 1; i > 0; --i) {
            tree[i - 1] = Hashes.commutativeKeccak256(tree[2 * i - 1], tree[2 * i]);
        }
    }

    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        return build(leaves)[0];
    }

    /// The siblings from a leaf up.
    function proof(bytes32[] memory tree, bytes32 leaf) internal pure returns (bytes32[] memory path) {
        uint256 at_ = tree.length - 1;
        while (tree[at_] != leaf) --at_; // underflows, and so fails, when there is no such leaf
        uint256 depth = 0;
        for (uint256 i = at_; i > 0; i = (i - 1) / 2) {
            ++depth;
        }
        path = new bytes32[](depth);
        for (uint256 i = 0; at_ > 0; ++i) {
            path[i] = tree[at_ % 2 == 0 ? at_ - 1 : at_ + 1];
            at_ = (at_ - 1) / 2;
        }
    }

    function _sorted(bytes32[] memory values) private pure returns (bytes32[] memory sorted) {
        sorted = new bytes32[](values.length);
        for (uint256 i = 0; i < values.length; ++i) {
            uint256 j = i;
            for (; j > 0 && sorted[j - 1] > values[i]; --j) {
                sorted[j] = sorted[j - 1];
            }
            sorted[j] = values[i];
        }
    }
}
