//! Names of our own HTTP headers, lower-case as HTTP/2 wants them.

/// The request id, on every answer of the gateway.
pub const REQUEST_ID: &str = "x-request-id";
/// To a node: the request an attempt belongs to.
pub const GENERATION: &str = "x-steelyard-generation";
/// To a node: this attempt.
pub const ATTEMPT: &str = "x-steelyard-attempt";
/// To a node: the offer the attempt is for.
pub const OFFER: &str = "x-steelyard-offer";
/// To a node: the price version pinned for the attempt.
pub const PRICE_VERSION: &str = "x-steelyard-price-version";
/// To a node: how many admission credits the attempt weighs.
pub const CREDITS: &str = "x-steelyard-credits";
/// To a node: the number of this dispatch from this replica, rising by its weight.
pub const DISPATCH: &str = "x-steelyard-dispatch";
/// To a node: what the broker sealed for itself, to be handed back with the report.
pub const TICKET: &str = "x-steelyard-ticket";
/// From a node: why it refused at once; the only value is `credit`.
pub const REFUSED: &str = "x-steelyard-refused";
/// Both ways: which revision of this protocol is spoken.
pub const PROTOCOL: &str = "x-steelyard-protocol";
/// To a node: the replica that opened the control stream.
pub const REPLICA: &str = "x-steelyard-replica";
/// The `Upgrade` token of a tunnel.
pub const TUNNEL_UPGRADE: &str = "steelyard-h2";
/// The path of the standing control stream inside a tunnel.
pub const CONTROL_PATH: &str = "/steelyard/v1/control";
/// The path that answers 200 inside a tunnel while the node is up.
pub const HEALTH_PATH: &str = "/steelyard/v1/health";
