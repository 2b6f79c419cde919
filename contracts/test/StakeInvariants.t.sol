// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {StakeHandler} from "./support/StakeHandler.sol";
import {StakeTest} from "./support/StakeTest.sol";
import {VM} from "./support/Vm.sol";

/// What holds after any sequence of stakes, withdrawals, incidents, appeals and decisions.
contract StakeInvariantsTest is StakeTest {
    StakeHandler private _handler;

    function setUp() public override {
        super.setUp();
        _handler = new StakeHandler(stakes, token, SLASHER, ARBITER);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_stake_adds_up_to_the_base_unit() public view {
        uint256 bonded = 0;
        for (uint256 i = 0; i < _handler.PROVIDERS(); ++i) {
            bonded += _bonded(_handler.provider(i));
        }
        VM.assertEq(bonded, stakes.totalBonded(), "the parts do not sum to the whole");
        uint256 held = token.balanceOf(address(stakes));
        VM.assertEq(held, bonded + stakes.proceeds(), "the contract holds another amount than its books say");
        uint256 treasury_ = token.balanceOf(address(treasury));
        VM.assertEq(stakes.proceeds() + treasury_, _handler.executed(), "slashed stake went elsewhere");
        VM.assertEq(_handler.stakedIn(), bonded + _handler.withdrawn() + _handler.executed(), "stake vanished");
    }

    function invariant_open_slashes_are_held_and_covered() public view {
        for (uint256 i = 0; i < _handler.PROVIDERS(); ++i) {
            address provider = _handler.provider(i);
            VM.assertEq(_locked(provider), _handler.openSlashes(provider), "another amount is held than is open");
            VM.assertLe(_locked(provider), _bonded(provider), "more is held than is there");
            VM.assertLe(_leaving(provider), _bonded(provider), "more is leaving than is there");
        }
    }
}
