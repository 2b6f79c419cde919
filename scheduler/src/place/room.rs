//! Where asks wait for room: one bounded room per model, fair between organizations.
//!
//! Organizations are served by least priced work served so far, so a flood delays its sender only.
//! Freed room wakes one ask, which is placed afresh; if that succeeds it wakes the next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use protocol::OrganizationId;
use tokio::sync::oneshot;

use crate::ask::ServiceTier;

/// Asks that may wait for one model: at two seconds each, more could not be served in time anyway.
pub const ROOM: usize = 1_000;
/// Above these fills flex and default asks are turned away: who pays for hurry waits longest.
const FLEX_FILL: usize = ROOM * 8 / 10;
const DEFAULT_FILL: usize = ROOM * 9 / 10;

/// All rooms.
#[derive(Debug, Default)]
pub struct Rooms {
    waiting: AtomicU32,
    rooms: Mutex<HashMap<Arc<str>, Room>>,
}

#[derive(Debug, Default)]
struct Room {
    queues: HashMap<OrganizationId, Queue>,
    len: usize,
    next_id: u64,
    /// Work served to the organization served last: newcomers start level with it, not at zero.
    level: f64,
}

#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    served: f64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    work: f64,
    weight: u32,
    wake: oneshot::Sender<()>,
}

/// A place in a room. Dropping it leaves the room, and passes a wake-up on that was not used.
#[derive(Debug)]
pub struct Ticket {
    rooms: Arc<Rooms>,
    model: Arc<str>,
    organization: OrganizationId,
    id: u64,
    wake: oneshot::Receiver<()>,
    used: bool,
}

impl Rooms {
    /// Enters the room of a model. `work` is what the ask would be served, in money or tokens;
    /// `again` puts one who was woken in vain back at the head. `None` when the room is full.
    pub fn enter(
        self: &Arc<Self>,
        model: &Arc<str>,
        organization: OrganizationId,
        tier: ServiceTier,
        work: f64,
        weight: u32,
        again: bool,
    ) -> Option<Ticket> {
        let mut rooms = self.rooms.lock();
        let room = rooms.entry(Arc::clone(model)).or_default();
        let fill = match tier {
            ServiceTier::Flex => FLEX_FILL,
            ServiceTier::Default => DEFAULT_FILL,
            ServiceTier::Priority => ROOM,
        };
        if room.len >= if again { ROOM } else { fill } {
            return None;
        }
        let (wake, woken) = oneshot::channel();
        let id = room.next_id;
        room.next_id += 1;
        room.len += 1;
        let level = room.level;
        let queue =
            room.queues.entry(organization).or_insert_with(|| Queue { waiters: VecDeque::new(), served: level });
        let waiter = Waiter { id, work: work.max(1.0), weight, wake };
        if again {
            queue.served -= waiter.work;
            queue.waiters.push_front(waiter);
        } else {
            queue.waiters.push_back(waiter);
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Some(Ticket { rooms: Arc::clone(self), model: Arc::clone(model), organization, id, wake: woken, used: false })
    }

    /// Asks waiting in all rooms.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Slots wanted by those who wait, by model.
    #[must_use]
    pub fn wanted(&self) -> Vec<(Arc<str>, u64)> {
        if self.waiting() == 0 {
            return Vec::new();
        }
        let weight = |room: &Room| {
            room.queues.values().flat_map(|queue| &queue.waiters).map(|waiter| u64::from(waiter.weight)).sum()
        };
        self.rooms.lock().iter().map(|(model, room)| (Arc::clone(model), weight(room))).collect()
    }

    /// There may be room again: wakes the head of each room.
    pub fn room_freed(&self) {
        if self.waiting() == 0 {
            return;
        }
        let mut rooms = self.rooms.lock();
        for room in rooms.values_mut() {
            while let Some(waiter) = room.pop() {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                if waiter.wake.send(()).is_ok() {
                    break;
                }
            }
        }
        rooms.retain(|_, room| room.len > 0);
    }

    fn leave(&self, model: &Arc<str>, organization: OrganizationId, id: u64) -> bool {
        let mut rooms = self.rooms.lock();
        let Some(room) = rooms.get_mut(model) else { return false };
        let Some(queue) = room.queues.get_mut(&organization) else { return false };
        let Some(at) = queue.waiters.iter().position(|waiter| waiter.id == id) else { return false };
        queue.waiters.remove(at);
        if queue.waiters.is_empty() {
            room.queues.remove(&organization);
        }
        room.len -= 1;
        if room.len == 0 {
            rooms.remove(model);
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        true
    }
}

impl Room {
    /// Takes the head of the organization that was served least; the older head where they are level.
    fn pop(&mut self) -> Option<Waiter> {
        let head = |queue: &Queue| queue.waiters.front().map_or(u64::MAX, |waiter| waiter.id);
        let (organization, _) =
            self.queues.iter().min_by(|(_, a), (_, b)| a.served.total_cmp(&b.served).then(head(a).cmp(&head(b))))?;
        let organization = *organization;
        let queue = self.queues.get_mut(&organization)?;
        let waiter = queue.waiters.pop_front()?;
        self.level = self.level.max(queue.served);
        queue.served += waiter.work;
        if queue.waiters.is_empty() {
            self.queues.remove(&organization);
        }
        self.len -= 1;
        Some(waiter)
    }
}

impl Ticket {
    /// Waits until there may be room.
    pub async fn woken(&mut self) {
        // An error means the room is gone: placing afresh says what became of it.
        let _ = (&mut self.wake).await;
        self.used = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let was_inside = self.rooms.leave(&self.model, self.organization, self.id);
        if !was_inside && !self.used {
            // Woken at the very moment of leaving: somebody else may use the room.
            self.rooms.room_freed();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::Id;

    fn organization(n: u128) -> OrganizationId {
        OrganizationId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn enter(rooms: &Arc<Rooms>, n: u128, tier: ServiceTier) -> Option<Ticket> {
        rooms.enter(&"m".into(), organization(n), tier, 10.0, 1, false)
    }

    fn is_woken(ticket: &mut Ticket) -> bool {
        let woken = ticket.wake.try_recv().is_ok();
        ticket.used |= woken;
        woken
    }

    #[test]
    fn a_flood_delays_its_sender_only() {
        let rooms = Arc::new(Rooms::default());
        let mut flood: Vec<Ticket> = (0..50).map(|_| enter(&rooms, 1, ServiceTier::Default).unwrap()).collect();
        (0..20).for_each(|_| rooms.room_freed());
        let mut other = enter(&rooms, 2, ServiceTier::Default).unwrap();
        rooms.room_freed();
        rooms.room_freed();
        assert!(is_woken(&mut other), "one that waited little is next, whatever the flood");
        assert_eq!(flood.iter_mut().map(is_woken).filter(|woken| *woken).count(), 21);
    }

    #[test]
    fn within_an_organization_the_first_comes_first() {
        let rooms = Arc::new(Rooms::default());
        let mut tickets: Vec<Ticket> = (0..3).map(|_| enter(&rooms, 1, ServiceTier::Default).unwrap()).collect();
        rooms.room_freed();
        let woken: Vec<bool> = tickets.iter_mut().map(is_woken).collect();
        assert_eq!(woken, [true, false, false]);
    }

    #[test]
    fn rooms_are_bounded_and_the_patient_are_turned_away_first() {
        let rooms = Arc::new(Rooms::default());
        let mut inside: Vec<Ticket> = Vec::new();
        for (tier, fill) in [(ServiceTier::Flex, 800), (ServiceTier::Default, 900), (ServiceTier::Priority, 1_000)] {
            inside.extend(std::iter::from_fn(|| enter(&rooms, inside_len(&rooms), tier)));
            assert_eq!(inside.len(), fill);
        }
        drop(inside);
        assert_eq!(rooms.waiting(), 0);
        assert!(rooms.rooms.lock().is_empty());
    }

    fn inside_len(rooms: &Arc<Rooms>) -> u128 {
        u128::from(rooms.waiting())
    }

    #[test]
    fn a_wake_up_nobody_used_is_passed_on() {
        let rooms = Arc::new(Rooms::default());
        let first = enter(&rooms, 1, ServiceTier::Default).unwrap();
        let mut second = enter(&rooms, 1, ServiceTier::Default).unwrap();
        rooms.room_freed();
        drop(first);
        assert!(is_woken(&mut second));
        assert_eq!(rooms.waiting(), 0);
    }
}
