//! Nodes their providers removed: whatever tunnels they hold must close, on every replica.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use platform::worker::{Next, Worker};
use protocol::{NodeId, Timestamp};
use tokio::sync::watch;

use crate::state::AppState;

/// How long a removal is looked out for. Sessions end with it, so a tunnel opened later is not possible; this only
/// has to outlast one that was being opened, and a few looks that failed.
const LATELY: Duration = Duration::from_secs(120);

/// Who was removed lately. Clones share it.
#[derive(Debug, Clone)]
pub struct Removals(Arc<watch::Sender<HashSet<NodeId>>>);

impl Default for Removals {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(HashSet::new())))
    }
}

impl Removals {
    /// `node` was removed: its tunnels to this replica close at once.
    pub fn note(&self, node: NodeId) {
        self.0.send_if_modified(|removed| removed.insert(node));
    }

    /// `node` is back.
    pub fn forget(&self, node: NodeId) {
        self.0.send_if_modified(|removed| removed.remove(&node));
    }

    /// Returns once `node` was removed.
    pub async fn of(&self, node: NodeId) {
        let mut removed = self.0.subscribe();
        // The sender lives in `self`, so this only ends with the node in the set.
        let _ = removed.wait_for(|removed| removed.contains(&node)).await;
    }

    fn replace(&self, fresh: HashSet<NodeId>) {
        self.0.send_if_modified(|removed| {
            *removed != fresh && {
                *removed = fresh;
                true
            }
        });
    }
}

/// Hears of removals that other replicas took.
pub struct Lookout(pub AppState);

impl Worker for Lookout {
    type Error = scheduler::Error;

    fn name(&self) -> &'static str {
        "api.removal"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, scheduler::Error> {
        let mut conn = self.0.db.acquire().await?;
        let removed = scheduler::store::nodes::list_removed(&mut conn, now.minus(LATELY)).await?;
        self.0.removals.replace(removed.into_iter().collect());
        Ok(Next::Wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Id as _;

    #[tokio::test]
    async fn who_waits_for_a_removal_hears_of_it_whenever_it_came() {
        let (removals, node) = (Removals::default(), NodeId::from_uuid(uuid::Uuid::from_u128(1)));
        let waiting = tokio::spawn({
            let removals = removals.clone();
            async move { removals.of(node).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        removals.note(node);
        waiting.await.unwrap_or_default();
        removals.of(node).await;
        removals.forget(node);
        let again = tokio::time::timeout(Duration::from_millis(20), removals.of(node)).await;
        assert!(again.is_err(), "it is back");
    }
}
