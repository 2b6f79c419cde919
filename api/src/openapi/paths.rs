//! Operations. The functions are never called: each carries the description of the handler that serves its path.

use super::schemas as s;

macro_rules! operations {
    ($($(#[$attribute:meta])* $name:ident;)+) => {
        $($(#[$attribute])* #[allow(dead_code)] pub(super) fn $name() {})+
    };
}

pub(super) use operations;

operations! {
    /// Answers a conversation.
    ///
    /// With `stream: true` the answer comes as server-sent events ending in `data: [DONE]`; a failure after the first
    /// token is told in band.
    #[utoipa::path(post, path = "/v1/chat/completions", operation_id = "createChatCompletion", tag = "Inference",
        request_body = s::ChatCompletionRequest, security(("inference" = [])),
        responses(
            (status = 200, description = "The answer", content((s::ChatCompletion = "application/json"), (s::ChatCompletionChunk = "text/event-stream"))),
            (status = 400, description = "The request can't be taken as it stands", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 402, description = "No credit, or a limit is reached", body = s::ErrorResponse),
            (status = 403, description = "Not allowed", body = s::ErrorResponse),
            (status = 404, description = "No such model, or no offer that may serve", body = s::ErrorResponse),
            (status = 413, description = "The body is too large", body = s::ErrorResponse),
            (status = 415, description = "Not JSON", body = s::ErrorResponse),
            (status = 429, description = "Full; try again", body = s::ErrorResponse),
            (status = 500, description = "A fault of ours", body = s::ErrorResponse),
            (status = 502, description = "Every provider tried failed", body = s::ErrorResponse),
            (status = 503, description = "Not now; try again", body = s::ErrorResponse),
            (status = 504, description = "No provider answered in time", body = s::ErrorResponse),
        ))]
    create_chat_completion;

    /// Lists the models that may be asked for.
    #[utoipa::path(get, path = "/v1/models", operation_id = "listModels", tag = "Catalogue",
        responses((status = 200, description = "One page with all of them", body = s::ModelList)))]
    list_models;

    /// Describes one model. Slashes in its id may be sent raw or percent-encoded.
    #[utoipa::path(get, path = "/v1/models/{model}", operation_id = "retrieveModel", tag = "Catalogue",
        params(("model" = String, Path, description = "Such as `org/name`")),
        responses((status = 200, description = "The model", body = s::Model), (status = 404, description = "No such model", body = s::ErrorResponse)))]
    retrieve_model;

    /// The bill and the attempts of one answer, within two seconds of its end.
    #[utoipa::path(get, path = "/v1/generation", operation_id = "getGeneration", tag = "Account", security(("inference" = [])),
        params(("id" = String, Query, description = "Any id of the answer: `chatcmpl-…` or `req_…`")),
        responses(
            (status = 200, description = "The generation", body = s::GenerationResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 404, description = "Not in the books", body = s::ErrorResponse),
        ))]
    get_generation;

    /// Credit bought or granted, and credit used.
    #[utoipa::path(get, path = "/v1/credits", operation_id = "getCredits", tag = "Account", security(("inference" = []), ("management" = [])),
        responses((status = 200, description = "Both sums", body = s::CreditsResponse), (status = 401, description = "No valid key", body = s::ErrorResponse)))]
    get_credits;

    /// The key that signs the request: its limit and what it has used.
    #[utoipa::path(get, path = "/v1/key", operation_id = "getKey", tag = "Account", security(("inference" = [])),
        responses((status = 200, description = "The key", body = s::KeyResponse), (status = 401, description = "No valid key", body = s::ErrorResponse)))]
    get_key;

    /// Announces a provider. It is pending until its wallet has signed the challenge in the answer.
    #[utoipa::path(post, path = "/v1/providers", operation_id = "createProvider", tag = "Providers", request_body = s::CreateProvider,
        responses((status = 201, description = "Pending", body = s::CreatedProvider), (status = 400, description = "Bad input", body = s::ErrorResponse)))]
    create_provider;

    /// The provider whose key signs the request.
    #[utoipa::path(get, path = "/v1/providers/{provider}", operation_id = "getProvider", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)),
        responses((status = 200, description = "The provider", body = s::Provider), (status = 401, description = "No valid key", body = s::ErrorResponse), (status = 404, description = "Another provider's id", body = s::ErrorResponse)))]
    get_provider;

    /// Asks for another text to sign.
    #[utoipa::path(post, path = "/v1/providers/{provider}/challenges", operation_id = "createChallenge", tag = "Providers",
        params(("provider" = String, Path)), request_body = s::CreateChallenge,
        responses((status = 200, description = "The one that waits already", body = s::Challenge), (status = 201, description = "Good for ten minutes", body = s::Challenge), (status = 404, description = "No such provider", body = s::ErrorResponse)))]
    create_challenge;

    /// Proves the wallet. A registration makes the provider active and returns its key, this once.
    #[utoipa::path(post, path = "/v1/providers/{provider}/verify", operation_id = "verifyChallenge", tag = "Providers",
        params(("provider" = String, Path)), request_body = s::VerifyChallenge,
        responses((status = 200, description = "Active", body = s::VerifiedProvider), (status = 400, description = "Not its signature, or used before", body = s::ErrorResponse)))]
    verify_challenge;

    /// Registers a machine. The same public key again returns the node already made.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes", operation_id = "createNode", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)), request_body = s::CreateNode,
        responses((status = 201, description = "The node", body = s::Node), (status = 400, description = "Bad input", body = s::ErrorResponse), (status = 401, description = "No valid key", body = s::ErrorResponse)))]
    create_node;

    /// Lists the provider's machines.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes", operation_id = "listNodes", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)),
        responses((status = 200, description = "All of them", body = s::NodeList), (status = 401, description = "No valid key", body = s::ErrorResponse)))]
    list_nodes;

    /// One machine: its state, and what to mend.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes/{node}", operation_id = "getNode", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "The node", body = s::NodeDetail), (status = 404, description = "No such node", body = s::ErrorResponse)))]
    get_node;

    /// Removes a machine: sessions and tunnels end, and only registering its key again brings it back.
    #[utoipa::path(delete, path = "/v1/providers/{provider}/nodes/{node}", operation_id = "deleteNode", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "Gone"), (status = 404, description = "No such node", body = s::ErrorResponse)))]
    delete_node;

    /// Opens a session with a signature of the node's key.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/sessions", operation_id = "openSession", tag = "Providers",
        params(("provider" = String, Path), ("node" = String, Path)), request_body = s::OpenSession,
        responses((status = 201, description = "A token", body = s::SessionToken), (status = 401, description = "Not its signature", body = s::ErrorResponse), (status = 403, description = "Removed, or its provider is suspended", body = s::ErrorResponse)))]
    open_session;

    /// Replaces the node's whole set of offers.
    #[utoipa::path(put, path = "/v1/providers/{provider}/nodes/{node}/offers", operation_id = "putOffers", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag last read")),
        request_body = s::PutOffers,
        responses((status = 200, description = "The set", body = s::OfferList), (status = 400, description = "Bad input", body = s::ErrorResponse), (status = 412, description = "Changed in between", body = s::ErrorResponse)))]
    put_offers;

    /// The node's set of offers.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes/{node}/offers", operation_id = "getOffers", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "The set, with its ETag", body = s::OfferList)))]
    get_offers;

    /// Says that the node is there, and how busy.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/heartbeat", operation_id = "sendHeartbeat", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = s::Heartbeat,
        responses((status = 200, description = "When to send the next, and what to do", body = s::HeartbeatReply), (status = 400, description = "Out of order, or the clock is off", body = s::ErrorResponse)))]
    send_heartbeat;

    /// No new work; what runs may finish.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/drain", operation_id = "drainNode", tag = "Providers", security(("session" = []), ("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = s::DrainRequest,
        responses((status = 200, description = "Draining", body = s::Node)))]
    drain_node;

    /// Takes work again.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/resume", operation_id = "resumeNode", tag = "Providers", security(("session" = []), ("provider" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 200, description = "Ready", body = s::Node)))]
    resume_node;

    /// Upgrades to a tunnel in which the node serves HTTP/2. Send `connection: upgrade` and `upgrade: steelyard-h2`.
    #[utoipa::path(get, path = "/v1/providers/{provider}/nodes/{node}/tunnel", operation_id = "openTunnel", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)),
        responses((status = 101, description = "The connection is a tunnel now"), (status = 401, description = "No valid token", body = s::ErrorResponse)))]
    open_tunnel;

    /// Hands in signed usage reports, at most 500. Idempotent by attempt.
    #[utoipa::path(post, path = "/v1/providers/{provider}/nodes/{node}/reports", operation_id = "putReports", tag = "Providers", security(("session" = [])),
        params(("provider" = String, Path), ("node" = String, Path)), request_body = s::PutReports,
        responses((status = 200, description = "Which were taken", body = s::ReportsReply), (status = 400, description = "Bad input", body = s::ErrorResponse)))]
    put_reports;

    /// What the provider earned, by time and, as asked, by model, node or offer.
    #[utoipa::path(get, path = "/v1/providers/{provider}/earnings", operation_id = "listEarnings", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("start_time" = i64, Query, description = "Unix seconds"), ("end_time" = Option<i64>, Query, description = "Unix seconds; now when absent"),
            ("bucket_width" = Option<String>, Query, description = "`1m`, `1h` or `1d`"), ("group_by[]" = Option<Vec<String>>, Query, description = "`model`, `node`, `offer`"),
            ("limit" = Option<u32>, Query, description = "Buckets on a page"), ("page" = Option<String>, Query, description = "`next_page` of the page before")),
        responses((status = 200, description = "Buckets", body = s::EarningsPage), (status = 400, description = "Bad input", body = s::ErrorResponse)))]
    list_earnings;

    /// Takes bytes and gives bytes, for timing the line. At most 2 MiB either way.
    #[utoipa::path(post, path = "/v1/providers/{provider}/bandwidth", operation_id = "timeBandwidth", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("download_bytes" = Option<u32>, Query, description = "Bytes to answer with")),
        responses((status = 200, description = "So many zeros", content_type = "application/octet-stream"), (status = 413, description = "Too many bytes", body = s::ErrorResponse)))]
    time_bandwidth;

    /// The process runs.
    #[utoipa::path(get, path = "/health/live", operation_id = "healthLive", tag = "Operation", responses((status = 200, description = "Yes")))]
    health_live;

    /// The process can answer requests: its database is reachable and it is not draining.
    #[utoipa::path(get, path = "/health/ready", operation_id = "healthReady", tag = "Operation",
        responses((status = 200, description = "Yes"), (status = 503, description = "No", body = s::ErrorResponse)))]
    health_ready;

    /// Metrics in Prometheus' text format.
    #[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "Operation", responses((status = 200, description = "All of them", body = String, content_type = "text/plain")))]
    get_metrics;
}
