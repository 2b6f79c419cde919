// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Intake} from "../src/Intake.sol";
import {PayoutDistributor as D} from "../src/PayoutDistributor.sol";
import {Timelocked} from "../src/Timelocked.sol";
import {DistributorTest} from "./support/DistributorTest.sol";
import {Tree} from "./support/Tree.sol";
import {VM} from "./support/Vm.sol";

/// Who may change what, how an instance begins from another, and how it ends.
contract GovernanceTest is DistributorTest {
    function test_the_deployer_gets_nothing() public {
        VM.assertTrue(!distributor.hasRole(distributor.DEFAULT_ADMIN_ROLE(), address(this)), "admin");
        VM.assertTrue(!distributor.hasRole(distributor.PROPOSER_ROLE(), address(this)), "proposer");
        VM.assertTrue(!distributor.hasRole(distributor.GUARDIAN_ROLE(), address(this)), "guardian");
        _refused();
        distributor.grantRole(bytes32(0), address(this));
    }

    function test_only_the_proposer_proposes_and_only_the_guardian_vetoes_and_pauses() public {
        _refused();
        VM.prank(GUARDIAN);
        distributor.propose(1, MANIFEST, 0, MANIFEST, URI);
        _refused();
        VM.prank(PROPOSER);
        distributor.veto();
        _refused();
        VM.prank(PROPOSER);
        distributor.pause();
    }

    function test_no_role_but_the_timelock_changes_anything() public {
        address[4] memory others = [PROPOSER, GUARDIAN, MULTISIG, address(this)];
        for (uint256 i = 0; i < others.length; ++i) {
            VM.startPrank(others[i]);
            _refused();
            distributor.setEpochCap(1);
            _refused();
            distributor.setActivationDelay(7 hours);
            _refused();
            distributor.unpause();
            _refused();
            distributor.retire();
            _refused();
            distributor.returnLeftovers(others[i]);
            _refused();
            distributor.seed(new D.Opening[](0));
            _refused();
            distributor.grantRole(keccak256("PROPOSER_ROLE"), others[i]);
            VM.stopPrank();
        }
    }

    function test_a_change_is_public_for_two_days() public {
        bytes memory call = abi.encodeCall(D.setEpochCap, (7));
        VM.startPrank(MULTISIG);
        VM.expectPartialRevert(TimelockController.TimelockInsufficientDelay.selector);
        timelock.schedule(address(distributor), 0, call, bytes32(0), bytes32(0), 48 hours - 1);
        timelock.schedule(address(distributor), 0, call, bytes32(0), bytes32(0), 48 hours);
        VM.warp(block.timestamp + 48 hours - 1);
        VM.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        timelock.execute(address(distributor), 0, call, bytes32(0), bytes32(0));
        VM.warp(block.timestamp + 1);
        timelock.execute(address(distributor), 0, call, bytes32(0), bytes32(0));
        VM.stopPrank();
        VM.assertEq(distributor.epochCap(), 7);
    }

    function test_a_stolen_proposer_key_is_replaced_by_the_timelock() public {
        bytes32 role = distributor.PROPOSER_ROLE();
        _govern(address(distributor), abi.encodeCall(IAccessControl.revokeRole, (role, PROPOSER)));
        _govern(address(distributor), abi.encodeCall(IAccessControl.grantRole, (role, ANYONE)));
        _refused();
        VM.prank(PROPOSER);
        distributor.propose(1, MANIFEST, 0, MANIFEST, URI);
        VM.prank(ANYONE);
        distributor.propose(1, MANIFEST, 0, MANIFEST, URI);
    }

    function test_a_timelock_shorter_than_two_days_is_refused() public {
        TimelockController hasty = _timelock(48 hours - 1);
        VM.expectRevert(abi.encodeWithSelector(Timelocked.TimelockTooShort.selector, 48 hours - 1));
        new D(token, hasty, PROPOSER, GUARDIAN, CAP, DELAY, 0);
    }

    function test_somebody_and_a_token_must_be_there_from_the_start() public {
        VM.expectRevert(Timelocked.ZeroAddress.selector);
        new D(token, timelock, address(0), GUARDIAN, CAP, DELAY, 0);
        VM.expectRevert(Timelocked.ZeroAddress.selector);
        new D(token, timelock, PROPOSER, address(0), CAP, DELAY, 0);
        VM.expectRevert(abi.encodeWithSelector(Intake.NotAToken.selector, ANYONE));
        new D(IERC20(ANYONE), timelock, PROPOSER, GUARDIAN, CAP, DELAY, 0);
    }

    function test_the_activation_delay_has_bounds() public {
        VM.startPrank(address(timelock));
        VM.expectRevert(abi.encodeWithSelector(D.DelayOutOfBounds.selector, 6 hours - 1));
        distributor.setActivationDelay(6 hours - 1);
        VM.expectRevert(abi.encodeWithSelector(D.DelayOutOfBounds.selector, 14 days + 1));
        distributor.setActivationDelay(14 days + 1);
        distributor.setActivationDelay(6 hours);
        VM.assertEq(distributor.activationDelay(), 6 hours);
    }

    function test_a_successor_goes_on_from_the_last_leaves_and_pays_nothing_twice() public {
        D old = distributor;
        bytes32[] memory last = _epoch(10, 20, 30);
        _claim(ADA, ADA_PAYEE, 10, last); // Bob and Cid are still owed theirs over there
        VM.prank(address(timelock));
        old.retire();

        distributor = _deploy(old.epoch());
        _seed(10, 20, 30);
        bytes32[] memory next = _epoch(12, 20, 33);
        VM.assertEq(distributor.epoch(), 2);
        VM.assertEq(distributor.claimMany(_batch(12, 20, 33, next), Tree.root(next)), 2); // Bob earned nothing new
        VM.assertEq(token.balanceOf(ADA_PAYEE), 12);
        VM.assertEq(token.balanceOf(BOB_PAYEE), 0);
        VM.assertEq(token.balanceOf(CID_PAYEE), 3);

        distributor = old;
        VM.assertEq(old.claimMany(_batch(10, 20, 30, last), Tree.root(last)), 2);
        VM.assertEq(token.balanceOf(BOB_PAYEE), 20);
        VM.assertEq(token.balanceOf(CID_PAYEE), 33);
    }

    function test_an_opening_is_given_once_and_before_the_first_proposal() public {
        _seed(10, 20, 30);
        VM.assertEq(distributor.total(), 60);
        VM.assertEq(distributor.totalClaimed(), 60);
        VM.prank(address(timelock));
        VM.expectRevert(abi.encodeWithSelector(D.AlreadySeeded.selector, ADA));
        distributor.seed(_openings(10, 20, 30));
        VM.prank(address(timelock));
        VM.expectRevert(abi.encodeWithSelector(D.BatchTooLong.selector, 257));
        distributor.seed(new D.Opening[](257));

        _propose(1, _three(10, 20, 30), 60);
        D.Opening[] memory none = new D.Opening[](0);
        VM.prank(address(timelock));
        VM.expectRevert(D.AlreadyStarted.selector);
        distributor.seed(none);
        _activate();
        VM.prank(address(timelock));
        VM.expectRevert(D.AlreadyStarted.selector);
        distributor.seed(none);
    }

    function test_a_retired_instance_takes_no_tree_and_no_money_but_pays() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        _propose(2, leaves, 60);
        VM.prank(address(timelock));
        distributor.retire();

        VM.expectRevert(D.NothingPending.selector);
        distributor.activate();
        VM.expectRevert(D.IsRetired.selector);
        distributor.fund(1);
        VM.prank(PROPOSER);
        VM.expectRevert(D.IsRetired.selector);
        distributor.propose(2, MANIFEST, 60, MANIFEST, URI);
        VM.prank(address(timelock));
        VM.expectRevert(D.IsRetired.selector);
        distributor.retire();
        VM.warp(block.timestamp + 364 days);
        _claim(ADA, ADA_PAYEE, 10, leaves);
    }

    function test_leftovers_return_by_the_timelock_a_year_after_retirement() public {
        bytes32[] memory leaves = _epoch(10, 20, 30);
        VM.startPrank(address(timelock));
        VM.expectRevert(D.NotRetired.selector);
        distributor.returnLeftovers(MULTISIG);
        distributor.retire();
        uint64 leftoversAt = uint64(block.timestamp) + 365 days;
        VM.warp(leftoversAt - 1);
        VM.expectRevert(abi.encodeWithSelector(D.TooEarly.selector, leftoversAt));
        distributor.returnLeftovers(MULTISIG);
        VM.stopPrank();
        _claim(ADA, ADA_PAYEE, 10, leaves);

        VM.warp(leftoversAt);
        VM.startPrank(address(timelock));
        VM.expectRevert(Timelocked.ZeroAddress.selector);
        distributor.returnLeftovers(address(0));
        VM.expectEmit(address(distributor));
        emit D.LeftoversReturned(MULTISIG, 50);
        distributor.returnLeftovers(MULTISIG);
        VM.assertEq(token.balanceOf(MULTISIG), 50);
    }

    function _seed(uint256 ada, uint256 bob, uint256 cid) private {
        VM.prank(address(timelock));
        distributor.seed(_openings(ada, bob, cid));
    }

    function _openings(uint256 ada, uint256 bob, uint256 cid) private pure returns (D.Opening[] memory openings) {
        openings = new D.Opening[](3);
        openings[0] = D.Opening(ADA, ada);
        openings[1] = D.Opening(BOB, bob);
        openings[2] = D.Opening(CID, cid);
    }

    function _refused() private {
        VM.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
    }
}
