// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Intake} from "../src/Intake.sol";
import {ProviderStake as S} from "../src/ProviderStake.sol";
import {Timelocked} from "../src/Timelocked.sol";
import {StakeTest} from "./support/StakeTest.sol";
import {VM, bound} from "./support/Vm.sol";
import {FeeToken} from "./tokens/OddTokens.sol";

/// How stake comes and goes, and who may set the rules.
contract ProviderStakeTest is StakeTest {
    function test_a_stake_counts_at_once() public {
        token.mint(ADA, 100);
        VM.startPrank(ADA);
        token.approve(address(stakes), 100);
        VM.expectEmit(address(stakes));
        emit S.Staked(ADA, 100);
        stakes.stake(100);
        VM.assertEq(stakes.stakeOf(ADA), 100);
        VM.assertEq(stakes.totalBonded(), 100);
    }

    function test_what_is_leaving_counts_no_more_and_leaves_after_21_days() public {
        _stake(ADA, 100);
        uint64 withdrawableAt = uint64(block.timestamp) + 21 days;
        VM.expectEmit(address(stakes));
        emit S.UnstakeRequested(ADA, 40, withdrawableAt);
        _unstake(ADA, 40);
        VM.assertEq(stakes.stakeOf(ADA), 60);
        VM.warp(withdrawableAt - 1);
        VM.expectRevert(abi.encodeWithSelector(S.TooEarly.selector, withdrawableAt));
        _withdraw(ADA);
        VM.warp(withdrawableAt);
        VM.assertEq(_withdraw(ADA), 40);
        VM.assertEq(token.balanceOf(ADA), 40);
        VM.assertEq(_bonded(ADA), 60);
    }

    function test_a_second_request_restarts_the_wait_of_all_that_is_leaving() public {
        _stake(ADA, 100);
        _unstake(ADA, 40);
        _later(20 days);
        _unstake(ADA, 10);
        _later(1 days);
        VM.expectPartialRevert(S.TooEarly.selector);
        _withdraw(ADA);
        _later(20 days);
        VM.assertEq(_withdraw(ADA), 50);
    }

    function test_no_more_can_be_asked_back_than_is_there() public {
        _stake(ADA, 100);
        _unstake(ADA, 40);
        VM.expectRevert(abi.encodeWithSelector(S.NotStaked.selector, 60));
        _unstake(ADA, 61);
    }

    function test_a_provider_cannot_withdraw_anothers_stake() public {
        _stake(ADA, 100);
        _unstake(ADA, 100);
        _later(21 days);
        VM.expectRevert(S.NothingToWithdraw.selector);
        _withdraw(BOB);
    }

    function test_a_wallet_the_token_refuses_can_withdraw_to_another() public {
        _stake(ADA, 100);
        _unstake(ADA, 100);
        _later(21 days);
        token.setBlocked(ADA, true);
        VM.prank(ADA);
        VM.expectRevert(Timelocked.ZeroAddress.selector);
        stakes.withdraw(address(0));
        VM.prank(ADA);
        stakes.withdraw(ANYONE);
        VM.assertEq(token.balanceOf(ANYONE), 100);
    }

    function test_nothing_is_not_an_amount() public {
        VM.expectRevert(S.ZeroAmount.selector);
        stakes.stake(0);
        VM.expectRevert(S.ZeroAmount.selector);
        stakes.requestUnstake(0);
        VM.expectRevert(S.ZeroAmount.selector);
        stakes.collectProceeds();
        VM.prank(SLASHER);
        VM.expectRevert(S.ZeroAmount.selector);
        stakes.proposeSlash(bytes32(0), ADA, 0, EVIDENCE);
    }

    function test_a_token_that_takes_a_fee_is_refused() public {
        token = new FeeToken();
        stakes = _deploy();
        token.mint(ADA, 100);
        VM.startPrank(ADA);
        token.approve(address(stakes), 100);
        VM.expectRevert(abi.encodeWithSelector(Intake.ReceivedOtherThanSent.selector, 100, 99));
        stakes.stake(100);
    }

    function test_only_the_slasher_proposes_only_the_arbiter_decides_only_the_timelock_sets_caps() public {
        _stake(ADA, 100);
        _refused();
        VM.prank(ARBITER);
        stakes.proposeSlash(bytes32(0), ADA, 1, EVIDENCE);
        _slash(1, ADA, 1);
        _refused();
        VM.prank(SLASHER);
        stakes.overturn(bytes32(uint256(1)));
        _appeal(1, ADA);
        _refused();
        VM.prank(SLASHER);
        stakes.uphold(bytes32(uint256(1)));
        address[3] memory others = [SLASHER, ARBITER, address(this)];
        for (uint256 i = 0; i < others.length; ++i) {
            VM.startPrank(others[i]);
            _refused();
            stakes.setCaps(10_000, 10_000);
            _refused();
            stakes.grantRole(keccak256("SLASHER_ROLE"), others[i]);
            VM.stopPrank();
        }
    }

    function test_caps_have_bounds() public {
        VM.startPrank(address(timelock));
        VM.expectRevert(S.CapsOutOfBounds.selector);
        stakes.setCaps(2_001, 2_000);
        VM.expectRevert(S.CapsOutOfBounds.selector);
        stakes.setCaps(2_000, 10_001);
        stakes.setCaps(10_000, 10_000);
        VM.assertEq(stakes.windowCapBps(), 10_000);
    }

    function test_a_contract_without_token_timelock_or_somebody_is_refused() public {
        VM.expectRevert(abi.encodeWithSelector(Intake.NotAToken.selector, ANYONE));
        new S(IERC20(ANYONE), timelock, treasury, SLASHER, ARBITER, 1, 1);
        VM.expectRevert();
        new S(token, timelock, TimelockController(payable(ANYONE)), SLASHER, ARBITER, 1, 1);
        VM.expectRevert(Timelocked.ZeroAddress.selector);
        new S(token, timelock, treasury, address(0), ARBITER, 1, 1);
        VM.expectRevert(Timelocked.ZeroAddress.selector);
        new S(token, timelock, treasury, SLASHER, address(0), 1, 1);
    }

    function testFuzz_what_was_staked_comes_back_whole(uint128 amount, uint128 part) public {
        amount = uint128(bound(amount, 2, type(uint128).max));
        part = uint128(bound(part, 1, amount - 1));
        _stake(ADA, amount);
        _unstake(ADA, part);
        _later(21 days);
        _withdraw(ADA);
        _unstake(ADA, amount - part);
        _later(21 days);
        _withdraw(ADA);
        VM.assertEq(token.balanceOf(ADA), amount);
        VM.assertEq(stakes.totalBonded(), 0);
    }

    function _refused() private {
        VM.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
    }
}
