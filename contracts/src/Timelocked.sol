// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title Roles that only a timelock can give
/// @notice The one administrator of a contract is a timelock: whatever changes who may do what, or how much, is public
/// for {MIN_TIMELOCK_DELAY} before it happens. The account that deploys the contract gets nothing.
abstract contract Timelocked is AccessControl {
    /// @notice Shortest delay of the timelock, in seconds. Two days leave a provider time to claim and leave.
    uint256 public constant MIN_TIMELOCK_DELAY = 48 hours;

    /// @notice The timelock given at deployment waits `delay` seconds, which is too short.
    /// @param delay Its delay in seconds.
    error TimelockTooShort(uint256 delay);

    /// @notice An account that must be somebody is the zero address.
    error ZeroAddress();

    /// @param timelock The administrator. Anything that is no timelock is refused, a forgotten deployer's key for one.
    constructor(TimelockController timelock) {
        _requireTimelock(timelock);
        _grantRole(DEFAULT_ADMIN_ROLE, address(timelock));
    }

    /// @dev Asks the timelock itself; an account without code can't answer.
    function _requireTimelock(TimelockController timelock) internal view {
        uint256 delay = timelock.getMinDelay();
        if (delay < MIN_TIMELOCK_DELAY) revert TimelockTooShort(delay);
    }

    /// @dev Gives a role at deployment, to somebody.
    function _appoint(bytes32 role, address account) internal {
        if (account == address(0)) revert ZeroAddress();
        _grantRole(role, account);
    }
}
