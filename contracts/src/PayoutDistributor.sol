// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Intake} from "./Intake.sol";
import {Timelocked} from "./Timelocked.sol";

/// @title Cumulative payouts of one token
/// @notice Each epoch the proposer publishes a Merkle tree that says what every provider has earned since the beginning.
/// After a delay in which the guardian may veto, the tree becomes active and anyone may have anyone paid what their leaf
/// exceeds what they were paid before. An epoch that is missed or claimed late loses nothing, since leaves only grow.
///
/// What a stolen key can do: the proposer's, if nobody vetoes for the whole delay, one {epochCap} and what is unclaimed;
/// the guardian's, stop payouts; both need the timelock to be undone. No key but the timelock's can move a token to an
/// account of its choosing, and the timelock's only a year after the instance was retired in public.
///
/// Not for tokens that change balances by themselves. Amounts are base units; nothing is ever rounded.
contract PayoutDistributor is Timelocked, Pausable, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice A tree that waits for its delay to pass.
    /// @param root Root over the leaves of {leafOf}.
    /// @param manifestHash Keccak-256 of the epoch's public manifest, which leads to every receipt behind the tree.
    /// @param total Sum of all leaves, base units since the beginning.
    /// @param epoch The epoch it settles; zero when nothing is proposed.
    /// @param activatableAt Unix seconds from which {activate} works.
    struct Proposal {
        bytes32 root;
        bytes32 manifestHash;
        uint256 total;
        uint64 epoch;
        uint64 activatableAt;
    }

    /// @notice What an epoch became once it was active, kept for ever so that any statement can be checked by a view call.
    /// @param root Root of its tree.
    /// @param manifestHash Keccak-256 of its manifest.
    struct Commitment {
        bytes32 root;
        bytes32 manifestHash;
    }

    /// @notice One leaf and its proof, to be paid in a batch.
    /// @param provider The provider's id as the ledger has it: the 16 bytes of its UUID.
    /// @param payee Who receives the tokens. Part of the leaf, so a change of account needs no call here.
    /// @param cumulative Base units the provider has earned since the beginning.
    /// @param proof Sibling hashes from the leaf up.
    struct Claim {
        bytes16 provider;
        address payee;
        uint256 cumulative;
        bytes32[] proof;
    }

    /// @notice What an earlier instance has settled for one provider.
    /// @param provider The provider's id.
    /// @param cumulative Its last leaf there, paid out or still claimable there: base units since the beginning.
    struct Opening {
        bytes16 provider;
        uint256 cumulative;
    }

    /// @notice May propose trees. Held by the broker's own key.
    bytes32 public constant PROPOSER_ROLE = keccak256("PROPOSER_ROLE");
    /// @notice May veto and pause, and nothing else: it can stop money, never move it.
    bytes32 public constant GUARDIAN_ROLE = keccak256("GUARDIAN_ROLE");

    /// @notice Shortest and longest activation delay, in seconds: time to notice a wrong tree, and a bound on waiting.
    uint64 public constant MIN_ACTIVATION_DELAY = 6 hours;
    /// @notice See {MIN_ACTIVATION_DELAY}.
    uint64 public constant MAX_ACTIVATION_DELAY = 14 days;
    /// @notice Seconds between retirement and the return of leftovers. A provider may be away for long.
    uint64 public constant LEFTOVERS_AFTER = 365 days;
    /// @notice Most entries of one batch. 200 claims are sent at a time; even this many, all of them first payments, stay
    /// below the 2^24 gas that one transaction may use.
    uint256 public constant MAX_BATCH = 256;
    /// @notice Most gas one claim of a batch may burn: several times what a plain token costs, so that a payee whose
    /// token hook burns everything it gets cannot starve the others.
    uint256 public constant CLAIM_GAS = 250_000;
    /// @notice Epochs of money the contract takes in beyond what it owes. More would only be there to be lost.
    uint256 public constant FUNDED_EPOCHS = 2;

    /// @notice The token paid out. Another token is another instance.
    IERC20 public immutable token;

    /// @notice The last active epoch.
    uint64 public epoch;
    /// @notice Seconds between proposal and activation, for the next proposal.
    uint64 public activationDelay;
    /// @notice Unix seconds of retirement; zero while the instance is in use.
    uint64 public retiredAt;
    /// @notice Root of the active tree.
    bytes32 public root;
    /// @notice Sum of the active tree's leaves, base units since the beginning.
    uint256 public total;
    /// @notice Sum of {claimed}. Never above {total}.
    uint256 public totalClaimed;
    /// @notice Most base units by which an epoch may raise {total}. An honest epoch above it waits for the timelock.
    uint256 public epochCap;
    /// @notice The tree that waits, if its epoch is not zero.
    Proposal public pending;
    /// @notice Base units paid to a provider since the beginning, by this instance or, as told by {seed}, before it.
    mapping(bytes16 provider => uint256) public claimed;
    /// @notice What each active epoch was.
    mapping(uint64 epoch => Commitment) public commitments;

    /// @notice A tree waits for activation. `uri` is where its manifest and leaves are published.
    event Proposed(
        uint64 indexed epoch, bytes32 root, uint256 total, bytes32 manifestHash, string uri, uint64 activatableAt
    );
    /// @notice A tree is active: its leaves can be claimed.
    event Activated(uint64 indexed epoch, bytes32 root, uint256 total, bytes32 manifestHash);
    /// @notice The waiting tree is gone. Its epoch will be proposed anew; the active tree stays claimable.
    event Vetoed(uint64 indexed epoch, bytes32 root, address indexed by);
    /// @notice `amount` base units went to `payee`; the provider has now been paid `cumulative` since the beginning.
    event Claimed(
        bytes16 indexed provider, address indexed payee, uint64 indexed epoch, uint256 amount, uint256 cumulative
    );
    /// @notice One claim of a batch failed and changed nothing. `reason` is the first four bytes of the error.
    event ClaimFailed(bytes16 indexed provider, address indexed payee, bytes4 reason);
    /// @notice `amount` base units arrived.
    event Funded(address indexed from, uint256 amount);
    /// @notice A provider starts at `cumulative` base units, settled by an earlier instance.
    event Seeded(bytes16 indexed provider, uint256 cumulative);
    /// @notice The cap of the next epochs, in base units.
    event EpochCapSet(uint256 epochCap);
    /// @notice The delay of the next proposals, in seconds.
    event ActivationDelaySet(uint64 activationDelay);
    /// @notice No tree will follow. Leftovers may return from `leftoversAt` on, in Unix seconds.
    event Retired(uint64 leftoversAt);
    /// @notice What nobody claimed in a year went to `to`. The debt stays in the ledger.
    event LeftoversReturned(address indexed to, uint256 amount);

    /// @notice The next epoch is `expected`, not `epoch`: proposed already, or out of order.
    error WrongEpoch(uint64 expected, uint64 epoch);
    /// @notice Another tree waits already.
    error ProposalPending(uint64 epoch);
    /// @notice No tree waits.
    error NothingPending();
    /// @notice A root is never zero.
    error ZeroRoot();
    /// @notice Cumulative totals never fall.
    error TotalFell(uint256 from, uint256 to);
    /// @notice The epoch would raise the total by `increase`, more than the cap.
    error AboveEpochCap(uint256 increase, uint256 cap);
    /// @notice The tree promises `total` and the contract has had `funded` base units.
    error Underfunded(uint256 total, uint256 funded);
    /// @notice The tree becomes activatable at `activatableAt`, in Unix seconds.
    error TooEarly(uint64 activatableAt);
    /// @notice The proof belongs to another tree: fetch it again for `actual`.
    error RootMoved(bytes32 expected, bytes32 actual);
    /// @notice No such leaf in the active tree.
    error InvalidProof();
    /// @notice The provider has been paid all of its leaf.
    error NothingToClaim(bytes16 provider, uint256 claimed);
    /// @notice The tree's leaves exceed its own total: it is wrong, and stops here.
    error AboveTotal(uint256 totalClaimed, uint256 total);
    /// @notice More entries than {MAX_BATCH}.
    error BatchTooLong(uint256 length);
    /// @notice Too little gas is left to give the next claim its due; nothing of the batch has happened.
    error GasTooLow();
    /// @notice Only the contract itself, from within a batch.
    error OnlySelf();
    /// @notice The contract would hold `held` base units beyond what it owes, more than `limit`.
    error HeldTooMuch(uint256 held, uint256 limit);
    /// @notice The delay is out of bounds.
    error DelayOutOfBounds(uint64 delay);
    /// @notice Openings come before the first proposal only.
    error AlreadyStarted();
    /// @notice The provider has its opening already.
    error AlreadySeeded(bytes16 provider);
    /// @notice The instance is retired.
    error IsRetired();
    /// @notice The instance is in use.
    error NotRetired();

    modifier inUse() {
        if (retiredAt != 0) revert IsRetired();
        _;
    }

    /// @param token_ The token paid out.
    /// @param timelock The administrator.
    /// @param proposer The first holder of {PROPOSER_ROLE}.
    /// @param guardian The first holder of {GUARDIAN_ROLE}.
    /// @param epochCap_ Base units an epoch may add.
    /// @param activationDelay_ Seconds a tree waits; 24 hours in production.
    /// @param epoch_ The last epoch settled elsewhere; zero for a first instance, whose first epoch is then one.
    constructor(
        IERC20 token_,
        TimelockController timelock,
        address proposer,
        address guardian,
        uint256 epochCap_,
        uint64 activationDelay_,
        uint64 epoch_
    ) Timelocked(timelock) {
        Intake.requireToken(token_);
        token = token_;
        epoch = epoch_;
        _appoint(PROPOSER_ROLE, proposer);
        _appoint(GUARDIAN_ROLE, guardian);
        _setEpochCap(epochCap_);
        _setActivationDelay(activationDelay_);
    }

    // ---- One epoch: fund, propose, activate or veto ----

    /// @notice Takes `amount` base units from the caller. Anyone may give; nobody gets a claim to it by giving.
    /// @param amount Base units. Refused when they arrive short, or raise what is held beyond debts above the limit.
    function fund(uint256 amount) external nonReentrant inUse {
        Intake.pull(token, amount);
        uint256 held = _funded() - total;
        uint256 limit = FUNDED_EPOCHS * epochCap;
        if (held > limit) revert HeldTooMuch(held, limit);
        emit Funded(msg.sender, amount);
    }

    /// @notice Proposes the tree of the next epoch. Sending the same proposal twice is harmless: the epoch has moved on.
    /// @param epoch_ The epoch it settles: the active one plus one.
    /// @param root_ Root over the leaves of {leafOf}.
    /// @param total_ Sum of its leaves, base units since the beginning; covered by what the contract has received.
    /// @param manifestHash Keccak-256 of the manifest.
    /// @param uri Where manifest and leaves are published.
    function propose(uint64 epoch_, bytes32 root_, uint256 total_, bytes32 manifestHash, string calldata uri)
        external
        onlyRole(PROPOSER_ROLE)
        whenNotPaused
        inUse
    {
        if (pending.epoch != 0) revert ProposalPending(pending.epoch);
        if (epoch_ != epoch + 1) revert WrongEpoch(epoch + 1, epoch_);
        if (root_ == bytes32(0)) revert ZeroRoot();
        if (total_ < total) revert TotalFell(total, total_);
        if (total_ - total > epochCap) revert AboveEpochCap(total_ - total, epochCap);
        uint256 funded = _funded();
        if (total_ > funded) revert Underfunded(total_, funded);

        uint64 activatableAt = uint64(block.timestamp) + activationDelay;
        pending = Proposal(root_, manifestHash, total_, epoch_, activatableAt);
        emit Proposed(epoch_, root_, total_, manifestHash, uri, activatableAt);
    }

    /// @notice Makes the waiting tree active once its delay has passed. Anyone may, so no key can hold payouts back.
    function activate() external whenNotPaused {
        Proposal memory next = pending;
        if (next.epoch == 0) revert NothingPending();
        if (block.timestamp < next.activatableAt) revert TooEarly(next.activatableAt);

        delete pending;
        epoch = next.epoch;
        root = next.root;
        total = next.total;
        commitments[next.epoch] = Commitment(next.root, next.manifestHash);
        emit Activated(next.epoch, next.root, next.total, next.manifestHash);
    }

    /// @notice Removes the waiting tree, paused or not, until the moment it is activated. The active tree is untouched.
    function veto() external onlyRole(GUARDIAN_ROLE) {
        _dropPending();
    }

    /// @notice Stops proposals, activations and claims. Only the timelock can let them go on.
    function pause() external onlyRole(GUARDIAN_ROLE) {
        _pause();
    }

    // ---- Claiming ----

    /// @notice Pays a provider what its leaf exceeds what it was paid. Anyone may call; the tokens go to the payee.
    /// @param provider The provider's id.
    /// @param payee Who receives the tokens, as in the leaf.
    /// @param cumulative Base units since the beginning, as in the leaf.
    /// @param expectedRoot The root the proof was made for. A moved root says so instead of failing as a bad proof.
    /// @param proof Sibling hashes from the leaf up.
    /// @return amount Base units paid.
    function claim(bytes16 provider, address payee, uint256 cumulative, bytes32 expectedRoot, bytes32[] calldata proof)
        external
        nonReentrant
        whenNotPaused
        returns (uint256 amount)
    {
        _requireRoot(expectedRoot);
        return _pay(provider, payee, cumulative, proof);
    }

    /// @notice Pays many. A claim that fails, say because the token refuses its payee, is told in {ClaimFailed} and stops
    /// nobody else.
    /// @param claims At most {MAX_BATCH}.
    /// @param expectedRoot The root all proofs were made for.
    /// @return paid How many were paid.
    function claimMany(Claim[] calldata claims, bytes32 expectedRoot)
        external
        nonReentrant
        whenNotPaused
        returns (uint256 paid)
    {
        _requireRoot(expectedRoot);
        if (claims.length > MAX_BATCH) revert BatchTooLong(claims.length);
        for (uint256 i = 0; i < claims.length; ++i) {
            // A call gets at most 63/64 of what is left. Were that less than its due, a caller could make good claims fail.
            if (gasleft() - gasleft() / 64 < CLAIM_GAS) revert GasTooLow();
            Claim calldata one = claims[i];
            try this.claimInBatch{gas: CLAIM_GAS}(one.provider, one.payee, one.cumulative, one.proof) {
                ++paid;
            } catch (bytes memory reason) {
                // The start of the error names it, and is all that is told.
                // forge-lint: disable-next-line(unsafe-typecast)
                emit ClaimFailed(one.provider, one.payee, bytes4(reason));
            }
        }
    }

    /// @notice One claim of a batch, as a call of its own so that it can fail alone. Only {claimMany} can make it.
    /// @param provider As in {claim}.
    /// @param payee As in {claim}.
    /// @param cumulative As in {claim}.
    /// @param proof As in {claim}.
    function claimInBatch(bytes16 provider, address payee, uint256 cumulative, bytes32[] calldata proof) external {
        if (msg.sender != address(this)) revert OnlySelf();
        _pay(provider, payee, cumulative, proof);
    }

    /// @notice The leaf of a provider in this instance on this chain, in the format of OpenZeppelin's StandardMerkleTree
    /// over (uint256, address, bytes16, address, uint256). Chain and contract are in it, so no proof works elsewhere.
    /// @param provider The provider's id.
    /// @param payee Who receives the tokens.
    /// @param cumulative Base units since the beginning.
    /// @return The double hash; a node of a tree can't pass for it.
    function leafOf(bytes16 provider, address payee, uint256 cumulative) public view returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(block.chainid, address(this), provider, payee, cumulative))));
    }

    // ---- What only the timelock may do ----

    /// @notice Lets proposals, activations and claims go on.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    /// @notice Sets the cap of the next proposals. One that waits was checked against the cap of its time.
    /// @param epochCap_ Base units.
    function setEpochCap(uint256 epochCap_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setEpochCap(epochCap_);
    }

    /// @notice Sets the delay of the next proposals. One that waits keeps its own.
    /// @param activationDelay_ Seconds, within the bounds.
    function setActivationDelay(uint64 activationDelay_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setActivationDelay(activationDelay_);
    }

    /// @notice Tells a new instance what its predecessor has settled, before its first proposal. A provider starts at its
    /// last leaf there: what of it is unclaimed stays claimable there, and is never paid here as well.
    /// @param openings At most {MAX_BATCH} a call, each provider once.
    function seed(Opening[] calldata openings) external onlyRole(DEFAULT_ADMIN_ROLE) inUse {
        if (root != bytes32(0) || pending.epoch != 0) revert AlreadyStarted();
        if (openings.length > MAX_BATCH) revert BatchTooLong(openings.length);
        uint256 sum = 0;
        for (uint256 i = 0; i < openings.length; ++i) {
            Opening calldata one = openings[i];
            if (claimed[one.provider] != 0) revert AlreadySeeded(one.provider);
            claimed[one.provider] = one.cumulative;
            sum += one.cumulative;
            emit Seeded(one.provider, one.cumulative);
        }
        total += sum;
        totalClaimed += sum;
    }

    /// @notice Ends the instance for good: no funding and no tree any more, a waiting one is dropped. Claims go on.
    function retire() external onlyRole(DEFAULT_ADMIN_ROLE) inUse {
        retiredAt = uint64(block.timestamp);
        if (pending.epoch != 0) _dropPending();
        emit Retired(retiredAt + LEFTOVERS_AFTER);
    }

    /// @notice Returns what nobody claimed in the year after retirement.
    /// @param to Who receives it.
    function returnLeftovers(address to) external nonReentrant onlyRole(DEFAULT_ADMIN_ROLE) {
        if (to == address(0)) revert ZeroAddress();
        if (retiredAt == 0) revert NotRetired();
        uint64 leftoversAt = retiredAt + LEFTOVERS_AFTER;
        if (block.timestamp < leftoversAt) revert TooEarly(leftoversAt);
        uint256 amount = token.balanceOf(address(this));
        emit LeftoversReturned(to, amount);
        token.safeTransfer(to, amount);
    }

    // ---- Helpers ----

    /// @dev The one way a token leaves towards a provider. Books first, transfer last.
    function _pay(bytes16 provider, address payee, uint256 cumulative, bytes32[] calldata proof)
        private
        returns (uint256 amount)
    {
        if (!MerkleProof.verifyCalldata(proof, root, leafOf(provider, payee, cumulative))) {
            revert InvalidProof();
        }
        uint256 before = claimed[provider];
        if (cumulative <= before) revert NothingToClaim(provider, before);
        amount = cumulative - before;
        uint256 totalAfter = totalClaimed + amount;
        if (totalAfter > total) revert AboveTotal(totalAfter, total);

        claimed[provider] = cumulative;
        totalClaimed = totalAfter;
        emit Claimed(provider, payee, epoch, amount, cumulative);
        token.safeTransfer(payee, amount);
    }

    function _requireRoot(bytes32 expected) private view {
        if (expected != root) revert RootMoved(expected, root);
    }

    /// @dev Base units that ever came in, settled elsewhere included: what is here and what has been paid.
    function _funded() private view returns (uint256) {
        return token.balanceOf(address(this)) + totalClaimed;
    }

    function _dropPending() private {
        Proposal memory dropped = pending;
        // slither-disable-next-line incorrect-equality (zero means that there is none)
        if (dropped.epoch == 0) revert NothingPending();
        delete pending;
        emit Vetoed(dropped.epoch, dropped.root, msg.sender);
    }

    function _setEpochCap(uint256 epochCap_) private {
        epochCap = epochCap_;
        emit EpochCapSet(epochCap_);
    }

    function _setActivationDelay(uint64 activationDelay_) private {
        if (activationDelay_ < MIN_ACTIVATION_DELAY || activationDelay_ > MAX_ACTIVATION_DELAY) {
            revert DelayOutOfBounds(activationDelay_);
        }
        activationDelay = activationDelay_;
        emit ActivationDelaySet(activationDelay_);
    }
}
