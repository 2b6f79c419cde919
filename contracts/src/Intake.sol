// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Taking in tokens, to the base unit
/// @notice Books are kept in what was sent, so a token that delivers less (a fee on transfer) is refused.
library Intake {
    using SafeERC20 for IERC20;

    /// @notice `sent` base units left the payer and `received` arrived.
    /// @param sent What was asked for.
    /// @param received What the balance rose by.
    error ReceivedOtherThanSent(uint256 sent, uint256 received);

    /// @notice The token's address holds no code.
    error NotAToken(address token);

    /// @notice Refuses an address that can't be a token's.
    /// @param token The token to look at.
    function requireToken(IERC20 token) internal view {
        if (address(token).code.length == 0) revert NotAToken(address(token));
    }

    /// @notice Pulls exactly `amount` base units from the caller.
    /// @param token The token to take.
    /// @param amount Base units.
    function pull(IERC20 token, uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert ReceivedOtherThanSent(amount, received);
    }
}
