// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {PayoutDistributor as D} from "../src/PayoutDistributor.sol";
import {DistributorTest} from "./support/DistributorTest.sol";
import {Tree} from "./support/Tree.sol";
import {VM, bound} from "./support/Vm.sol";
import {FalseToken} from "./tokens/OddTokens.sol";
import {TestToken} from "./tokens/TestToken.sol";

/// Who is paid what, once, and what a wrong tree or an odd payee can do.
contract ClaimsTest is DistributorTest {
    function test_anyone_can_have_a_provider_paid_and_only_its_payee_receives() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        VM.expectEmit(address(distributor));
        emit D.Claimed(ADA, ADA_PAYEE, 1, 10, 10);
        _claim(ADA, ADA_PAYEE, 10, leaves);
        VM.assertEq(token.balanceOf(ADA_PAYEE), 10);
        VM.assertEq(token.balanceOf(ANYONE), 0);
        VM.assertEq(distributor.claimed(ADA), 10);
        VM.assertEq(distributor.totalClaimed(), 10);
    }

    function test_a_leaf_is_paid_once() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        _claim(ADA, ADA_PAYEE, 10, leaves);
        (bytes32 root, bytes32[] memory proof) = _proof(ADA, ADA_PAYEE, 10, leaves);
        VM.expectRevert(abi.encodeWithSelector(D.NothingToClaim.selector, ADA, 10));
        distributor.claim(ADA, ADA_PAYEE, 10, root, proof);
    }

    function test_missed_epochs_are_paid_with_the_next_claim() public {
        _epoch(10, 20, 30);
        _epoch(15, 20, 30);
        bytes32[] memory leaves = _epoch(40, 20, 30);
        _claim(ADA, ADA_PAYEE, 40, leaves);
        VM.assertEq(token.balanceOf(ADA_PAYEE), 40);
    }

    function test_the_order_of_claims_changes_nothing() public {
        bytes32[] memory first = _epoch(10, 20, 30);
        _claim(CID, CID_PAYEE, 30, first);
        _claim(ADA, ADA_PAYEE, 10, first);
        bytes32[] memory second = _epoch(11, 22, 33);
        _claim(BOB, BOB_PAYEE, 22, second);
        _claim(CID, CID_PAYEE, 33, second);
        _claim(ADA, ADA_PAYEE, 11, second);
        VM.assertEq(token.balanceOf(address(distributor)), 0);
        VM.assertEq(distributor.totalClaimed(), 66);
    }

    function test_a_moved_root_is_its_own_error() public {
        bytes32[] memory stale = _epoch(10, 20, 30);
        (bytes32 root, bytes32[] memory proof) = _proof(ADA, ADA_PAYEE, 10, stale);
        D.Claim[] memory claims = _batch(10, 20, 30, stale);
        bytes32[] memory current = _epoch(11, 20, 30);
        bytes memory moved = abi.encodeWithSelector(D.RootMoved.selector, root, Tree.root(current));
        VM.expectRevert(moved);
        distributor.claim(ADA, ADA_PAYEE, 10, root, proof);
        VM.expectRevert(moved);
        distributor.claimMany(claims, root);
    }

    function test_the_payee_is_part_of_the_leaf() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        (bytes32 root, bytes32[] memory proof) = _proof(ADA, ADA_PAYEE, 10, leaves);
        VM.expectRevert(D.InvalidProof.selector);
        distributor.claim(ADA, ANYONE, 10, root, proof);
        VM.expectRevert(D.InvalidProof.selector);
        distributor.claim(BOB, ADA_PAYEE, 10, root, proof);
        VM.expectRevert(D.InvalidProof.selector);
        distributor.claim(ADA, ADA_PAYEE, 11, root, proof);
    }

    function test_a_new_payee_comes_with_the_next_tree() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        _claim(ADA, ADA_PAYEE, 10, leaves);
        address moved = address(0xADA2);
        _fund(5);
        leaves[0] = distributor.leafOf(ADA, moved, 15);
        _propose(2, leaves, 65);
        _activate();
        _claim(ADA, moved, 15, leaves);
        VM.assertEq(token.balanceOf(moved), 5);
        VM.assertEq(token.balanceOf(ADA_PAYEE), 10);
    }

    function test_a_proof_works_on_its_own_instance_only() public {
        Claimable memory old = _claimable();
        distributor = _deploy(0);
        _fund(60);
        _propose(1, old.leaves, 60);
        _activate(); // the same root, even
        VM.expectRevert(D.InvalidProof.selector);
        distributor.claim(ADA, ADA_PAYEE, 10, old.root, old.proof);
    }

    function test_a_proof_works_on_its_own_chain_only() public {
        Claimable memory old = _claimable();
        VM.chainId(block.chainid + 1);
        VM.expectRevert(D.InvalidProof.selector);
        distributor.claim(ADA, ADA_PAYEE, 10, old.root, old.proof);
    }

    function test_a_node_of_the_tree_does_not_pass_for_a_leaf() public view {
        // An inner node is the hash of 64 bytes; a leaf is a hash of a hash of 160. Only an equal double hash would do.
        bytes32[] memory leaves = _three(10, 20, 30);
        bytes32[] memory tree = Tree.build(leaves);
        for (uint256 i = 0; i < 2; ++i) {
            VM.assertTrue(tree[i] != leaves[0] && tree[i] != leaves[1] && tree[i] != leaves[2], "a node is a leaf");
        }
        bytes32 inner = keccak256(abi.encode(block.chainid, address(distributor), ADA, ADA_PAYEE, uint256(10)));
        VM.assertEq(leaves[0], keccak256(abi.encodePacked(inner)));
    }

    function test_a_batch_pays_all_and_skips_what_was_paid() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        _claim(BOB, BOB_PAYEE, 20, leaves);
        D.Claim[] memory claims = _batch(10, 20, 30, leaves);
        VM.expectEmit(address(distributor));
        emit D.ClaimFailed(BOB, BOB_PAYEE, D.NothingToClaim.selector);
        VM.assertEq(distributor.claimMany(claims, Tree.root(leaves)), 2);
        VM.assertEq(distributor.totalClaimed(), 60);
        VM.assertEq(token.balanceOf(BOB_PAYEE), 20);
    }

    function test_one_blocked_payee_stops_nobody_and_is_paid_later() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        token.setBlocked(BOB_PAYEE, true);
        D.Claim[] memory claims = _batch(10, 20, 30, leaves);
        VM.expectEmit(address(distributor));
        emit D.ClaimFailed(BOB, BOB_PAYEE, TestToken.Blocked.selector);
        VM.assertEq(distributor.claimMany(claims, Tree.root(leaves)), 2);
        VM.assertEq(token.balanceOf(ADA_PAYEE), 10);
        VM.assertEq(token.balanceOf(CID_PAYEE), 30);
        VM.assertEq(distributor.claimed(BOB), 0);

        token.setBlocked(BOB_PAYEE, false);
        _claim(BOB, BOB_PAYEE, 20, leaves);
        VM.assertEq(token.balanceOf(BOB_PAYEE), 20);
    }

    function test_one_bad_proof_stops_nobody() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        D.Claim[] memory claims = _batch(10, 20, 30, leaves);
        claims[1].cumulative = 21;
        VM.assertEq(distributor.claimMany(claims, Tree.root(leaves)), 2);
        VM.assertEq(distributor.claimed(BOB), 0);
    }

    function test_the_same_leaf_twice_in_a_batch_is_paid_once() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        D.Claim[] memory claims = _batch(10, 20, 30, leaves);
        claims[1] = claims[0];
        VM.assertEq(distributor.claimMany(claims, Tree.root(leaves)), 2);
        VM.assertEq(token.balanceOf(ADA_PAYEE), 10);
    }

    function test_a_token_that_says_no_by_returning_false_pays_nothing() public {
        token = new FalseToken();
        distributor = _deploy(0);
        bytes32[] memory leaves = _epoch(10, 20, 30);
        token.setBlocked(BOB_PAYEE, true);
        (bytes32 root, bytes32[] memory proof) = _proof(BOB, BOB_PAYEE, 20, leaves);
        VM.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        distributor.claim(BOB, BOB_PAYEE, 20, root, proof);
        VM.assertEq(distributor.claimMany(_batch(10, 20, 30, leaves), root), 2);
        VM.assertEq(distributor.totalClaimed(), 40);
    }

    function test_a_batch_has_a_length_it_cannot_exceed() public {
        D.Claim[] memory claims = new D.Claim[](distributor.MAX_BATCH() + 1);
        VM.expectRevert(abi.encodeWithSelector(D.BatchTooLong.selector, claims.length));
        distributor.claimMany(claims, bytes32(0));
    }

    function test_too_little_gas_undoes_a_batch_instead_of_failing_good_claims() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        D.Claim[] memory claims = _batch(10, 20, 30, leaves);
        bytes32 root = Tree.root(leaves);
        uint256 gas = distributor.CLAIM_GAS() + 50_000; // enough for the first
        VM.expectRevert(D.GasTooLow.selector);
        distributor.claimMany{gas: gas}(claims, root);
        VM.assertEq(distributor.totalClaimed(), 0);
    }

    function test_only_a_batch_makes_the_inner_call() public {
        VM.expectRevert(D.OnlySelf.selector);
        distributor.claimInBatch(ADA, ADA_PAYEE, 10, new bytes32[](0));
    }

    function test_before_the_first_epoch_nothing_can_be_claimed() public {
        VM.expectRevert(D.InvalidProof.selector);
        distributor.claim(ADA, ADA_PAYEE, 10, bytes32(0), new bytes32[](0));
    }

    function test_a_wrong_tree_nobody_vetoes_takes_at_most_one_cap_and_what_is_unclaimed() public {
        _epoch(10, 20, 30); // unclaimed
        _fund(2 * CAP);
        uint256 loot = 5 * CAP;
        bytes32[] memory leaves = _three(loot, 0, 0);
        leaves[1] = distributor.leafOf(BOB, ANYONE, 60 + CAP);
        _propose(2, leaves, 60 + CAP); // the leaves sum to more than the total
        _activate();

        (bytes32 root, bytes32[] memory proof) = _proof(ADA, ADA_PAYEE, loot, leaves);
        VM.expectRevert(abi.encodeWithSelector(D.AboveTotal.selector, loot, 60 + CAP));
        distributor.claim(ADA, ADA_PAYEE, loot, root, proof);
        _claim(BOB, ANYONE, 60 + CAP, leaves);
        VM.assertEq(token.balanceOf(ANYONE), CAP + 60);
        VM.assertEq(token.balanceOf(address(distributor)), CAP);
    }

    function testFuzz_each_provider_receives_exactly_its_last_leaf(uint96[3] memory first, uint96[3] memory more)
        public
    {
        uint256[3] memory leaf;
        for (uint256 i = 0; i < 3; ++i) {
            leaf[i] = bound(first[i], 1, CAP / 3);
        }
        bytes32[] memory leaves = _epoch(leaf[0], leaf[1], leaf[2]);
        _claim(ADA, ADA_PAYEE, leaf[0], leaves);
        for (uint256 i = 0; i < 3; ++i) {
            leaf[i] += bound(more[i], 1, CAP / 3);
        }
        leaves = _epoch(leaf[0], leaf[1], leaf[2]);
        VM.assertEq(distributor.claimMany(_batch(leaf[0], leaf[1], leaf[2], leaves), Tree.root(leaves)), 3);
        VM.assertEq(token.balanceOf(ADA_PAYEE), leaf[0]);
        VM.assertEq(token.balanceOf(BOB_PAYEE), leaf[1]);
        VM.assertEq(token.balanceOf(CID_PAYEE), leaf[2]);
        VM.assertEq(token.balanceOf(address(distributor)), 0);
    }

    function testFuzz_no_other_leaf_passes(bytes16 provider, address payee, uint256 cumulative) public {
        bool known = provider == ADA && payee == ADA_PAYEE && cumulative == 10;
        VM.assume(!known);
        bytes32[] memory leaves = _epoch(10, 20, 30);
        (bytes32 root, bytes32[] memory proof) = _proof(ADA, ADA_PAYEE, 10, leaves);
        VM.expectRevert(D.InvalidProof.selector);
        distributor.claim(provider, payee, cumulative, root, proof);
    }

    struct Claimable {
        bytes32[] leaves;
        bytes32 root;
        bytes32[] proof;
    }

    /// Ada's ten, claimable on the distributor at hand.
    function _claimable() private returns (Claimable memory old) {
        old.leaves = _epoch(10, 20, 30);
        (old.root, old.proof) = _proof(ADA, ADA_PAYEE, 10, old.leaves);
    }
}
