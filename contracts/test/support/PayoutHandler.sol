// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {PayoutDistributor} from "../../src/PayoutDistributor.sol";
import {TestToken} from "../tokens/TestToken.sol";
import {Tree} from "./Tree.sol";
import {VM, bound} from "./Vm.sol";

/// Everybody who ever touches a distributor: an honest broker, one with a stolen key, a guardian, payees and claimants.
/// Beside the contract it keeps a small model of what must have happened.
contract PayoutHandler {
    uint256 public constant PROVIDERS = 5;
    uint256 private constant MAX_EARNED = 400e6; // five of them are above the cap every other time

    PayoutDistributor private immutable _distributor;
    TestToken private immutable _token;
    address private immutable _timelock;
    address private immutable _proposer;
    address private immutable _guardian;

    /// Honest cumulative earnings, and the payees they go to.
    uint256[PROVIDERS] private _earned;
    uint256[PROVIDERS] private _payeeMoves;
    /// Leaves of the active and of the waiting tree.
    uint256[PROVIDERS] private _active;
    uint256[PROVIDERS] private _waiting;
    address[PROVIDERS] private _activePayee;
    address[PROVIDERS] private _waitingPayee;
    bool private _waitingIsWrong;

    bytes32 public root; // of the tree activated last
    bool public wrong; // whether that tree's leaves sum to more than its total
    uint256 public funded;
    uint256 public paid;
    uint256 public highestIncrease;
    mapping(bytes16 provider => uint256) public highestLeaf; // of all trees that were ever active
    bool public robbed; // whether a wrong tree was ever active

    constructor(PayoutDistributor distributor, TestToken token, address timelock, address proposer, address guardian) {
        (_distributor, _token, _timelock, _proposer, _guardian) = (distributor, token, timelock, proposer, guardian);
        token.approve(address(distributor), type(uint256).max);
    }

    // ---- What the runner calls ----

    function fund(uint256 amount) external {
        _fund(bound(amount, 1, 2 * _distributor.epochCap()));
    }

    /// An honest epoch: everybody earned something, what is missing is funded, somebody may have moved.
    function propose(uint256 seed) external {
        if (_isPending()) return;
        uint256 sum = 0;
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            _waiting[i] = _earned[i] + bound(uint256(keccak256(abi.encode(seed, i))), 0, MAX_EARNED);
            sum += _waiting[i];
        }
        _payeeMoves[seed % PROVIDERS] += seed % 7 == 0 ? 1 : 0;
        if (sum > funded) _fund(sum - funded);
        _propose(sum, false);
    }

    /// A stolen proposer's key: the total may be above the cap, and one leaf asks for more than the total leaves it, though
    /// not always for more than is there.
    function proposeWrong(uint256 seed) external {
        if (_isPending()) return;
        uint256 total = _distributor.total() + bound(seed, 0, 2 * _distributor.epochCap());
        uint256 sum = 0;
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            _waiting[i] = _earned[i];
            sum += _waiting[i];
        }
        uint256 spare = total > sum ? total - sum : 0;
        _waiting[seed % PROVIDERS] += spare + bound(seed >> 128, 1, _distributor.epochCap());
        _propose(total, true);
    }

    function activate(uint256 wait) external {
        VM.warp(block.timestamp + bound(wait, 0, 2 days));
        (,, uint256 total,,) = _distributor.pending();
        uint256 before = _distributor.total();
        try _distributor.activate() {
            if (total - before > highestIncrease) highestIncrease = total - before;
            wrong = _waitingIsWrong;
            robbed = robbed || wrong;
            for (uint256 i = 0; i < PROVIDERS; ++i) {
                (_active[i], _activePayee[i]) = (_waiting[i], _waitingPayee[i]);
                if (!wrong) _earned[i] = _active[i];
                if (_active[i] > highestLeaf[provider(i)]) highestLeaf[provider(i)] = _active[i];
            }
            root = Tree.root(leaves());
        } catch {}
    }

    function veto() external {
        VM.prank(_guardian);
        try _distributor.veto() {} catch {}
    }

    function pause(uint256 dice) external {
        if (dice % 4 != 0) return;
        VM.prank(_guardian);
        try _distributor.pause() {} catch {}
    }

    function unpause() external {
        VM.prank(_timelock);
        try _distributor.unpause() {} catch {}
    }

    function setBlocked(uint256 who, bool isBlocked) external {
        address payee = _activePayee[who % PROVIDERS];
        if (payee != address(0)) _token.setBlocked(payee, isBlocked);
    }

    function claim(uint256 who) external {
        if (root == bytes32(0)) return;
        uint256 i = who % PROVIDERS;
        PayoutDistributor.Claim memory one = entry(i);
        uint256 before = _token.balanceOf(one.payee);
        try _distributor.claim(one.provider, one.payee, one.cumulative, root, one.proof) returns (uint256 amount) {
            _book(_token.balanceOf(one.payee) - before, amount);
        } catch {}
    }

    function claimMany() external {
        if (root == bytes32(0)) return;
        PayoutDistributor.Claim[] memory all = new PayoutDistributor.Claim[](PROVIDERS);
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            all[i] = entry(i);
        }
        uint256 before = _token.balanceOf(address(_distributor));
        uint256 claimedBefore = _distributor.totalClaimed();
        try _distributor.claimMany(all, root) {
            _book(before - _token.balanceOf(address(_distributor)), _distributor.totalClaimed() - claimedBefore);
        } catch {}
    }

    // ---- What the invariants read ----

    function provider(uint256 i) public pure returns (bytes16) {
        return bytes16(uint128(i + 1));
    }

    function leaves() public view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](PROVIDERS);
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            hashes[i] = _distributor.leafOf(provider(i), _activePayee[i], _active[i]);
        }
    }

    /// The leaf of the active tree with its proof.
    function entry(uint256 i) public view returns (PayoutDistributor.Claim memory) {
        bytes32 leaf = _distributor.leafOf(provider(i), _activePayee[i], _active[i]);
        return PayoutDistributor.Claim(provider(i), _activePayee[i], _active[i], Tree.proof(Tree.build(leaves()), leaf));
    }

    // ---- Helpers ----

    function _fund(uint256 amount) private {
        _token.mint(address(this), amount);
        try _distributor.fund(amount) {
            funded += amount;
        } catch {}
    }

    function _propose(uint256 total, bool isWrong) private {
        bytes32[] memory hashes = new bytes32[](PROVIDERS);
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            _waitingPayee[i] = address(uint160(0x1000 * (i + 1) + _payeeMoves[i]));
            hashes[i] = _distributor.leafOf(provider(i), _waitingPayee[i], _waiting[i]);
        }
        _waitingIsWrong = isWrong;
        uint64 next = _distributor.epoch() + 1;
        VM.prank(_proposer);
        try _distributor.propose(next, Tree.root(hashes), total, bytes32(0), "") {} catch {}
    }

    /// A second proposal would be refused; the model must not forget the first.
    function _isPending() private view returns (bool) {
        (,,, uint64 epoch,) = _distributor.pending();
        return epoch != 0;
    }

    function _book(uint256 received, uint256 told) private {
        VM.assertEq(received, told, "a claim paid another amount than it told");
        paid += received;
    }
}
