// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {PayoutDistributor as D} from "../src/PayoutDistributor.sol";
import {DistributorTest} from "./support/DistributorTest.sol";
import {Tree} from "./support/Tree.sol";
import {VM} from "./support/Vm.sol";

/// What each call costs as a transaction of its own, calldata included; the figures are in snapshots/Gas.json.
/// forge-config: default.isolate = true
contract GasTest is DistributorTest {
    uint256 private constant PROVIDERS = 200; // as many as the broker sends at a time

    D.Claim[] private _claims;
    bytes32 private _root;

    /// Two epochs of 200 providers; everybody was paid the first, as it is on all days but one.
    function setUp() public override {
        super.setUp();
        _publish(1);
        distributor.claimMany(_claims, _root);
        _publish(2);
    }

    function test_gas_of_a_single_claim() public {
        D.Claim memory one = _claims[0];
        distributor.claim(one.provider, one.payee, one.cumulative, _root, one.proof);
        VM.snapshotGasLastCall("Gas", "claim, one provider of 200");
    }

    function test_gas_of_a_batch_of_200() public {
        VM.assertEq(distributor.claimMany(_claims, _root), PROVIDERS);
        VM.snapshotGasLastCall("Gas", "claimMany, 200 providers");
    }

    function test_gas_of_a_batch_of_200_paid_for_the_first_time() public {
        distributor = _deploy(0);
        _publish(1);
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            VM.assertEq(token.balanceOf(_claims[i].payee), 1e6);
        }
        VM.assertEq(distributor.claimMany(_claims, _root), PROVIDERS);
        VM.snapshotGasLastCall("Gas", "claimMany, 200 providers new to the instance");
    }

    function test_gas_of_an_epoch() public {
        distributor = _deploy(0);
        _fund(1e6);
        VM.snapshotGasLastCall("Gas", "fund");
        VM.prank(PROPOSER);
        distributor.propose(1, _root, 1e6, MANIFEST, URI);
        VM.snapshotGasLastCall("Gas", "propose");
        VM.warp(block.timestamp + DELAY);
        distributor.activate();
        VM.snapshotGasLastCall("Gas", "activate");
        VM.prank(PROPOSER);
        distributor.propose(2, _root, 1e6, MANIFEST, URI);
        VM.prank(GUARDIAN);
        distributor.veto();
        VM.snapshotGasLastCall("Gas", "veto");
    }

    /// One more dollar for everybody, active and ready to be claimed.
    function _publish(uint64 epoch) private {
        bytes32[] memory leaves = new bytes32[](PROVIDERS);
        delete _claims;
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            leaves[i] = distributor.leafOf(_provider(i), _payee(i), epoch * 1e6);
        }
        bytes32[] memory tree = Tree.build(leaves);
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            _claims.push(D.Claim(_provider(i), _payee(i), epoch * 1e6, Tree.proof(tree, leaves[i])));
        }
        _root = tree[0];
        _fund(PROVIDERS * 1e6);
        _propose(epoch, leaves, epoch * PROVIDERS * 1e6);
        _activate();
    }

    function _provider(uint256 i) private pure returns (bytes16) {
        return bytes16(keccak256(abi.encode("provider", i)));
    }

    function _payee(uint256 i) private pure returns (address) {
        return address(bytes20(keccak256(abi.encode("payee", i))));
    }
}
