// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {ProviderStake} from "../../src/ProviderStake.sol";
import {TestToken} from "../tokens/TestToken.sol";
import {VM, bound} from "./Vm.sol";

/// Providers, a slasher, an arbiter and bystanders around one stake contract, and a model of what went where.
contract StakeHandler {
    uint256 public constant PROVIDERS = 2;

    ProviderStake private immutable _stakes;
    TestToken private immutable _token;
    address private immutable _slasher;
    address private immutable _arbiter;

    uint256 public stakedIn;
    uint256 public withdrawn;
    uint256 public executed;
    bytes32[] private _ids;

    constructor(ProviderStake stakes, TestToken token, address slasher, address arbiter) {
        (_stakes, _token, _slasher, _arbiter) = (stakes, token, slasher, arbiter);
    }

    function stake(uint256 who, uint256 amount) external {
        address by = provider(who);
        amount = bound(amount, 1, 1e12);
        _token.mint(by, amount);
        VM.startPrank(by);
        _token.approve(address(_stakes), amount);
        _stakes.stake(amount);
        VM.stopPrank();
        stakedIn += amount;
    }

    function requestUnstake(uint256 who, uint256 amount) external {
        address by = provider(who);
        (uint256 bonded, uint256 leaving,,,) = _stakes.positions(by);
        // Half of the time all of it: only then do what is leaving and what is held meet.
        amount = amount % 2 == 0 ? bonded - leaving : bound(amount, 1, 1e12);
        VM.prank(by);
        try _stakes.requestUnstake(amount) {} catch {}
    }

    function withdraw(uint256 who, uint256 wait) external {
        _later(wait, _stakes.UNBONDING());
        address by = provider(who);
        VM.prank(by);
        try _stakes.withdraw(by) returns (uint256 amount) {
            withdrawn += amount;
        } catch {}
    }

    function proposeSlash(uint256 who, uint256 amount) external {
        address whose = provider(who);
        (uint256 bonded,,,,) = _stakes.positions(whose);
        bytes32 id = bytes32(_ids.length);
        VM.prank(_slasher);
        try _stakes.proposeSlash(id, whose, bound(amount, 1, bonded / 5 + 1), bytes32(0)) {
            _ids.push(id);
        } catch {}
    }

    function appeal(uint256 which) external {
        bytes32 id = _pick(which);
        (address whose,,,,,,) = _stakes.slashes(id);
        VM.prank(whose);
        try _stakes.appeal(id) {} catch {}
    }

    function decide(uint256 which, bool uphold) external {
        bytes32 id = _pick(which);
        VM.prank(_arbiter);
        if (uphold) try _stakes.uphold(id) {} catch {} else try _stakes.overturn(id) {} catch {}
    }

    function overturnLapsed(uint256 which) external {
        try _stakes.overturn(_pick(which)) {} catch {}
    }

    function executeSlash(uint256 which, uint256 wait) external {
        _later(wait, _stakes.APPEAL_WINDOW());
        bytes32 id = _pick(which);
        (, uint256 amount,,,,,) = _stakes.slashes(id);
        try _stakes.executeSlash(id) {
            executed += amount;
        } catch {}
    }

    function collectProceeds() external {
        try _stakes.collectProceeds() {} catch {}
    }

    // ---- What the invariants read ----

    function provider(uint256 i) public pure returns (address) {
        return address(uint160(0xADA0 + i % PROVIDERS));
    }

    /// Sum of a provider's slashes that are neither executed nor overturned.
    function openSlashes(address whose) external view returns (uint256 sum) {
        for (uint256 i = 0; i < _ids.length; ++i) {
            (address of_, uint256 amount,, ProviderStake.Stage stage,,,) = _stakes.slashes(_ids[i]);
            bool open = stage != ProviderStake.Stage.Executed && stage != ProviderStake.Stage.Overturned;
            if (of_ == whose && open) sum += amount;
        }
    }

    /// Half of the time as long as it takes, else anything shorter.
    function _later(uint256 wait, uint256 enough) private {
        VM.warp(block.timestamp + (wait % 2 == 0 ? enough : bound(wait, 0, enough - 1)));
    }

    function _pick(uint256 which) private view returns (bytes32) {
        return _ids.length == 0 ? bytes32(0) : _ids[which % _ids.length];
    }
}
