// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {TestToken} from "./TestToken.sol";

/// Delivers one percent less than was sent.
contract FeeToken is TestToken {
    function _update(address from, address to, uint256 amount) internal override {
        uint256 fee = from == address(0) || to == address(0) ? 0 : amount / 100;
        super._update(from, to, amount - fee);
        if (fee > 0) super._update(from, address(0), fee);
    }
}

/// Says no by returning false instead of reverting.
contract FalseToken is TestToken {
    function transfer(address to, uint256 amount) public override returns (bool) {
        if (blocked[to]) return false;
        return super.transfer(to, amount);
    }
}

interface IReceiver {
    function onTokens() external;
}

/// Calls a receiver that is a contract when it is paid, as ERC-777 does.
contract HookToken is TestToken {
    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        if (to.code.length > 0) IReceiver(to).onTokens();
        return true;
    }
}
