// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Intake} from "../src/Intake.sol";
import {PayoutDistributor as D} from "../src/PayoutDistributor.sol";
import {DistributorTest} from "./support/DistributorTest.sol";
import {Tree} from "./support/Tree.sol";
import {VM, bound} from "./support/Vm.sol";
import {FeeToken} from "./tokens/OddTokens.sol";

/// How a tree becomes active: funded, proposed, waited for, or vetoed.
contract EpochsTest is DistributorTest {
    bytes32 private constant ROOT = keccak256("root");

    function test_a_proposal_becomes_active_after_its_delay_by_anyones_hand() public {
        _fund(60);
        VM.expectEmit(address(distributor));
        emit D.Proposed(1, ROOT, 60, MANIFEST, URI, uint64(block.timestamp) + DELAY);
        _proposeRoot(1, 60);
        VM.warp(block.timestamp + DELAY);
        VM.expectEmit(address(distributor));
        emit D.Activated(1, ROOT, 60, MANIFEST);
        VM.prank(ANYONE);
        distributor.activate();

        VM.assertEq(distributor.epoch(), 1);
        VM.assertEq(distributor.root(), ROOT);
        VM.assertEq(distributor.total(), 60);
        (bytes32 root, bytes32 manifest) = distributor.commitments(1);
        VM.assertEq(root, ROOT);
        VM.assertEq(manifest, MANIFEST);
        (,,, uint64 pending,) = distributor.pending();
        VM.assertEq(pending, 0);
    }

    function test_a_proposal_is_not_active_a_second_before_its_delay() public {
        _fund(60);
        _proposeRoot(1, 60);
        uint64 activatableAt = uint64(block.timestamp) + DELAY;
        VM.warp(activatableAt - 1);
        VM.expectRevert(abi.encodeWithSelector(D.TooEarly.selector, activatableAt));
        distributor.activate();
    }

    function test_a_repeated_proposal_is_harmless() public {
        _fund(60);
        _proposeRoot(1, 60);
        VM.expectRevert(abi.encodeWithSelector(D.ProposalPending.selector, 1));
        _proposeRoot(1, 60);
        _activate();
        VM.expectRevert(abi.encodeWithSelector(D.WrongEpoch.selector, 2, 1));
        _proposeRoot(1, 60);
    }

    function test_an_epoch_cannot_be_skipped() public {
        VM.expectRevert(abi.encodeWithSelector(D.WrongEpoch.selector, 1, 2));
        _proposeRoot(2, 0);
    }

    function test_nothing_can_be_activated_or_vetoed_when_nothing_waits() public {
        VM.expectRevert(D.NothingPending.selector);
        distributor.activate();
        VM.prank(GUARDIAN);
        VM.expectRevert(D.NothingPending.selector);
        distributor.veto();
    }

    function test_a_zero_root_is_refused() public {
        VM.prank(PROPOSER);
        VM.expectRevert(D.ZeroRoot.selector);
        distributor.propose(1, bytes32(0), 0, MANIFEST, URI);
    }

    function test_a_total_never_falls() public {
        _epoch(10, 20, 30);
        VM.expectRevert(abi.encodeWithSelector(D.TotalFell.selector, 60, 59));
        _proposeRoot(2, 59);
    }

    function test_an_underfunded_tree_is_refused() public {
        _fund(59);
        VM.expectRevert(abi.encodeWithSelector(D.Underfunded.selector, 60, 59));
        _proposeRoot(1, 60);
    }

    function test_what_was_paid_still_counts_as_funded() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        _claim(CID, CID_PAYEE, 30, leaves);
        _proposeRoot(2, 60);
        VM.prank(GUARDIAN);
        distributor.veto();
        VM.expectRevert(abi.encodeWithSelector(D.Underfunded.selector, 61, 60));
        _proposeRoot(2, 61);
    }

    function test_an_epoch_above_the_cap_is_refused() public {
        _fund(CAP + 1);
        VM.expectRevert(abi.encodeWithSelector(D.AboveEpochCap.selector, CAP + 1, CAP));
        _proposeRoot(1, CAP + 1);
        _proposeRoot(1, CAP);
    }

    function test_an_honest_epoch_above_the_cap_waits_for_the_timelock() public {
        _fund(CAP + 1);
        _govern(address(distributor), abi.encodeCall(D.setEpochCap, (CAP + 1)));
        _proposeRoot(1, CAP + 1);
    }

    function test_the_cap_is_on_the_increase_not_on_the_total() public {
        _epoch(CAP, 0, 0);
        _epoch(CAP, CAP, 0);
        VM.assertEq(distributor.total(), 2 * CAP);
    }

    function test_a_veto_leaves_the_last_tree_claimable_and_its_epoch_free() public {
        bytes32[] memory good = _epoch(10, 20, 30);
        _fund(100);
        bytes32[] memory bad = _three(110, 20, 30);
        _propose(2, bad, 160);
        VM.warp(block.timestamp + DELAY); // activatable, and still vetoable
        VM.expectEmit(address(distributor));
        emit D.Vetoed(2, Tree.root(bad), GUARDIAN);
        VM.prank(GUARDIAN);
        distributor.veto();

        _claim(ADA, ADA_PAYEE, 10, good);
        VM.assertEq(token.balanceOf(ADA_PAYEE), 10);
        _epoch(11, 20, 30);
        VM.assertEq(distributor.epoch(), 2);
    }

    function test_a_paused_contract_pays_and_activates_nothing_but_can_be_vetoed() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        _proposeRoot(2, 60);
        VM.warp(block.timestamp + DELAY);
        VM.prank(GUARDIAN);
        distributor.pause();

        VM.expectRevert(Pausable.EnforcedPause.selector);
        distributor.activate();
        (bytes32 root, bytes32[] memory proof) = _proof(ADA, ADA_PAYEE, 10, leaves);
        VM.expectRevert(Pausable.EnforcedPause.selector);
        distributor.claim(ADA, ADA_PAYEE, 10, root, proof);
        D.Claim[] memory claims = _batch(10, 20, 30, leaves);
        VM.expectRevert(Pausable.EnforcedPause.selector);
        distributor.claimMany(claims, root);
        VM.prank(GUARDIAN);
        distributor.veto();
        VM.expectRevert(Pausable.EnforcedPause.selector);
        _proposeRoot(2, 60);
    }

    function test_only_the_timelock_unpauses() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        VM.startPrank(GUARDIAN);
        distributor.pause();
        VM.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
        distributor.unpause();
        VM.stopPrank();
        _govern(address(distributor), abi.encodeCall(D.unpause, ()));
        _claim(ADA, ADA_PAYEE, 10, leaves);
    }

    function test_a_change_of_delay_does_not_reach_the_tree_that_waits() public {
        _fund(60);
        _proposeRoot(1, 60);
        uint64 activatableAt = uint64(block.timestamp) + DELAY;
        VM.prank(address(timelock));
        distributor.setActivationDelay(14 days);
        VM.warp(activatableAt);
        distributor.activate();
    }

    function test_a_token_that_takes_a_fee_is_refused() public {
        token = new FeeToken();
        distributor = _deploy(0);
        token.mint(address(this), 100);
        token.approve(address(distributor), 100);
        VM.expectRevert(abi.encodeWithSelector(Intake.ReceivedOtherThanSent.selector, 100, 99));
        distributor.fund(100);
    }

    function test_no_more_than_two_epochs_of_money_are_held_beyond_what_is_owed() public {
        _fund(2 * CAP);
        token.mint(address(this), CAP);
        token.approve(address(distributor), CAP);
        VM.expectRevert(abi.encodeWithSelector(D.HeldTooMuch.selector, 2 * CAP + 1, 2 * CAP));
        distributor.fund(1);
        _epoch(CAP, 0, 0); // owed from now on, claimed or not
        distributor.fund(CAP);
    }

    function testFuzz_a_proposal_within_cap_and_funds_passes_and_any_other_fails(uint256 total, uint256 funds) public {
        funds = bound(funds, 0, 2 * CAP);
        total = bound(total, 0, 3 * CAP);
        _fund(funds);
        if (total > CAP) VM.expectPartialRevert(D.AboveEpochCap.selector);
        else if (total > funds) VM.expectPartialRevert(D.Underfunded.selector);
        _proposeRoot(1, total);
    }

    function _proposeRoot(uint64 epoch, uint256 total) private {
        VM.prank(PROPOSER);
        distributor.propose(epoch, ROOT, total, MANIFEST, URI);
    }
}
