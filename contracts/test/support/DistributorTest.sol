// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {PayoutDistributor} from "../../src/PayoutDistributor.sol";
import {TestToken} from "../tokens/TestToken.sol";
import {Tree} from "./Tree.sol";
import {VM} from "./Vm.sol";

/// A distributor behind a real timelock, with three providers, and the few steps every test is made of.
abstract contract DistributorTest {
    uint256 internal constant CAP = 1_000e6;
    uint64 internal constant DELAY = 24 hours;
    bytes32 internal constant MANIFEST = keccak256("manifest");
    string internal constant URI = "https://broker.example/v1/epochs/1/manifest";

    address internal constant MULTISIG = address(0xA11);
    address internal constant PROPOSER = address(0xB01);
    address internal constant GUARDIAN = address(0xC01);
    address internal constant ANYONE = address(0xD01);
    bytes16 internal constant ADA = bytes16(uint128(0x0190_0000_0000_7000_8000_0000_0000_0ada));
    bytes16 internal constant BOB = bytes16(uint128(0x0190_0000_0000_7000_8000_0000_0000_0b0b));
    bytes16 internal constant CID = bytes16(uint128(0x0190_0000_0000_7000_8000_0000_0000_0c1d));
    address internal constant ADA_PAYEE = address(0xADA);
    address internal constant BOB_PAYEE = address(0xB0B);
    address internal constant CID_PAYEE = address(0xC1D);

    TimelockController internal timelock;
    TestToken internal token;
    PayoutDistributor internal distributor;

    function setUp() public virtual {
        VM.warp(1_800_000_000);
        timelock = _timelock(48 hours);
        token = _token();
        distributor = _deploy(0);
    }

    /// Tests that need another token say which.
    function _token() internal virtual returns (TestToken) {
        return new TestToken();
    }

    function _timelock(uint256 delay) internal returns (TimelockController) {
        address[] memory multisig = new address[](1);
        multisig[0] = MULTISIG;
        return new TimelockController(delay, multisig, multisig, address(0));
    }

    function _deploy(uint64 epoch) internal returns (PayoutDistributor) {
        return new PayoutDistributor(token, timelock, PROPOSER, GUARDIAN, CAP, DELAY, epoch);
    }

    function _fund(uint256 amount) internal {
        token.mint(address(this), amount);
        token.approve(address(distributor), amount);
        distributor.fund(amount);
    }

    /// The three providers' leaves with these cumulative amounts.
    function _three(uint256 ada, uint256 bob, uint256 cid) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](3);
        leaves[0] = distributor.leafOf(ADA, ADA_PAYEE, ada);
        leaves[1] = distributor.leafOf(BOB, BOB_PAYEE, bob);
        leaves[2] = distributor.leafOf(CID, CID_PAYEE, cid);
    }

    function _propose(uint64 epoch, bytes32[] memory leaves, uint256 total) internal {
        bytes32 root = Tree.root(leaves);
        VM.prank(PROPOSER);
        distributor.propose(epoch, root, total, MANIFEST, URI);
    }

    function _activate() internal {
        VM.warp(block.timestamp + DELAY);
        VM.prank(ANYONE);
        distributor.activate();
    }

    /// Funds what is missing, proposes and activates the next epoch over three leaves.
    function _epoch(uint256 ada, uint256 bob, uint256 cid) internal returns (bytes32[] memory leaves) {
        uint256 total = ada + bob + cid;
        uint256 funded = token.balanceOf(address(distributor)) + distributor.totalClaimed();
        if (total > funded) _fund(total - funded);
        leaves = _three(ada, bob, cid);
        _propose(distributor.epoch() + 1, leaves, total);
        _activate();
    }

    /// Claims one leaf of a tree as somebody who has nothing to do with it.
    function _claim(bytes16 provider, address payee, uint256 cumulative, bytes32[] memory leaves) internal {
        (bytes32 root, bytes32[] memory proof) = _proof(provider, payee, cumulative, leaves);
        VM.prank(ANYONE);
        distributor.claim(provider, payee, cumulative, root, proof);
    }

    function _proof(bytes16 provider, address payee, uint256 cumulative, bytes32[] memory leaves)
        internal
        view
        returns (bytes32 root, bytes32[] memory proof)
    {
        bytes32[] memory tree = Tree.build(leaves);
        return (tree[0], Tree.proof(tree, distributor.leafOf(provider, payee, cumulative)));
    }

    function _entry(bytes16 provider, address payee, uint256 cumulative, bytes32[] memory leaves)
        internal
        view
        returns (PayoutDistributor.Claim memory)
    {
        (, bytes32[] memory proof) = _proof(provider, payee, cumulative, leaves);
        return PayoutDistributor.Claim(provider, payee, cumulative, proof);
    }

    /// Claims all three leaves in one batch; a leaf that isn't in the tree any more can't be asked for here.
    function _batch(uint256 ada, uint256 bob, uint256 cid, bytes32[] memory leaves)
        internal
        view
        returns (PayoutDistributor.Claim[] memory claims)
    {
        claims = new PayoutDistributor.Claim[](3);
        claims[0] = _entry(ADA, ADA_PAYEE, ada, leaves);
        claims[1] = _entry(BOB, BOB_PAYEE, bob, leaves);
        claims[2] = _entry(CID, CID_PAYEE, cid, leaves);
    }

    /// Does what only the timelock may, the long way: scheduled by the multisig, executed two days later.
    function _govern(address target, bytes memory call) internal {
        VM.startPrank(MULTISIG);
        timelock.schedule(target, 0, call, bytes32(0), bytes32(0), 48 hours);
        VM.warp(block.timestamp + 48 hours);
        timelock.execute(target, 0, call, bytes32(0), bytes32(0));
        VM.stopPrank();
    }
}
