// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A dollar token for tests
/// @notice Six decimals and a list of refused accounts, as the large dollar tokens have. Anyone can mint and block:
/// worthless by design, and meant for local chains only.
contract TestToken is ERC20 {
    /// @notice Accounts that can neither send nor receive.
    mapping(address account => bool) public blocked;

    /// @notice The token refuses `account`.
    error Blocked(address account);

    constructor() ERC20("Test Dollar", "TUSD") {}

    /// @notice Six, as USDC has.
    /// @return Digits behind the point.
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @notice Makes `amount` base units out of nothing.
    /// @param to Who gets them.
    /// @param amount Base units.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Refuses an account from now on, or no longer.
    /// @param account Whom.
    /// @param isBlocked Whether it is refused.
    function setBlocked(address account, bool isBlocked) external {
        blocked[account] = isBlocked;
    }

    function _update(address from, address to, uint256 amount) internal virtual override {
        if (blocked[from]) revert Blocked(from);
        if (blocked[to]) revert Blocked(to);
        super._update(from, to, amount);
    }
}
