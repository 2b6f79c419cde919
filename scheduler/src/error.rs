//! What can go wrong at the scheduler's edges. Refusing an ask is a decision, not an error.

use protocol::{NodeId, OfferId, ProviderId};

/// A failed call to the scheduler's store or registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not answer as expected.
    #[error("database call failed")]
    Database(#[from] sqlx::Error),
    /// No such provider.
    #[error("no provider {0}")]
    ProviderNotFound(ProviderId),
    /// No such node, or not this provider's.
    #[error("no node {0}")]
    NodeNotFound(NodeId),
    /// Its provider took it out.
    #[error(
        "{0} was removed by its provider; registering its key again brings it back (with steelyard-node: delete \
         node.json in its state folder and start it again)"
    )]
    NodeRemoved(NodeId),
    /// No such offer.
    #[error("no offer {0}")]
    OfferNotFound(OfferId),
    /// Another provider has that short name.
    #[error("the slug {0:?} is taken")]
    SlugTaken(String),
    /// The offers were changed since the caller read them.
    #[error("the offers of {node} are at version {actual}, not {expected}")]
    OffersChanged {
        /// Whose offers.
        node: NodeId,
        /// What the caller had read.
        expected: i64,
        /// What is stored.
        actual: i64,
    },
    /// A heartbeat that is not newer than the last.
    #[error("heartbeat {seq} of {node} is not newer than {last}")]
    StaleHeartbeat {
        /// Whose heartbeat.
        node: NodeId,
        /// Its number.
        seq: u64,
        /// The last one taken.
        last: u64,
    },
    /// A node's clock is too far off for its times to mean anything.
    #[error("the clock of {node} is off by {offset_ms} ms")]
    ClockSkew {
        /// Whose clock.
        node: NodeId,
        /// The node's clock minus ours.
        offset_ms: i64,
    },
    /// A row that the code can no longer read: a bug or a change by hand.
    #[error("stored {what} of {id} cannot be read")]
    Corrupt {
        /// Which column.
        what: &'static str,
        /// Whose row.
        id: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
