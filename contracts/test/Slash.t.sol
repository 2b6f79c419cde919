// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {ProviderStake as S} from "../src/ProviderStake.sol";
import {StakeTest} from "./support/StakeTest.sol";
import {VM, bound} from "./support/Vm.sol";

/// What an incident takes, who can stop it, and how much all of them may take.
contract SlashTest is StakeTest {
    function setUp() public override {
        super.setUp();
        _stake(ADA, 1_000);
    }

    function test_a_slash_nobody_appeals_happens_after_72_hours_by_anyones_hand() public {
        uint64 appealUntil = uint64(block.timestamp) + 72 hours;
        VM.expectEmit(address(stakes));
        emit S.SlashProposed(bytes32(uint256(1)), ADA, 200, EVIDENCE, appealUntil);
        _slash(1, ADA, 200);
        VM.warp(appealUntil - 1);
        VM.expectRevert(abi.encodeWithSelector(S.TooEarly.selector, appealUntil));
        _execute(1);
        VM.warp(appealUntil);
        _execute(1);
        VM.assertEq(_bonded(ADA), 800);
        VM.assertEq(_locked(ADA), 0);
        VM.assertEq(stakes.totalBonded(), 800);
        VM.expectRevert(abi.encodeWithSelector(S.WrongStage.selector, S.Stage.Executed));
        _execute(1);
    }

    function test_proceeds_go_to_the_treasury_and_nowhere_else() public {
        _slash(1, ADA, 200);
        _later(72 hours);
        token.setBlocked(address(treasury), true);
        _execute(1); // the slash does not wait for the treasury
        token.setBlocked(address(treasury), false);
        VM.expectEmit(address(stakes));
        emit S.ProceedsCollected(200);
        VM.prank(ANYONE);
        stakes.collectProceeds();
        VM.assertEq(token.balanceOf(address(treasury)), 200);
        VM.assertEq(stakes.proceeds(), 0);
    }

    function test_an_id_works_once() public {
        _slash(1, ADA, 100);
        VM.expectRevert(abi.encodeWithSelector(S.SlashExists.selector, bytes32(uint256(1))));
        _slash(1, ADA, 100);
    }

    function test_only_the_provider_appeals_and_only_in_time() public {
        _slash(1, ADA, 100);
        VM.expectRevert(abi.encodeWithSelector(S.NotTheProvider.selector, ADA));
        _appeal(1, BOB);
        uint64 until = uint64(block.timestamp) + 72 hours;
        VM.warp(until);
        VM.expectRevert(abi.encodeWithSelector(S.TooLate.selector, until));
        _appeal(1, ADA);
        VM.expectRevert(abi.encodeWithSelector(S.WrongStage.selector, S.Stage.None));
        _appeal(2, ADA);
    }

    function test_an_appealed_slash_waits_for_the_arbiter() public {
        _slash(1, ADA, 200);
        VM.expectEmit(address(stakes));
        emit S.SlashAppealed(bytes32(uint256(1)), uint64(block.timestamp) + 14 days);
        _appeal(1, ADA);
        _later(10 days);
        VM.expectRevert(abi.encodeWithSelector(S.WrongStage.selector, S.Stage.Appealed));
        _execute(1);
        VM.prank(ARBITER);
        stakes.uphold(bytes32(uint256(1)));
        _execute(1);
        VM.assertEq(_bonded(ADA), 800);
    }

    function test_an_overturned_slash_takes_nothing_and_frees_its_share_of_the_caps() public {
        _slash(1, ADA, 200);
        _slash(2, ADA, 200);
        _appeal(1, ADA);
        VM.expectEmit(address(stakes));
        emit S.SlashOverturned(bytes32(uint256(1)), ARBITER);
        _overturn(1, ARBITER);
        VM.assertEq(_locked(ADA), 200);
        VM.assertEq(stakes.stakeOf(ADA), 800);
        _slash(3, ADA, 200);
        _slash(4, ADA, 100); // 500 in all without the first
        VM.expectRevert(abi.encodeWithSelector(S.WrongStage.selector, S.Stage.Overturned));
        _execute(1);
    }

    function test_the_arbiter_overturns_also_what_nobody_appealed_and_what_it_upheld() public {
        _slash(1, ADA, 100);
        _later(5 days);
        _overturn(1, ARBITER);
        _slash(2, ADA, 100);
        _appeal(2, ADA);
        VM.prank(ARBITER);
        stakes.uphold(bytes32(uint256(2)));
        _overturn(2, ARBITER);
        VM.assertEq(_locked(ADA), 0);
        VM.assertEq(_bonded(ADA), 1_000);
    }

    function test_an_executed_slash_cannot_be_overturned() public {
        _slash(1, ADA, 100);
        _later(72 hours);
        _execute(1);
        VM.expectRevert(abi.encodeWithSelector(S.WrongStage.selector, S.Stage.Executed));
        _overturn(1, ARBITER);
    }

    function test_an_arbiter_that_stays_silent_has_decided_for_the_provider() public {
        _slash(1, ADA, 200);
        _appeal(1, ADA);
        uint64 decideBy = uint64(block.timestamp) + 14 days;
        VM.warp(decideBy);
        VM.prank(ARBITER);
        VM.expectRevert(abi.encodeWithSelector(S.TooLate.selector, decideBy));
        stakes.uphold(bytes32(uint256(1)));
        _overturn(1, ANYONE);
        VM.assertEq(stakes.stakeOf(ADA), 1_000);
    }

    function test_a_slash_is_not_kept_in_a_drawer() public {
        _slash(1, ADA, 200);
        uint64 lapsesAt = uint64(block.timestamp) + 72 hours + 7 days;
        VM.warp(lapsesAt);
        VM.expectRevert(abi.encodeWithSelector(S.TooLate.selector, lapsesAt));
        _execute(1);
        _overturn(1, ANYONE);
        VM.assertEq(_locked(ADA), 0);
    }

    function test_asking_the_stake_back_is_no_way_around_a_slash() public {
        _unstake(ADA, 1_000);
        _later(20 days);
        _slash(1, ADA, 200);
        _later(1 days); // the wait is over, the slash is open
        VM.assertEq(_withdraw(ADA), 800);
        VM.expectRevert(S.NothingToWithdraw.selector);
        _withdraw(ADA);
        _later(2 days);
        _execute(1);
        VM.assertEq(_bonded(ADA), 0);
        VM.assertEq(_leaving(ADA), 0);
        VM.assertEq(token.balanceOf(ADA), 800);
    }

    function test_what_is_leaving_is_slashed_first() public {
        _unstake(ADA, 150);
        _slash(1, ADA, 200);
        _later(72 hours);
        _execute(1);
        VM.assertEq(_leaving(ADA), 0);
        VM.assertEq(stakes.stakeOf(ADA), 800);
    }

    function test_one_incident_takes_at_most_its_share() public {
        VM.expectRevert(abi.encodeWithSelector(S.AboveCap.selector, 201, 1_000, INCIDENT_BPS));
        _slash(1, ADA, 201);
        _slash(1, ADA, 200);
    }

    function test_a_share_is_never_rounded_up() public {
        _stake(BOB, 9);
        VM.expectPartialRevert(S.AboveCap.selector);
        _slash(1, BOB, 2); // 20 % of 9 is 1.8
        _slash(1, BOB, 1);
    }

    function test_all_incidents_of_30_days_take_at_most_their_share() public {
        _slash(1, ADA, 200);
        _later(3 days);
        _execute(1); // 800 are left, of 1000 in this window
        _slash(2, ADA, 160);
        _slash(3, ADA, 140);
        VM.expectRevert(abi.encodeWithSelector(S.AboveCap.selector, 501, 1_000, WINDOW_BPS));
        _slash(4, ADA, 1);
        _later(27 days - 1);
        VM.expectPartialRevert(S.AboveCap.selector);
        _slash(4, ADA, 1); // a second too early
        _later(1); // the first incident is 30 days old; the others hold 300 of 800
        _slash(4, ADA, 100);
        VM.expectRevert(abi.encodeWithSelector(S.AboveCap.selector, 401, 800, WINDOW_BPS));
        _slash(5, ADA, 1);
    }

    function test_without_stake_nothing_can_be_slashed() public {
        VM.expectRevert(abi.encodeWithSelector(S.AboveCap.selector, 1, 0, INCIDENT_BPS));
        _slash(1, BOB, 1);
    }

    function test_open_slashes_never_exceed_what_is_there() public {
        VM.prank(address(timelock));
        stakes.setCaps(10_000, 10_000);
        _slash(1, ADA, 600);
        _later(29 days); // neither executed nor overturned, and still open
        _later(1 days);
        VM.expectRevert(abi.encodeWithSelector(S.NotStaked.selector, 400));
        _slash(2, ADA, 401);
        _slash(2, ADA, 400);
    }

    function test_sixteen_incidents_in_30_days_are_the_most() public {
        for (uint256 i = 0; i < 16; ++i) {
            _slash(i, ADA, 1);
        }
        VM.expectRevert(S.TooManyIncidents.selector);
        _slash(16, ADA, 1);
        _later(30 days);
        _slash(16, ADA, 1);
    }

    function test_an_old_incident_does_not_give_back_a_newer_ones_share() public {
        for (uint256 i = 0; i < 16; ++i) {
            _slash(i, ADA, 1);
        }
        _later(30 days);
        for (uint256 i = 16; i < 19; ++i) {
            _slash(i, ADA, 166); // the first takes the place of incident 0
        }
        _overturn(0, ANYONE); // lapsed long ago
        VM.expectRevert(abi.encodeWithSelector(S.AboveCap.selector, 3 * 166 + 3, 1_000, WINDOW_BPS));
        _slash(19, ADA, 3);
    }

    function test_a_change_of_caps_does_not_reach_open_slashes() public {
        _slash(1, ADA, 200);
        VM.prank(address(timelock));
        stakes.setCaps(0, 0);
        _later(72 hours);
        _execute(1);
        VM.assertEq(_bonded(ADA), 800);
        VM.expectPartialRevert(S.AboveCap.selector);
        _slash(2, ADA, 1);
    }

    function testFuzz_30_days_of_any_incidents_take_at_most_half(uint256 seed) public {
        uint256 taken = 0;
        for (uint256 id = 0; id < 12; ++id) {
            seed = uint256(keccak256(abi.encode(seed)));
            VM.prank(SLASHER);
            try stakes.proposeSlash(bytes32(id), ADA, bound(seed, 1, 250), EVIDENCE) {
                taken += bound(seed, 1, 250);
            } catch {}
            if (seed % 2 == 0) _later(12 hours);
            if (seed % 3 == 0 && id > 2) {
                try stakes.executeSlash(bytes32(id - 3)) {} catch {}
            }
        }
        VM.assertLe(taken, 500, "more than half of the stake");
    }

    function _overturn(uint256 id, address by) private {
        VM.prank(by);
        stakes.overturn(bytes32(id));
    }
}
