//! What can go wrong between us and a chain.

/// Everything a chain and its endpoints can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An endpoint of the chain gave no answer, or none that could be read.
    #[error("the {endpoint} endpoint of the chain did not answer {method}")]
    Away {
        /// Which of ours.
        endpoint: &'static str,
        /// What was asked.
        method: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The chain tells what can't be, or endpoints tell different things: nothing is done about it before that ends.
    #[error("what the chain tells is not believed: {reason}")]
    Doubt {
        /// What is wrong.
        reason: String,
    },
    /// The contract would refuse a call, so it is not made.
    #[error("the contract refuses to {wish}: {reason}")]
    Refuses {
        /// What was wished for.
        wish: String,
        /// In its words.
        reason: String,
    },
    /// The chain's settings or the key are of no use.
    #[error("the chain can't be used: {reason}")]
    Unfit {
        /// What is wrong.
        reason: String,
    },
}
