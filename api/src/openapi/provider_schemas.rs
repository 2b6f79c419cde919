//! Shapes of providers on the wire: those who supply machines, their nodes and their offers.

use std::collections::BTreeMap;

use super::shape::{JsonObject, objects};

objects! {
    /// A provider to be.
    CreateProvider {
        name: String,
        /// Lower-case letters, digits and dashes.
        slug: String,
        contact_email: String,
        /// ISO 3166 alpha-2.
        country: String,
        terms_version: String,
        /// CAIP-10, such as `eip155:8453:0x…`.
        payout_account: String,
        /// The wallet that signs for the provider.
        receipt_address: String,
        ;
        website: Option<String>, privacy_policy_url: Option<String>,
    }
    /// A pending provider.
    CreatedProvider { provider: Provider, challenge: Challenge, }
    /// A provider.
    Provider {
        id: String,
        /// Always `provider`.
        object: String,
        name: String, slug: String,
        /// `pending`, `active`, `suspended` or `closed`.
        state: String,
        created_at: i64,
    }
    /// A text to be signed once with `personal_sign`.
    Challenge { id: String, message: String, expires_at: i64, }
    /// What a challenge is for.
    CreateChallenge {
        /// Such as `register` or `key_rotation`.
        purpose: String,
    }
    /// A signed challenge.
    VerifyChallenge { challenge_id: String, signature: String, }
    /// An active provider and its key.
    VerifiedProvider { provider: Provider, key: String, }
    /// A machine to be.
    CreateNode {
        /// ed25519, 64 hex digits.
        public_key: String,
        /// `tunnel` or `direct`.
        mode: String,
        hardware: Hardware, location: NodeLocation, engine: NodeEngine,
        ;
        /// Where a direct node is called.
        base_url: Option<String>,
        /// With what it is called.
        upstream_key: Option<String>,
        privacy: NodePrivacy,
    }
    /// What a machine has.
    Hardware {
        cpu_cores: u32, ram_mib: u64,
        ;
        gpus: Vec<Gpu>, disk_gib: u64, net_mbps: u64, driver: Option<String>,
    }
    /// Graphics cards of one kind.
    Gpu { vendor: String, model: String, count: u32, memory_mib: u64, ; interface: Option<String>, }
    /// Where a machine is.
    NodeLocation {
        /// ISO 3166 alpha-2.
        country_code: String,
        ;
        region: Option<String>,
    }
    /// What answers on a machine.
    NodeEngine { name: String, ; version: Option<String>, }
    /// What a provider promises.
    NodePrivacy {;
        /// Retains nothing.
        zdr: bool,
        /// Trains on what it sees.
        training: bool,
        logging_days: u32,
    }
    /// A machine.
    Node {
        id: String,
        /// Always `node`.
        object: String,
        provider_id: String,
        /// Such as `verifying`, `ready`, `draining` or `offline`.
        state: String,
        /// `declared`, `measured`, `audited` or `attested`.
        trust: String,
        /// `tunnel` or `direct`.
        mode: String,
        created_at: i64, tunnels: u32,
        ;
        last_seen_at: i64,
    }
    /// A machine, what keeps it from work, and how it fares among others.
    NodeDetail {
        id: String,
        /// Always `node`.
        object: String,
        provider_id: String,
        /// Such as `verifying`, `ready`, `draining` or `offline`.
        state: String,
        /// `declared`, `measured`, `audited` or `attested`.
        trust: String,
        /// `tunnel` or `direct`.
        mode: String,
        created_at: i64, tunnels: u32,
        ;
        last_seen_at: i64,
        /// What keeps it from work.
        checks: Vec<NodeCheck>,
        placement: NodePlacement,
    }
    /// Something that keeps a machine from work.
    NodeCheck {
        name: String, seen: String,
        /// What to do about it.
        fix: String,
        ;
        /// When it is looked at again.
        next_at: i64,
    }
    /// Counts of one ask in so many since this replica began.
    NodePlacement {
        since: i64, one_in: u64, sampled: u64, eligible: u64, won: u64,
        /// By reason.
        lost: BTreeMap<String, u64>,
        demand: Vec<ModelDemand>,
        ;
        price_to_win_half: f64,
    }
    /// How much a model is asked for.
    ModelDemand { model: String, asks_per_minute: f64, }
    /// Machines.
    NodeList { object: String, data: Vec<Node>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// What was earned, in buckets of time.
    EarningsPage { object: String, data: Vec<EarningsBucket>, has_more: bool, next_page: Option<String>, }
    /// One span of time.
    EarningsBucket { object: String, start_time: i64, end_time: i64, results: Vec<EarningsResult>, }
    /// Decimal strings, in USD: what users pay for the work, the broker's share of it, and the rest.
    EarningsResult {
        object: String, model: Option<String>, node_id: Option<String>, offer_id: Option<String>, attempts: i64,
        gross: String, fee: String, net: String,
    }
    /// All a provider has earned since the beginning, in four parts that add up to it. Dollars are decimal strings.
    ProviderBalance {
        /// Always `provider.balance`.
        object: String,
        provider: String,
        earned_usd: String,
        /// Not released yet.
        pending_usd: String,
        /// Released, and kept back for the reasons in `held_for`.
        held_usd: String,
        /// `case`, `payee_change`, `screening` or `no_payee`.
        held_for: Vec<String>,
        /// For the next payout, or in a tree and not claimed yet.
        released_usd: String,
        /// Paid by the contract, for good.
        paid_usd: String,
        tokens: Vec<ProviderTokens>,
        claim: Option<ProviderClaim>,
    }
    /// What a payout contract owes and has paid a provider, in base units of its token.
    ProviderTokens { chain_id: u64, distributor: String, token: String, decimals: u8, released: String, paid: String, }
    /// The epoch whose tree is active, and the newest payout in it.
    ProviderClaim { epoch: u64, payout: String, }
    /// Proof of a node's key.
    OpenSession { nonce: String, timestamp_ms: i64, signature: String, }
    /// A session.
    SessionToken { token: String, expires_at_ms: i64, server_time_ms: i64, }
    /// The whole set of a node's offers.
    PutOffers { offers: Vec<OfferSpec>, }
    /// One model at a price.
    OfferSpec {
        #[schema(min_length = 1, max_length = 200)]
        model: String,
        #[schema(min_length = 1, max_length = 200)]
        upstream_model: String,
        #[schema(minimum = 1, maximum = 16777216)]
        context_length: u32,
        pricing: Vec<OfferPrice>,
        ;
        /// Such as `fp8`.
        quantization: Option<String>,
        #[schema(minimum = 1)]
        max_output_tokens: Option<u32>,
        /// `text`, `image`, `audio`, `file`.
        input_modalities: Vec<String>,
        /// `text`, `embeddings`, `moderation`, `image`, `speech`, `transcription`: what may be asked for.
        output_modalities: Vec<String>,
        #[schema(max_items = 128)]
        supported_parameters: Vec<String>,
        /// `inference`, `batch`, `fine_tune`.
        kinds: Vec<String>,
        capacity: Vec<OfferCapacity>, is_ready: bool, deprecation_date: Option<String>,
    }
    /// A price.
    OfferPrice {
        /// Such as `prompt` or `completion`.
        r#type: String,
        /// What its type is priced by: `token`, `request` or `second`.
        unit: String,
        /// US dollars, as a decimal string.
        cost_usd: String,
    }
    /// A bound.
    OfferCapacity {
        /// Such as `concurrency`.
        r#type: String,
        value: u64,
        ;
        unit: Option<String>, per: Option<String>,
    }
    /// Offers as stored.
    OfferList { object: String, data: Vec<Offer>, }
    /// An offer as stored.
    Offer {
        id: String,
        /// `staged`, `active`, `degraded`, `paused` or `retired`.
        state: String,
        price_version: u32, model: String, upstream_model: String, quantization: Option<String>, context_length: u32,
        max_output_tokens: Option<u32>, input_modalities: Vec<String>, output_modalities: Vec<String>,
        supported_parameters: Vec<String>, kinds: Vec<String>, pricing: Vec<OfferPrice>, capacity: Vec<OfferCapacity>,
        is_ready: bool, deprecation_date: Option<String>,
    }
    /// A sign of life.
    Heartbeat {
        /// Must rise.
        seq: u64,
        sent_at_ms: i64,
        /// `ready`, `busy` or `draining`.
        state: String,
        ;
        offers: Vec<OfferLoad>, gpus: Vec<GpuLoad>,
    }
    /// How busy an offer is.
    OfferLoad { offer_id: String, in_flight: u32, ; queued: u32, kv_cache_free: Option<f64>, }
    /// How busy a graphics card is.
    GpuLoad { used_mib: u64, util: f64, ; temp_c: Option<f64>, }
    /// What comes next.
    HeartbeatReply { server_time_ms: i64, next_in_ms: u64, commands: Vec<NodeCommand>, }
    /// What a node is to do.
    NodeCommand {
        id: String,
        /// Such as `drain`, `resume` or `reload_offers`.
        r#type: String,
        args: JsonObject,
    }
    /// How to drain.
    DrainRequest {; deadline_s: Option<u32>, reason: Option<String>, }
    /// Reports.
    PutReports {
        #[schema(max_items = 500)]
        reports: Vec<SignedReport>,
    }
    /// A report and its node's signature: EIP-712 typed data, by a receipt key the node announced.
    SignedReport {
        report: JsonObject, signature: String,
        ;
        /// What came with the dispatch, as it came.
        ticket: Option<String>,
    }
    /// A key that will sign reports.
    AnnounceReceiptKey {
        /// An EVM address.
        key: String,
        ;
        /// The provider's wallet over the typed data `ReceiptKey(bytes16 provider,address key)`.
        delegation: Option<String>,
    }
    /// A key that signs reports.
    ReceiptKey { key: String, delegated: bool, domain: ReceiptDomain, }
    /// What reports are signed for: the payout contract and its chain.
    ReceiptDomain { chain_id: u64, distributor: String, }
    /// What one attempt comes to, in decimal strings of USD.
    Receipt {
        id: String,
        /// Always `receipt`.
        object: String,
        generation_id: String, request_id: String, node_id: String, offer_id: String, price_version: u32, model: String,
        units: Vec<ReceiptUnit>,
        started_at_ms: i64, finished_at_ms: i64, settled_at_ms: i64,
        /// When it may be paid.
        release_at: i64,
        /// Such as `completed`, `provider_failed` or `gateway_fault`.
        status: String,
        request_sha256: Option<String>, response_sha256: Option<String>,
        gross_usd: String, fee_usd: String, net_usd: String,
        /// `unsigned`: no report came; `apart`: it counts otherwise; `recovered`: nothing but it is known.
        flags: Vec<String>,
        provider_signature: Option<String>, gateway_signature: String,
        /// `open`, `upheld` or `rejected`.
        dispute: Option<String>,
    }
    /// So many units of one price.
    ReceiptUnit {
        /// Such as `prompt` or `completion`.
        r#type: String,
        count: u32,
    }
    /// Receipts.
    ReceiptList { object: String, data: Vec<Receipt>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// What an epoch comes to.
    EpochManifest {
        /// Always `epoch.manifest`.
        object: String,
        epoch: u64,
        /// Its keccak is the contract's `manifestHash`.
        manifest: JsonObject,
        signature: String,
        /// By provider: what each has been owed in tokens since the beginning.
        leaves: Vec<PayoutLeaf>,
    }
    /// A leaf of the payout tree.
    PayoutLeaf { provider: String, payee: String, cumulative: String, }
    /// What one epoch owes a provider.
    Payout {
        id: String,
        /// Always `payout`.
        object: String,
        epoch: u64,
        /// `open`, `frozen`, `proposed`, `claimable`, `paid` or `failed`.
        status: String,
        usd: Option<String>, carried_usd: Option<String>,
        /// Why nothing is paid: `below_minimum`, `payee_change`, `screening` or `no_payee`.
        waiting: Option<String>,
        /// Base units of the token.
        token_amount: Option<String>,
        cumulative_token_amount: Option<String>, payee: Option<String>, receipts: Option<u64>, paid_at: Option<i64>,
    }
    /// Payouts.
    PayoutList { object: String, data: Vec<Payout>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// A statement and its proofs.
    PayoutStatement {
        id: String,
        /// Always `payout.statement`.
        object: String,
        /// The document and the broker's signature.
        statement: JsonObject,
        /// From the statement to the manifest's `statements_root`.
        proof: Vec<String>,
        manifest_hash: String,
        claim: Option<PayoutClaim>,
    }
    /// What the contract's `claim` takes besides provider, payee and sum.
    PayoutClaim { root: String, proof: Vec<String>, }
    /// A payout's files, by name.
    PayoutBundle {
        id: String,
        /// Always `payout.bundle`.
        object: String,
        files: BTreeMap<String, String>,
    }
    /// What a check of a payout found.
    PayoutVerification {
        id: String,
        /// Always `payout.verification`.
        object: String,
        verified: bool, flaw: Option<String>, manifest_hash: Option<String>, leaves_root: Option<String>,
        unsigned: Option<u64>, unvouched: Option<u64>,
    }
    /// Where a provider is paid.
    PayoutAccount {
        /// Always `payout_account`.
        object: String,
        /// CAIP-10.
        account: Option<String>,
        next_nonce: u64, pending: Option<PendingPayoutAccount>,
    }
    /// An account that does not count yet.
    PendingPayoutAccount { account: String, nonce: u64, requested_at: i64, effective_at: i64, }
    /// Another account, with both accounts' signatures over the typed data
    /// `PayoutChange(bytes16 provider,uint64 nonce,string from,string to)`.
    ChangePayoutAccount { account: String, nonce: u64, old_signature: String, new_signature: String, }
    /// What is wrong with a receipt.
    DisputeReceipt {
        #[schema(min_length = 1, max_length = 2000)]
        reason: String,
    }
    /// What became of them.
    ReportsReply { accepted: u32, refused: Vec<RefusedReport>, }
    /// A report that was not taken.
    RefusedReport { attempt: String, reason: String, }
}
