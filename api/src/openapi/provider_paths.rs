//! Operations of those who supply machines.

use super::account_schemas as a;
use super::provider_schemas as p;
use super::schemas as s;
use super::shape::operations;
use super::standing as r;

operations! {
    /// Announces a provider. It is pending until its wallet has signed the challenge in the answer.
    #[utoipa::path(post, path = "/v1/providers", operation_id = "createProvider", tag = "Providers", security(()), request_body = p::CreateProvider,
        responses(r::Limited, (status = 201, description = "Pending", body = p::CreatedProvider)))]
    create_provider;

    /// The provider whose key signs the request.
    #[utoipa::path(get, path = "/v1/providers/{provider}", operation_id = "getProvider", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)),
        responses((status = 200, description = "The provider", body = p::Provider)))]
    get_provider;

    /// Asks for another text to sign.
    #[utoipa::path(post, path = "/v1/providers/{provider}/challenges", operation_id = "createChallenge", tag = "Providers", security(()),
        params(("provider" = String, Path)), request_body = p::CreateChallenge,
        responses((status = 200, description = "The one that waits already", body = p::Challenge), (status = 201, description = "Good for ten minutes", body = p::Challenge)))]
    create_challenge;

    /// Proves the wallet. A registration makes the provider active and returns its key, this once.
    #[utoipa::path(post, path = "/v1/providers/{provider}/verify", operation_id = "verifyChallenge", tag = "Providers", security(()),
        params(("provider" = String, Path)), request_body = p::VerifyChallenge,
        responses((status = 200, description = "Active", body = p::VerifiedProvider)))]
    verify_challenge;

    /// Registers a machine. The same public key again returns the node already made.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes", operation_id = "createNode", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)), request_body = p::CreateNode,
        responses((status = 200, description = "The node already made", body = p::Node), (status = 201, description = "The node", body = p::Node)))]
    create_node;

    /// Lists the provider's machines.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes", operation_id = "listNodes", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses((status = 200, description = "One page, newest first", body = p::NodeList)))]
    list_nodes;

    /// One machine: its state, and what to mend.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes/{node}", operation_id = "getNode", tag = "Providers", security(("session" = []), ("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "The node", body = p::NodeDetail)))]
    get_node;

    /// Removes a machine: sessions and tunnels end, and only registering its key again brings it back.
    #[utoipa::path(delete, path = "/v1/providers/{provider}/nodes/{node}", operation_id = "deleteNode", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "Gone", body = a::DeletedObject)))]
    delete_node;

    /// Opens a session with a signature of the node's key.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/sessions", operation_id = "openSession", tag = "Providers", security(()),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = p::OpenSession,
        responses(r::Sessions, (status = 201, description = "A token", body = p::SessionToken)))]
    open_session;

    /// Replaces the node's whole set of offers.
    #[utoipa::path(put, path = "/v1/providers/{provider}/nodes/{node}/offers", operation_id = "putOffers", tag = "Providers", security(("session" = []), ("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag last read")),
        request_body = p::PutOffers,
        responses((status = 200, description = "The set", body = p::OfferList, headers(("etag" = String, description = "The version of the set"))), (status = 412, description = "Changed in between", body = s::ErrorResponse)))]
    put_offers;

    /// The node's set of offers.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes/{node}/offers", operation_id = "getOffers", tag = "Providers", security(("session" = []), ("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "The set, with its ETag", body = p::OfferList, headers(("etag" = String, description = "The version of the set")))))]
    get_offers;

    /// Says that the node is there, and how busy.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/heartbeat", operation_id = "sendHeartbeat", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = p::Heartbeat,
        responses((status = 200, description = "When to send the next, and what to do", body = p::HeartbeatReply)))]
    send_heartbeat;

    /// No new work; what runs may finish.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/drain", operation_id = "drainNode", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = p::DrainRequest,
        responses((status = 200, description = "Draining", body = p::Node)))]
    drain_node;

    /// Takes work again.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/resume", operation_id = "resumeNode", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "Ready", body = p::Node)))]
    resume_node;

    /// Upgrades to a tunnel in which the node serves HTTP/2. Send `connection: upgrade` and `upgrade: steelyard-h2`.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes/{node}/tunnel", operation_id = "openTunnel", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 101, description = "The connection is a tunnel now")))]
    open_tunnel;

    /// Hands in signed usage reports, at most 500. Idempotent by attempt.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/reports", operation_id = "putReports", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = p::PutReports,
        responses((status = 200, description = "Which were taken", body = p::ReportsReply)))]
    put_reports;

    /// Makes known the key a node signs its reports with, and what to sign them for. The provider's wallet may vouch for it.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/receipt_keys", operation_id = "announceReceiptKey", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = p::AnnounceReceiptKey,
        responses((status = 200, description = "Known", body = p::ReceiptKey)))]
    announce_receipt_key;

    /// Lists what the provider was given for each attempt.
    #[utoipa::path(get, path = "/v1/providers/{provider}/receipts", operation_id = "listReceipts", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses((status = 200, description = "One page, newest first", body = p::ReceiptList)))]
    list_receipts;

    /// One receipt, with both signatures.
    #[utoipa::path(get, path = "/v1/providers/{provider}/receipts/{receipt}", operation_id = "getReceipt", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("receipt" = String, Path)),
        responses((status = 200, description = "The receipt", body = p::Receipt)))]
    get_receipt;

    /// Objects to a receipt, within 30 days of its release. It stays as it is; what is decided is paid beside it.
    #[utoipa::path(post, path = "/v1/providers/{provider}/receipts/{receipt}/dispute", operation_id = "disputeReceipt", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("receipt" = String, Path)), request_body = p::DisputeReceipt,
        responses((status = 200, description = "Disputed before", body = p::Receipt), (status = 201, description = "Disputed", body = p::Receipt)))]
    dispute_receipt;

    /// What an epoch comes to, and the whole payout tree, in the bytes whose hashes are on chain. Public.
    #[utoipa::path(get, path = "/v1/epochs/{epoch}/manifest", operation_id = "getEpochManifest", tag = "Providers", security(()),
        params(("epoch" = u64, Path)),
        responses((status = 200, description = "The manifest", body = p::EpochManifest)))]
    get_epoch_manifest;

    /// Lists what epochs owe the provider.
    #[utoipa::path(get, path = "/v1/providers/{provider}/payouts", operation_id = "listPayouts", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses((status = 200, description = "One page, newest first", body = p::PayoutList)))]
    list_payouts;

    /// One payout.
    #[utoipa::path(get, path = "/v1/providers/{provider}/payouts/{payout}", operation_id = "getPayout", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("payout" = String, Path)),
        responses((status = 200, description = "The payout", body = p::Payout)))]
    get_payout;

    /// The signed statement behind a payout, and the proofs it is claimed with.
    #[utoipa::path(get, path = "/v1/providers/{provider}/payouts/{payout}/statement", operation_id = "getPayoutStatement", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("payout" = String, Path)),
        responses((status = 200, description = "The statement", body = p::PayoutStatement)))]
    get_payout_statement;

    /// Everything to verify a payout offline, down to each receipt, with `steelyard verify-payout`.
    #[utoipa::path(get, path = "/v1/providers/{provider}/payouts/{payout}/bundle", operation_id = "getPayoutBundle", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("payout" = String, Path)),
        responses((status = 200, description = "The files", body = p::PayoutBundle)))]
    get_payout_bundle;

    /// The broker's own check of the bundle.
    #[utoipa::path(get, path = "/v1/providers/{provider}/payouts/{payout}/verification", operation_id = "verifyPayout", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("payout" = String, Path)),
        responses((status = 200, description = "What it found", body = p::PayoutVerification)))]
    verify_payout;

    /// Where the provider is paid, and what is about to change.
    #[utoipa::path(get, path = "/v1/providers/{provider}/payout_account", operation_id = "getPayoutAccount", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)),
        responses((status = 200, description = "The account", body = p::PayoutAccount)))]
    get_payout_account;

    /// Asks for another account, signed by the old and the new one. It counts after 48 hours, in which nothing is paid.
    #[utoipa::path(post, path = "/v1/providers/{provider}/payout_account", operation_id = "changePayoutAccount", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)), request_body = p::ChangePayoutAccount,
        responses((status = 202, description = "Waiting", body = p::PayoutAccount)))]
    change_payout_account;

    /// Takes a change back that does not count yet.
    #[utoipa::path(post, path = "/v1/providers/{provider}/payout_account/cancel", operation_id = "cancelPayoutAccountChange", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)),
        responses((status = 200, description = "The account stays", body = p::PayoutAccount)))]
    cancel_payout_account_change;

    /// What the provider earned, by time and, as asked, by model, node or offer.
    #[utoipa::path(get, path = "/v1/providers/{provider}/earnings", operation_id = "listEarnings", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("start_time" = i64, Query, description = "Unix seconds"), ("end_time" = Option<i64>, Query, description = "Unix seconds; now when absent"),
            ("bucket_width" = Option<String>, Query, description = "`1m`, `1h` or `1d`"), ("group_by[]" = Option<Vec<String>>, Query, description = "`model`, `node`, `offer`"),
            ("limit" = Option<u32>, Query, description = "Buckets on a page"), ("page" = Option<String>, Query, description = "`next_page` of the page before")),
        responses((status = 200, description = "Buckets", body = p::EarningsPage)))]
    list_earnings;

    /// Everything the provider has earned: what waits, what is held, what is released, what was paid, and what it can claim.
    #[utoipa::path(get, path = "/v1/providers/{provider}/balance", operation_id = "getBalance", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)),
        responses((status = 200, description = "The balance", body = p::ProviderBalance)))]
    get_balance;

    /// Takes bytes and gives bytes, for timing the line. At most 2 MiB either way.
    #[utoipa::path(post, path = "/v1/providers/{provider}/bandwidth", operation_id = "timeBandwidth", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("download_bytes" = Option<u32>, Query, description = "Bytes to answer with")),
        responses((status = 200, description = "So many zeros", content_type = "application/octet-stream"), (status = 413, description = "Too many bytes", body = s::ErrorResponse)))]
    time_bandwidth;
}
