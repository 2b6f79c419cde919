// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {DistributorTest} from "./support/DistributorTest.sol";
import {PayoutHandler} from "./support/PayoutHandler.sol";
import {PayoutDistributor} from "../src/PayoutDistributor.sol";
import {VM} from "./support/Vm.sol";

/// What holds after any sequence of honest and stolen proposals, vetoes, pauses, blocked payees and claims.
contract PayoutInvariantsTest is DistributorTest {
    PayoutHandler private _handler;

    function setUp() public override {
        super.setUp();
        _handler = new PayoutHandler(distributor, token, address(timelock), PROPOSER, GUARDIAN);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_what_is_paid_never_exceeds_what_was_funded() public view {
        uint256 paid = distributor.totalClaimed();
        VM.assertEq(paid, _handler.paid(), "the contract and its payees disagree");
        VM.assertEq(token.balanceOf(address(distributor)) + paid, _handler.funded(), "tokens appeared or vanished");
        VM.assertLe(paid, distributor.total(), "more is paid than is owed");
        VM.assertLe(distributor.total(), _handler.funded(), "more is owed than was funded");
    }

    function invariant_nobody_has_been_paid_more_than_a_leaf_of_theirs() public view {
        uint256 sum = 0;
        for (uint256 i = 0; i < _handler.PROVIDERS(); ++i) {
            bytes16 provider = _handler.provider(i);
            VM.assertLe(distributor.claimed(provider), _handler.highestLeaf(provider), "paid above the leaf");
            sum += distributor.claimed(provider);
        }
        VM.assertEq(sum, distributor.totalClaimed(), "the parts do not sum to the whole");
    }

    function invariant_no_epoch_adds_more_than_the_cap() public view {
        VM.assertLe(_handler.highestIncrease(), distributor.epochCap(), "an epoch above the cap");
    }

    /// Whatever waits, was vetoed or is paused, the tree activated last stays the one to claim from, to the last leaf.
    function invariant_a_veto_leaves_the_last_root_claimable() public {
        VM.assertEq(distributor.root(), _handler.root(), "the root moved without an activation");
        if (_handler.root() == bytes32(0) || _handler.wrong()) return;
        if (distributor.paused()) {
            VM.prank(address(timelock));
            distributor.unpause();
        }
        for (uint256 i = 0; i < _handler.PROVIDERS(); ++i) {
            PayoutDistributor.Claim memory one = _handler.entry(i);
            uint256 due = one.cumulative - _min(one.cumulative, distributor.claimed(one.provider));
            if (due == 0 || token.blocked(one.payee) || !_covered(due)) continue;
            distributor.claim(one.provider, one.payee, one.cumulative, _handler.root(), one.proof);
        }
    }

    /// After a wrong tree took its loot, honest leaves can sum to more than the total until the next epochs make it good.
    function _covered(uint256 due) private view returns (bool) {
        return !_handler.robbed() || distributor.totalClaimed() + due <= distributor.total();
    }

    function _min(uint256 left, uint256 right) private pure returns (uint256) {
        return left < right ? left : right;
    }
}
