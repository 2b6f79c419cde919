// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {PayoutDistributor as D} from "../src/PayoutDistributor.sol";
import {DistributorTest} from "./support/DistributorTest.sol";
import {Tree} from "./support/Tree.sol";
import {VM} from "./support/Vm.sol";
import {HookToken, IReceiver} from "./tokens/OddTokens.sol";
import {TestToken} from "./tokens/TestToken.sol";

/// Calls back into the distributor while it is being paid, with whatever it was told to send.
contract Reentrant is IReceiver {
    address private immutable _target;
    bytes private _call;
    bytes4 public failure;

    constructor(address target) {
        _target = target;
    }

    function prepare(bytes calldata call) external {
        _call = call;
    }

    function onTokens() external {
        (bool ok, bytes memory reason) = _target.call(_call);
        if (!ok) failure = bytes4(reason);
    }
}

/// Burns all the gas it is given.
contract Glutton is IReceiver {
    function onTokens() external pure {
        while (true) {}
    }
}

/// Answers with an error of many kilobytes.
contract Chatterbox is IReceiver {
    function onTokens() external pure {
        assembly ("memory-safe") {
            revert(0, 60000)
        }
    }
}

/// A token that calls its receiver lets payees run code in the middle of a payment.
contract HooksTest is DistributorTest {
    function _token() internal override returns (TestToken) {
        return new HookToken();
    }

    function test_a_payee_that_calls_back_is_paid_once() public {
        Reentrant payee = new Reentrant(address(distributor));
        bytes32[] memory leaves = _with(address(payee));
        (bytes32 root, bytes32[] memory proof) = _proof(BOB, address(payee), 20, leaves);
        payee.prepare(abi.encodeCall(D.claim, (BOB, address(payee), 20, root, proof)));
        distributor.claim(BOB, address(payee), 20, root, proof);
        VM.assertEq(bytes32(payee.failure()), bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        VM.assertEq(token.balanceOf(address(payee)), 20);
        VM.assertEq(distributor.totalClaimed(), 20);
    }

    function test_a_payee_cannot_claim_for_others_from_within_a_batch() public {
        Reentrant payee = new Reentrant(address(distributor));
        bytes32[] memory leaves = _with(address(payee));
        D.Claim memory cid = _entry(CID, CID_PAYEE, 30, leaves);
        payee.prepare(abi.encodeCall(D.claimInBatch, (CID, CID_PAYEE, 30, cid.proof)));
        VM.assertEq(distributor.claimMany(_all(address(payee), leaves), Tree.root(leaves)), 3);
        VM.assertEq(bytes32(payee.failure()), bytes32(D.OnlySelf.selector));
        VM.assertEq(token.balanceOf(CID_PAYEE), 30);
    }

    function test_a_payee_that_burns_all_gas_stops_nobody() public {
        address payee = address(new Glutton());
        bytes32[] memory leaves = _with(payee);
        D.Claim[] memory claims = _all(payee, leaves);
        bytes32 root = Tree.root(leaves);
        uint256 before = gasleft();
        VM.assertEq(distributor.claimMany(claims, root), 2);
        VM.assertLe(before - gasleft(), 3 * distributor.CLAIM_GAS(), "it burned more than its due");
        VM.assertEq(token.balanceOf(CID_PAYEE), 30);
        VM.assertEq(token.balanceOf(payee), 0);
    }

    function test_a_payee_with_a_very_long_error_stops_nobody() public {
        address payee = address(new Chatterbox());
        bytes32[] memory leaves = _with(payee);
        VM.assertEq(distributor.claimMany(_all(payee, leaves), Tree.root(leaves)), 2);
        VM.assertEq(token.balanceOf(CID_PAYEE), 30);
    }

    /// An active epoch in which Bob's payee is a contract.
    function _with(address payee) private returns (bytes32[] memory leaves) {
        leaves = _three(10, 20, 30);
        leaves[1] = distributor.leafOf(BOB, payee, 20);
        _fund(60);
        _propose(1, leaves, 60);
        _activate();
    }

    function _all(address payee, bytes32[] memory leaves) private view returns (D.Claim[] memory claims) {
        claims = new D.Claim[](3);
        claims[0] = _entry(ADA, ADA_PAYEE, 10, leaves);
        claims[1] = _entry(BOB, payee, 20, leaves);
        claims[2] = _entry(CID, CID_PAYEE, 30, leaves);
    }
}
