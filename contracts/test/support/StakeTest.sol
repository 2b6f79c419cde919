// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ProviderStake} from "../../src/ProviderStake.sol";
import {TestToken} from "../tokens/TestToken.sol";
import {VM} from "./Vm.sol";

/// A stake contract behind a real timelock: 20 % of a stake for each incident, 50 % in any 30 days.
abstract contract StakeTest {
    uint16 internal constant INCIDENT_BPS = 2_000;
    uint16 internal constant WINDOW_BPS = 5_000;
    bytes32 internal constant EVIDENCE = keccak256("evidence");
    address internal constant SLASHER = address(0xB02);
    address internal constant ARBITER = address(0xC02);
    address internal constant ADA = address(0xADA);
    address internal constant BOB = address(0xB0B);
    address internal constant ANYONE = address(0xD01);

    TimelockController internal timelock;
    TimelockController internal treasury;
    TestToken internal token;
    ProviderStake internal stakes;

    function setUp() public virtual {
        VM.warp(1_800_000_000);
        timelock = _timelock();
        treasury = _timelock();
        token = new TestToken();
        stakes = _deploy();
    }

    function _timelock() internal returns (TimelockController) {
        address[] memory multisig = new address[](1);
        multisig[0] = address(0xA11);
        return new TimelockController(48 hours, multisig, multisig, address(0));
    }

    function _deploy() internal returns (ProviderStake) {
        return new ProviderStake(token, timelock, treasury, SLASHER, ARBITER, INCIDENT_BPS, WINDOW_BPS);
    }

    function _stake(address provider, uint256 amount) internal {
        token.mint(provider, amount);
        VM.startPrank(provider);
        token.approve(address(stakes), amount);
        stakes.stake(amount);
        VM.stopPrank();
    }

    function _unstake(address provider, uint256 amount) internal {
        VM.prank(provider);
        stakes.requestUnstake(amount);
    }

    function _withdraw(address provider) internal returns (uint256) {
        VM.prank(provider);
        return stakes.withdraw(provider);
    }

    function _slash(uint256 id, address provider, uint256 amount) internal {
        VM.prank(SLASHER);
        stakes.proposeSlash(bytes32(id), provider, amount, EVIDENCE);
    }

    function _appeal(uint256 id, address provider) internal {
        VM.prank(provider);
        stakes.appeal(bytes32(id));
    }

    function _execute(uint256 id) internal {
        VM.prank(ANYONE);
        stakes.executeSlash(bytes32(id));
    }

    function _later(uint256 seconds_) internal {
        VM.warp(block.timestamp + seconds_);
    }

    function _bonded(address provider) internal view returns (uint256 bonded) {
        (bonded,,,,) = stakes.positions(provider);
    }

    function _leaving(address provider) internal view returns (uint256 leaving) {
        (, leaving,,,) = stakes.positions(provider);
    }

    function _locked(address provider) internal view returns (uint256 locked) {
        (,, locked,,) = stakes.positions(provider);
    }
}
