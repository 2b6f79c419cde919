//! The scheduler as the gateway sees it: one cheap handle to the snapshot, the counters, the rooms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use protocol::load::{NodeFrame, ReplicaFrame};
use protocol::session::{Heartbeat, NodeMode, NodeState};
use protocol::{Env, NodeId, OfferId, OrganizationId, Timestamp};
use rand::Rng;
use sqlx::PgConnection;
use tokio::sync::Notify;

use crate::ask::Ask;
use crate::attempt::Record;
use crate::config::Config;
use crate::credit;
use crate::error::Error;
use crate::explain::Explanation;
use crate::liveness::{Heard, Heartbeats, START_GRACE, Standing, standing};
use crate::place::room::Rooms;
use crate::place::{Decision, Placed, Why, place, probe};
use crate::pool::build::Registry;
use crate::pool::live::{Admission, Presence};
use crate::pool::node_live::NodeLive;
use crate::pool::snapshot::Snapshot;
use crate::provider::Listing;
use crate::replay::{Placement, Replay};
use crate::store;
use crate::telemetry::{TIMED_ONE_IN, telemetry};

/// Placement and everything it needs to know. Clones share all of it.
#[derive(Debug, Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    env: Env,
    config: Config,
    snapshot: ArcSwap<Snapshot>,
    registry: Mutex<Registry>,
    heartbeats: Mutex<Heartbeats>,
    rooms: Arc<Rooms>,
    replay: Replay,
    changed: Changed,
    /// Counts decisions, to time a share of them.
    decisions: AtomicU32,
    grace_until: Timestamp,
}

/// A note that the snapshot is out of date.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    dirty: AtomicBool,
    notify: Notify,
}

impl Changed {
    fn mark(&self) {
        self.dirty.store(true, Ordering::Release);
        self.notify.notify_one();
    }
}

impl Scheduler {
    /// Knows nothing yet; [`Scheduler::reload`] reads the rows.
    #[must_use]
    pub fn new(env: Env, config: Config) -> Self {
        let now = env.now();
        let grace_until = now.plus(START_GRACE);
        let inner = Inner {
            snapshot: ArcSwap::from_pointee(Snapshot::empty(now, grace_until)),
            registry: Mutex::new(Registry::new(now)),
            heartbeats: Mutex::default(),
            rooms: Arc::default(),
            replay: Replay::new(now),
            changed: Changed::default(),
            decisions: AtomicU32::new(0),
            grace_until,
            config,
            env,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What placement may choose from just now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Reads all rows again and builds a snapshot of them.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`]; the snapshot before stays in use.
    pub async fn reload(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let listings = store::pool::load(conn).await?;
        self.load(listings, self.inner.env.now());
        Ok(())
    }

    /// Takes rows read elsewhere and builds a snapshot of them.
    pub fn load(&self, listings: Vec<Arc<Listing>>, now: Timestamp) {
        let mut registry = self.inner.registry.lock();
        registry.load(listings, &self.inner.config, now);
        for listing in registry.listings() {
            if let (Some(at), Some(live)) = (listing.node.last_seen_at, registry.known_node(listing.node.id)) {
                live.beat_elsewhere(at);
            }
        }
        self.rebuild_from(&mut registry, now);
    }

    /// Builds a snapshot from the rows last read and the counters as they are.
    pub fn rebuild(&self, now: Timestamp) {
        self.rebuild_from(&mut self.inner.registry.lock(), now);
    }

    fn rebuild_from(&self, registry: &mut Registry, now: Timestamp) {
        // Cleared first: a change during the build asks for another one.
        self.inner.changed.dirty.store(false, Ordering::Release);
        let snapshot = registry.build(now, self.inner.grace_until);
        self.inner.snapshot.store(Arc::new(snapshot));
        self.inner.rooms.room_freed();
    }

    /// Asks for a rebuild soon.
    pub fn mark_changed(&self) {
        self.inner.changed.mark();
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.inner.changed.dirty.load(Ordering::Acquire)
    }

    pub(crate) async fn changed(&self) {
        self.inner.changed.notify.notified().await;
    }

    /// Decides where an ask is served. Takes nothing yet: [`Scheduler::admit`] does.
    pub fn place(&self, ask: &Ask, now: Timestamp, rng: &mut impl Rng) -> Decision {
        let timed = self.inner.decisions.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIMED_ONE_IN);
        let begun = timed.then(std::time::Instant::now);
        let snapshot = self.inner.snapshot.load();
        let decision = place(&snapshot, ask, now, rng);
        if let Some(begun) = begun {
            telemetry().decision.record(begun.elapsed());
        }
        telemetry().decided(&decision);
        self.inner.replay.note(&snapshot, ask, &decision);
        decision
    }

    /// Decides, and waits in the model's room while it is only room that lacks.
    ///
    /// The result is [`Decision::Place`] or [`Decision::Refuse`]: a wait that ends in vain is refused.
    pub async fn acquire(&self, ask: &Ask, rng: &mut (impl Rng + Send)) -> Decision {
        let mut waiting: Option<(tokio::time::Instant, tokio::time::Instant)> = None;
        let decided = loop {
            let now = self.inner.env.now();
            let (until, availability, why) = match self.place(ask, now, rng) {
                Decision::Wait { until, availability, why } => (until, availability, why),
                decided => {
                    if waiting.is_some() {
                        // There may be more where this came from: the next in line looks too.
                        self.inner.rooms.room_freed();
                    }
                    break decided;
                }
            };
            let most = Duration::from_millis(match ask.tier {
                crate::ask::ServiceTier::Flex => self.inner.config.wait_flex_ms,
                _ => self.inner.config.wait_ms,
            });
            let wait = until.since(now).min(most);
            let again = waiting.is_some();
            let (_, deadline) = *waiting.get_or_insert_with(|| {
                let since = tokio::time::Instant::now();
                (since, since + wait)
            });
            let work = f64::from(ask.prompt_tokens) + f64::from(ask.output());
            let weight = self.least_weight(ask);
            let entered = self.inner.rooms.enter(&ask.model, ask.organization, ask.tier, work, weight, again);
            let Some(mut ticket) = entered else { break Decision::Refuse { availability, why } };
            self.inner.changed.notify.notify_one();
            if tokio::time::timeout_at(deadline, ticket.woken()).await.is_err() {
                break Decision::Refuse { availability, why };
            }
        };
        if let Some((since, _)) = waiting {
            telemetry().waited(ask.tier, since.elapsed());
        }
        decided
    }

    /// Slots the ask takes where they are largest: what it waits for at least.
    fn least_weight(&self, ask: &Ask) -> u32 {
        let snapshot = self.inner.snapshot.load();
        let largest = snapshot.model(&ask.model).and_then(|pool| pool.offers.iter().map(|o| o.tokens_per_slot).max());
        largest.map_or(1, |tokens_per_slot| credit::weight(ask.prompt_tokens, ask.output(), tokens_per_slot))
    }

    /// Takes room on an offer right before dispatch; `None` when others were quicker.
    #[must_use]
    pub fn admit(&self, placed: &Placed, now: Timestamp) -> Option<Admission> {
        let (offer, rooms) = (&placed.offer, &self.inner.rooms);
        Admission::take(offer, rooms, placed.weight, placed.circumstances, placed.panicking, now)
    }

    /// Staged offers whose nodes are there, for the broker's own probes; `nobody` stands in for who asks.
    #[must_use]
    pub fn staged(&self, nobody: OrganizationId, now: Timestamp) -> Vec<Placed> {
        probe::staged(&self.inner.snapshot.load(), nobody, now)
    }

    /// Whether some offer of the model takes customers just now.
    #[must_use]
    pub fn is_served(&self, model: &str) -> bool {
        let snapshot = self.inner.snapshot.load();
        snapshot.model(model).is_some_and(|pool| pool.cheapest().is_some())
    }

    /// An offer refused a request that another one served: its fault after all.
    pub fn blame(&self, offer: OfferId, now: Timestamp) {
        if let Some(live) = self.inner.registry.lock().offer(offer) {
            live.blame(now);
        }
    }

    /// A tunnel of a node is up until the guard is dropped.
    #[must_use]
    pub fn connected(&self, node: NodeId) -> Presence {
        let now = self.inner.env.now();
        let live = self.node(node, NodeMode::Tunnel, now);
        let presence = Presence::new(live, now);
        self.mark_changed();
        presence
    }

    /// The control stream of a node was opened, replacing any before it.
    #[must_use]
    pub fn control(&self, node: NodeId) -> Control {
        let now = self.inner.env.now();
        let node = self.node(node, NodeMode::Tunnel, now);
        let session = node.open_control(now);
        Control { scheduler: self.clone(), node, session }
    }

    /// A node proved its key: its heartbeat numbers start over.
    pub fn session_opened(&self, node: NodeId) {
        self.inner.heartbeats.lock().session(node);
    }

    /// Takes a heartbeat. A busy node gets no new work until it says otherwise or falls silent, like one that
    /// drains; but that is a matter of moments, so no row says so.
    ///
    /// # Errors
    /// [`Error::StaleHeartbeat`] when its number does not rise, [`Error::ClockSkew`] when the node's
    /// clock is more than 30 s off.
    pub fn on_heartbeat(&self, node: NodeId, beat: &Heartbeat, now: Timestamp) -> Result<Heard, Error> {
        let draining = beat.state == NodeState::Draining;
        let heard = self.inner.heartbeats.lock().take(node, beat.seq, beat.sent_at_ms, draining, now)?;
        let mut registry = self.inner.registry.lock();
        let live = match registry.known_node(node) {
            Some(live) => Arc::clone(live),
            None => registry.node(node, NodeMode::Tunnel, &self.inner.config, now),
        };
        drop(registry);
        let returned = standing(&live, now, self.inner.grace_until) != Standing::Fresh;
        live.beat(now);
        live.confirm_load(now);
        let takes_none = draining || beat.state == NodeState::Busy;
        let changed = live.is_draining() != takes_none;
        live.set_draining(takes_none);
        if returned || changed || heard.store {
            self.mark_changed();
        }
        Ok(heard)
    }

    /// Where a node stands, and its tunnels to this replica.
    #[must_use]
    pub fn standing(&self, node: NodeId, now: Timestamp) -> (Standing, u32) {
        let registry = self.inner.registry.lock();
        registry
            .known_node(node)
            .map_or((Standing::Offline, 0), |live| (standing(live, now, self.inner.grace_until), live.tunnels()))
    }

    /// Nodes of stored state "takes work" that nobody heard of for a minute.
    #[must_use]
    pub fn silent_nodes(&self, now: Timestamp) -> Vec<NodeId> {
        let registry = self.inner.registry.lock();
        let gone = |listing: &&Arc<Listing>| {
            listing.node.state.takes_work()
                && registry
                    .known_node(listing.node.id)
                    .is_some_and(|live| standing(live, now, self.inner.grace_until) == Standing::Offline)
        };
        let mut nodes: Vec<NodeId> = registry.listings().iter().filter(gone).map(|listing| listing.node.id).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Gives idle credits back, states what is wanted, and restates counters that have come apart. Called about
    /// every second.
    pub fn tend(&self, now: Timestamp) {
        let wanted = self.inner.rooms.wanted();
        let snapshot = self.inner.snapshot.load();
        for pool in snapshot.models() {
            let weight = wanted.iter().find(|(model, _)| **model == *pool.id).map_or(0, |(_, weight)| *weight);
            pool.offers.iter().filter(|offer| offer.node.is_tunnel()).for_each(|offer| offer.node.want(weight));
        }
        telemetry().waiting.set(f64::from(self.inner.rooms.waiting()));
        telemetry().breakers_out.set(snapshot.models().map(|pool| f64::from(pool.live.out())).sum::<f64>());
        let nodes: Vec<Arc<NodeLive>> = self.inner.registry.lock().nodes().cloned().collect();
        let restated = nodes.iter().filter(|node| node.tend(now)).count();
        if restated > 0 {
            telemetry().credits_restated.increment(restated as u64);
        }
    }

    /// Looks again at the asks kept for that, all offers of their models one by one. Not for the path of a request.
    pub fn replay(&self, now: Timestamp) {
        self.inner.replay.work(&self.inner.snapshot.load(), now);
    }

    /// How a node fared among others, by the asks this replica looked at again; `None` before the first.
    #[must_use]
    pub fn placement(&self, node: NodeId, now: Timestamp) -> Option<Placement> {
        let snapshot = self.inner.snapshot.load();
        let mut models: Vec<Arc<str>> =
            snapshot.offers().filter(|offer| offer.node_id() == node).map(|o| Arc::clone(&o.listing.model)).collect();
        models.sort_unstable();
        self.inner.replay.placement(node, &models, now)
    }

    /// Why an ask was placed as it was, and what came of it.
    #[must_use]
    pub fn explain(&self, why: &Why, offers: &[Placed], records: &[Record]) -> Explanation {
        Explanation::new(why, offers, records)
    }

    fn node(&self, id: NodeId, mode: NodeMode, now: Timestamp) -> Arc<NodeLive> {
        self.inner.registry.lock().node(id, mode, &self.inner.config, now)
    }
}

/// One control stream. A newer one of the same node makes this one's frames void.
#[derive(Debug)]
pub struct Control {
    scheduler: Scheduler,
    node: Arc<NodeLive>,
    session: u64,
}

impl Control {
    /// Takes a frame the node sent.
    pub fn on_frame(&self, frame: NodeFrame) {
        let now = self.scheduler.inner.env.now();
        if self.node.on_frame(self.session, frame, now) {
            self.scheduler.inner.rooms.room_freed();
        }
    }

    /// Frames to send to the node: waits until there is at least one. The first is the greeting. `None` once
    /// this stream no longer speaks for the node: another one must be opened, if none was.
    pub async fn outbound(&self) -> Option<Vec<ReplicaFrame>> {
        loop {
            // Enabled before looking, so that a frame pushed in between still wakes us.
            let mut filled = std::pin::pin!(self.node.outbox_filled.notified());
            filled.as_mut().enable();
            if !self.node.is_open(self.session) {
                return None;
            }
            let frames = self.node.take_outbox();
            if !frames.is_empty() {
                return Some(frames);
            }
            filled.await;
        }
    }
}
