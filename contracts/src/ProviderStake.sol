// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.35;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Intake} from "./Intake.sol";
import {Timelocked} from "./Timelocked.sol";

/// @title What providers put up, and how they may lose some of it
/// @notice A provider stakes from the wallet it registered with. Stake leaves after {UNBONDING}, which is longer than
/// fraud needs to come to light. A slash is proposed in public, waits for {APPEAL_WINDOW}, can be overturned by an
/// arbiter, is capped for each incident and for any 30 days, and ends in one fixed treasury.
///
/// Doubt is settled for the provider: a slash that was appealed happens only if the arbiter upholds it. The slasher's
/// stolen key can propose up to the caps, in public, and takes nothing that an arbiter overturns.
contract ProviderStake is Timelocked, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @notice Where a slash stands. `None` is an id nobody used.
    enum Stage {
        None,
        Proposed,
        Appealed,
        Upheld,
        Executed,
        Overturned
    }

    /// @notice What a provider has here, in base units.
    /// @param bonded All of it, what is leaving included.
    /// @param leaving What was asked back and waits.
    /// @param locked What open slashes may take; it can't leave before they are decided.
    /// @param withdrawableAt Unix seconds from which `leaving` can go.
    /// @param incidents How many slashes were ever proposed.
    struct Position {
        uint256 bonded;
        uint256 leaving;
        uint256 locked;
        uint64 withdrawableAt;
        uint64 incidents;
    }

    /// @notice One incident.
    /// @param provider Whose stake it takes.
    /// @param amount Base units it takes.
    /// @param evidenceHash Keccak-256 of the published evidence.
    /// @param stage Where it stands.
    /// @param slot Its place among the provider's recent incidents.
    /// @param proposedAt Unix seconds of its proposal.
    /// @param deadline Unix seconds: of the appeal; once appealed of the decision; once upheld, of the decision's time.
    struct Slash {
        address provider;
        uint256 amount;
        bytes32 evidenceHash;
        Stage stage;
        uint8 slot;
        uint64 proposedAt;
        uint64 deadline;
    }

    /// @notice An incident as the cap over 30 days sees it, in one storage slot.
    /// @param amount Base units; zero once overturned.
    /// @param proposedAt Unix seconds of its proposal; zero in a place that was never used.
    /// @param executed Whether it was taken, and so is no longer part of what is bonded.
    struct Recent {
        uint184 amount;
        uint64 proposedAt;
        bool executed;
    }

    /// @notice May propose slashes. Held by the broker.
    bytes32 public constant SLASHER_ROLE = keccak256("SLASHER_ROLE");
    /// @notice May uphold and overturn them. Held by somebody else.
    bytes32 public constant ARBITER_ROLE = keccak256("ARBITER_ROLE");

    /// @notice Seconds a stake waits before it can leave: longer than an epoch, its lag, its delay and an appeal.
    uint64 public constant UNBONDING = 21 days;
    /// @notice Seconds in which a provider may appeal.
    uint64 public constant APPEAL_WINDOW = 72 hours;
    /// @notice Seconds an appeal waits for the arbiter. After them, silence has decided for the provider.
    uint64 public constant ARBITRATION = 14 days;
    /// @notice Seconds in which a slash that may be executed has to be, so that none is kept in a drawer.
    uint64 public constant EXECUTION_WINDOW = 7 days;
    /// @notice The span of the second cap, in seconds.
    uint64 public constant CAP_WINDOW = 30 days;
    /// @notice Most incidents of one provider in {CAP_WINDOW}: a bound on the loop over them.
    uint8 public constant MAX_RECENT = 16;
    /// @notice Basis points of the whole.
    uint256 public constant BPS = 10_000;

    /// @notice The token staked.
    IERC20 public immutable token;
    /// @notice Where slashed stake goes: a timelock, so that nobody is paid for slashing.
    address public immutable treasury;

    /// @notice Most of a provider's stake one incident may take, in basis points.
    uint16 public incidentCapBps;
    /// @notice Most of a provider's stake all incidents of any 30 days may take, in basis points.
    uint16 public windowCapBps;
    /// @notice Sum of all `bonded`, base units.
    uint256 public totalBonded;
    /// @notice Slashed and not yet collected, base units.
    uint256 public proceeds;
    /// @notice What each provider has here.
    mapping(address provider => Position) public positions;
    /// @notice Every incident.
    mapping(bytes32 id => Slash) public slashes;

    /// @dev Each provider's last incidents, a ring: the next one takes the place of the oldest.
    mapping(address provider => Recent[MAX_RECENT]) private _recent;

    /// @notice A provider put up `amount` base units.
    event Staked(address indexed provider, uint256 amount);
    /// @notice A provider asked for `amount` back; all that is leaving may go at `withdrawableAt`.
    event UnstakeRequested(address indexed provider, uint256 amount, uint64 withdrawableAt);
    /// @notice `amount` base units left to `to`.
    event Withdrawn(address indexed provider, address indexed to, uint256 amount);
    /// @notice An incident: the provider may appeal until `appealUntil`.
    event SlashProposed(
        bytes32 indexed id, address indexed provider, uint256 amount, bytes32 evidenceHash, uint64 appealUntil
    );
    /// @notice The provider appealed; without a decision by `decideBy` it has won.
    event SlashAppealed(bytes32 indexed id, uint64 decideBy);
    /// @notice The arbiter found the appeal wrong.
    event SlashUpheld(bytes32 indexed id, address indexed arbiter);
    /// @notice The incident is over and took nothing.
    event SlashOverturned(bytes32 indexed id, address indexed by);
    /// @notice The incident took `amount` base units.
    event SlashExecuted(bytes32 indexed id, address indexed provider, uint256 amount);
    /// @notice Slashed stake went to the treasury.
    event ProceedsCollected(uint256 amount);
    /// @notice The caps of the next incidents, in basis points.
    event CapsSet(uint16 incidentCapBps, uint16 windowCapBps);

    /// @notice Nothing is not an amount.
    error ZeroAmount();
    /// @notice The provider has only `available` base units that are not leaving.
    error NotStaked(uint256 available);
    /// @notice It can happen from `opensAt` on, in Unix seconds.
    error TooEarly(uint64 opensAt);
    /// @notice It could happen until `closedAt`, in Unix seconds.
    error TooLate(uint64 closedAt);
    /// @notice Nothing is leaving, or open slashes hold what is.
    error NothingToWithdraw();
    /// @notice The id was used before.
    error SlashExists(bytes32 id);
    /// @notice That can't follow on the stage the slash is in.
    error WrongStage(Stage stage);
    /// @notice Only the provider concerned may appeal.
    error NotTheProvider(address provider);
    /// @notice More than a share of the stake. Base units.
    error AboveCap(uint256 amount, uint256 stake, uint16 capBps);
    /// @notice {MAX_RECENT} incidents in {CAP_WINDOW} already.
    error TooManyIncidents();
    /// @notice A cap is above the whole, or that of one incident above that of 30 days.
    error CapsOutOfBounds();

    /// @param token_ The token staked.
    /// @param timelock The administrator.
    /// @param treasury_ Where slashed stake goes.
    /// @param slasher The first holder of {SLASHER_ROLE}.
    /// @param arbiter The first holder of {ARBITER_ROLE}.
    /// @param incidentCapBps_ Cap of one incident, in basis points.
    /// @param windowCapBps_ Cap of any 30 days, in basis points.
    constructor(
        IERC20 token_,
        TimelockController timelock,
        TimelockController treasury_,
        address slasher,
        address arbiter,
        uint16 incidentCapBps_,
        uint16 windowCapBps_
    ) Timelocked(timelock) {
        Intake.requireToken(token_);
        token = token_;
        _requireTimelock(treasury_);
        treasury = address(treasury_);
        _appoint(SLASHER_ROLE, slasher);
        _appoint(ARBITER_ROLE, arbiter);
        _setCaps(incidentCapBps_, windowCapBps_);
    }

    // ---- The provider ----

    /// @notice Puts up `amount` base units for the caller.
    /// @param amount Refused when it arrives short.
    function stake(uint256 amount) external nonReentrant {
        if (amount == 0) revert ZeroAmount();
        Intake.pull(token, amount);
        positions[msg.sender].bonded += amount;
        totalBonded += amount;
        emit Staked(msg.sender, amount);
    }

    /// @notice Asks for `amount` base units back. A second request restarts the wait of all that is leaving.
    /// @param amount At most what is staked and not leaving yet.
    function requestUnstake(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        Position storage position = positions[msg.sender];
        uint256 available = position.bonded - position.leaving;
        if (amount > available) revert NotStaked(available);
        position.leaving += amount;
        position.withdrawableAt = uint64(block.timestamp) + UNBONDING;
        emit UnstakeRequested(msg.sender, amount, position.withdrawableAt);
    }

    /// @notice Sends what has waited long enough, less what open slashes hold.
    /// @param to Who receives it; the wallet that staked may be one the token refuses by now.
    /// @return amount Base units sent.
    function withdraw(address to) external nonReentrant returns (uint256 amount) {
        if (to == address(0)) revert ZeroAddress();
        Position storage position = positions[msg.sender];
        if (block.timestamp < position.withdrawableAt) revert TooEarly(position.withdrawableAt);
        uint256 free = position.bonded - position.locked;
        amount = position.leaving < free ? position.leaving : free;
        if (amount == 0) revert NothingToWithdraw();

        position.leaving -= amount;
        position.bonded -= amount;
        totalBonded -= amount;
        emit Withdrawn(msg.sender, to, amount);
        token.safeTransfer(to, amount);
    }

    /// @notice Disputes a slash of the caller's stake, within {APPEAL_WINDOW} of its proposal.
    /// @param id The incident.
    function appeal(bytes32 id) external {
        Slash storage slash = slashes[id];
        _requireStage(slash, Stage.Proposed);
        if (msg.sender != slash.provider) revert NotTheProvider(slash.provider);
        if (block.timestamp >= slash.deadline) revert TooLate(slash.deadline);
        slash.stage = Stage.Appealed;
        slash.deadline = uint64(block.timestamp) + ARBITRATION;
        emit SlashAppealed(id, slash.deadline);
    }

    // ---- Slashing ----

    /// @notice Proposes to take `amount` base units of a provider's stake, and holds them until that is decided.
    /// @param id The incident, chosen by the caller; an id works once, so a repeat is harmless.
    /// @param provider Whose stake.
    /// @param amount Base units, within both caps.
    /// @param evidenceHash Keccak-256 of the published evidence.
    function proposeSlash(bytes32 id, address provider, uint256 amount, bytes32 evidenceHash)
        external
        onlyRole(SLASHER_ROLE)
    {
        if (slashes[id].stage != Stage.None) revert SlashExists(id);
        if (amount == 0) revert ZeroAmount();
        Position storage position = positions[provider];
        uint8 slot = _requireWithinCaps(provider, position, amount);

        position.locked += amount;
        ++position.incidents;
        uint64 proposedAt = uint64(block.timestamp);
        uint64 appealUntil = proposedAt + APPEAL_WINDOW;
        _recent[provider][slot] = Recent(amount.toUint184(), proposedAt, false);
        slashes[id] = Slash(provider, amount, evidenceHash, Stage.Proposed, slot, proposedAt, appealUntil);
        emit SlashProposed(id, provider, amount, evidenceHash, appealUntil);
    }

    /// @notice Decides an appeal against the provider.
    /// @param id The incident.
    function uphold(bytes32 id) external onlyRole(ARBITER_ROLE) {
        Slash storage slash = slashes[id];
        _requireStage(slash, Stage.Appealed);
        if (block.timestamp >= slash.deadline) revert TooLate(slash.deadline);
        slash.stage = Stage.Upheld;
        slash.deadline = uint64(block.timestamp);
        emit SlashUpheld(id, msg.sender);
    }

    /// @notice Ends an incident that took nothing yet. The arbiter may at any time, appealed or not. Anyone may once it
    /// lapsed: its appeal waited for {ARBITRATION} without a decision, or nobody executed it in {EXECUTION_WINDOW}.
    /// @param id The incident.
    function overturn(bytes32 id) external {
        Slash storage slash = slashes[id];
        Stage stage = slash.stage;
        bool open = stage == Stage.Proposed || stage == Stage.Appealed || stage == Stage.Upheld;
        if (!open) revert WrongStage(stage);
        uint64 lapsesAt = stage == Stage.Appealed ? slash.deadline : slash.deadline + EXECUTION_WINDOW;
        if (block.timestamp < lapsesAt) _checkRole(ARBITER_ROLE);

        slash.stage = Stage.Overturned;
        positions[slash.provider].locked -= slash.amount;
        Recent storage recent = _recent[slash.provider][slash.slot];
        // After 30 days the place may be another incident's.
        if (recent.proposedAt == slash.proposedAt) recent.amount = 0;
        emit SlashOverturned(id, msg.sender);
    }

    /// @notice Takes the stake of an incident nobody appealed in time, or whose appeal was found wrong. Anyone may call,
    /// within {EXECUTION_WINDOW}.
    /// @param id The incident.
    function executeSlash(bytes32 id) external {
        Slash storage slash = slashes[id];
        Stage stage = slash.stage;
        if (stage != Stage.Proposed && stage != Stage.Upheld) revert WrongStage(stage);
        if (block.timestamp < slash.deadline) revert TooEarly(slash.deadline);
        uint64 lapsesAt = slash.deadline + EXECUTION_WINDOW;
        if (block.timestamp >= lapsesAt) revert TooLate(lapsesAt);

        slash.stage = Stage.Executed;
        uint256 amount = slash.amount;
        Position storage position = positions[slash.provider];
        // What is leaving goes first: asking for the stake back is no way around a slash.
        position.leaving -= amount < position.leaving ? amount : position.leaving;
        position.locked -= amount;
        position.bonded -= amount;
        totalBonded -= amount;
        proceeds += amount;
        // Executed in time, an incident is younger than 30 days: the place is still its own.
        _recent[slash.provider][slash.slot].executed = true;
        emit SlashExecuted(id, slash.provider, amount);
    }

    /// @notice Sends slashed stake to the treasury. Anyone may call. Apart from {executeSlash}, so that a token that
    /// refuses the treasury can't keep a slash open.
    function collectProceeds() external nonReentrant {
        uint256 amount = proceeds;
        if (amount == 0) revert ZeroAmount();
        proceeds = 0;
        emit ProceedsCollected(amount);
        token.safeTransfer(treasury, amount);
    }

    /// @notice Sets the caps of the next incidents. Only the timelock may.
    /// @param incidentCapBps_ Cap of one incident, in basis points.
    /// @param windowCapBps_ Cap of any 30 days, in basis points.
    function setCaps(uint16 incidentCapBps_, uint16 windowCapBps_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setCaps(incidentCapBps_, windowCapBps_);
    }

    // ---- What can be seen ----

    /// @notice What counts as a provider's stake: bonded, neither leaving nor held by an open slash.
    /// @param provider The wallet that staked.
    /// @return Base units.
    function stakeOf(address provider) external view returns (uint256) {
        Position storage position = positions[provider];
        uint256 spokenFor = position.leaving + position.locked;
        return position.bonded > spokenFor ? position.bonded - spokenFor : 0;
    }

    // ---- Helpers ----

    /// @dev Checks both caps and returns the place of the next incident. Shares are compared by products: no rounding.
    function _requireWithinCaps(address provider, Position storage position, uint256 amount)
        private
        view
        returns (uint8 slot)
    {
        Recent[MAX_RECENT] storage recent = _recent[provider];
        slot = uint8(position.incidents % MAX_RECENT);
        if (_isRecent(recent[slot])) revert TooManyIncidents();

        uint256 incidents = amount;
        uint256 stakeBefore = position.bonded;
        for (uint256 i = 0; i < MAX_RECENT; ++i) {
            Recent memory one = recent[i];
            if (!_isRecent(one)) continue;
            incidents += one.amount;
            if (one.executed) stakeBefore += one.amount;
        }
        // What was lost in these 30 days counts as stake for the second cap only: the first is a share of what is left.
        if (amount * BPS > position.bonded * incidentCapBps) {
            revert AboveCap(amount, position.bonded, incidentCapBps);
        }
        if (incidents * BPS > stakeBefore * windowCapBps) revert AboveCap(incidents, stakeBefore, windowCapBps);
        if (amount > position.bonded - position.locked) revert NotStaked(position.bonded - position.locked);
    }

    function _isRecent(Recent memory one) private view returns (bool) {
        return one.proposedAt != 0 && one.proposedAt + CAP_WINDOW > block.timestamp;
    }

    function _requireStage(Slash storage slash, Stage stage) private view {
        if (slash.stage != stage) revert WrongStage(slash.stage);
    }

    function _setCaps(uint16 incidentCapBps_, uint16 windowCapBps_) private {
        if (incidentCapBps_ > windowCapBps_ || windowCapBps_ > BPS) revert CapsOutOfBounds();
        incidentCapBps = incidentCapBps_;
        windowCapBps = windowCapBps_;
        emit CapsSet(incidentCapBps_, windowCapBps_);
    }
}
