//! Whose turn it is to be probed. Pure: what is staged and what came of probes goes in, the next ones come out.

use std::collections::HashMap;
use std::time::Duration;

use protocol::{OfferId, ProviderId, Timestamp};

/// Probes under way at one provider's offers: a provider whose engines hang must leave room for the others.
const MAX_PER_PROVIDER: usize = 4;
/// Pause after a first failure. It doubles with every further one, up to the longest: an engine that is never
/// mended costs a probe in five minutes, one that is mended is noticed within five.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Pause of an offer whose node granted no credit yet. Nothing was sent, so nothing is held against it.
const CREDIT_PAUSE: Duration = Duration::from_millis(250);
/// Pause of one that was let in, until the rows that say so have been read.
const SETTLED_PAUSE: Duration = Duration::from_secs(5);

/// A staged offer, as its rows have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Which one.
    pub offer: OfferId,
    /// Whose.
    pub provider: ProviderId,
    /// The version of its node's set: what was shown under another one proves nothing.
    pub version: i64,
}

/// What became of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A whole answer.
    Clean,
    /// Something else, in words.
    Unclean(String),
    /// It was not asked: no credit.
    NoCredit,
}

/// An offer that failed its last probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// How often in a row.
    pub failures: u32,
    /// What went wrong.
    pub why: String,
    /// When it is asked again.
    pub next_at: Timestamp,
}

/// The order of turns.
#[derive(Debug, Default)]
pub struct Rota {
    entries: HashMap<OfferId, Entry>,
    turns: u64,
}

#[derive(Debug)]
struct Entry {
    staged: Staged,
    clean: u32,
    failures: u32,
    why: String,
    due_at: Timestamp,
    /// When it last had its turn; zero before the first.
    turn: u64,
    running: bool,
}

impl Rota {
    /// Takes what is staged now, and forgets what is no longer.
    pub fn look(&mut self, staged: &[Staged], now: Timestamp) {
        let listed: HashMap<OfferId, Staged> = staged.iter().map(|one| (one.offer, *one)).collect();
        self.entries.retain(|offer, entry| entry.running || listed.contains_key(offer));
        for one in staged {
            let entry = self.entries.entry(one.offer).or_insert_with(|| Entry::new(*one, now));
            if entry.staged.version != one.version {
                *entry = Entry { running: entry.running, turn: entry.turn, ..Entry::new(*one, now) };
            }
        }
    }

    /// Who is probed now, at most `room`: of the provider that waited longest whatever waited longest, and of no
    /// provider too many. Whoever comes new is first, however many offers others have put.
    pub fn next(&mut self, room: usize, now: Timestamp) -> Vec<OfferId> {
        let (mut busy, mut last) = (HashMap::<ProviderId, usize>::new(), HashMap::<ProviderId, u64>::new());
        for entry in self.entries.values() {
            *busy.entry(entry.staged.provider).or_default() += usize::from(entry.running);
            let turn = last.entry(entry.staged.provider).or_default();
            *turn = entry.turn.max(*turn);
        }
        let due = self.entries.values().filter(|entry| !entry.running && entry.due_at <= now);
        let mut due: Vec<(u64, Staged)> = due.map(|entry| (entry.turn, entry.staged)).collect();
        due.sort_by_key(|(turn, staged)| (last.get(&staged.provider).copied(), *turn, staged.offer));
        let mut chosen = Vec::new();
        for (_, staged) in due {
            let own = busy.entry(staged.provider).or_default();
            if chosen.len() < room && *own < MAX_PER_PROVIDER {
                *own += 1;
                chosen.push(staged.offer);
            }
        }
        for offer in &chosen {
            self.turns += 1;
            if let Some(entry) = self.entries.get_mut(offer) {
                (entry.running, entry.turn) = (true, self.turns);
            }
        }
        chosen
    }

    /// Takes what a probe of `offer`, sent while its set had that version, has shown. Returns the clean answers in
    /// a row, this one included.
    pub fn ended(&mut self, offer: OfferId, version: i64, shown: Shown, now: Timestamp) -> u32 {
        let Some(entry) = self.entries.get_mut(&offer) else { return 0 };
        entry.running = false;
        if entry.staged.version != version {
            return 0;
        }
        match shown {
            Shown::Clean => {
                (entry.clean, entry.failures) = (entry.clean + 1, 0);
                entry.due_at = now;
            }
            Shown::Unclean(why) => {
                (entry.clean, entry.failures) = (0, entry.failures.saturating_add(1));
                entry.why = why;
                entry.due_at = now.plus(pause_after(entry.failures));
            }
            Shown::NoCredit => entry.due_at = now.plus(CREDIT_PAUSE),
        }
        entry.clean
    }

    /// `offer` was let in, or could not be because it is another one by now: it starts over if it shows up again.
    pub fn settled(&mut self, offer: OfferId, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&offer) {
            (entry.clean, entry.due_at) = (0, now.plus(SETTLED_PAUSE));
        }
    }

    /// What is wrong with a staged offer, if its last probe failed.
    #[must_use]
    pub fn failing(&self, offer: OfferId) -> Option<Failing> {
        let entry = self.entries.get(&offer).filter(|entry| entry.failures > 0)?;
        Some(Failing { failures: entry.failures, why: entry.why.clone(), next_at: entry.due_at })
    }
}

impl Entry {
    fn new(staged: Staged, now: Timestamp) -> Self {
        Self { staged, clean: 0, failures: 0, why: String::new(), due_at: now, turn: 0, running: false }
    }
}

fn pause_after(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Id as _;

    const T0: Timestamp = Timestamp::from_unix_seconds(1_000);

    fn offer(n: u128) -> OfferId {
        OfferId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn staged(n: u128, provider: u128) -> Staged {
        let provider = ProviderId::from_uuid(uuid::Uuid::from_u128(provider));
        Staged { offer: offer(n), provider, version: 1 }
    }

    fn unclean() -> Shown {
        Shown::Unclean("no".to_owned())
    }

    #[test]
    fn a_hundred_failing_offers_of_one_provider_leave_room_for_the_next() {
        let mut all: Vec<Staged> = (0..100).map(|n| staged(n, 1)).collect();
        all.push(staged(999, 2));
        let mut rota = Rota::default();
        rota.look(&all, T0);
        let first = rota.next(32, T0);
        assert_eq!(first.len(), MAX_PER_PROVIDER + 1);
        assert!(first.contains(&offer(999)), "the newest provider is asked in the first round");
        assert!(rota.next(32, T0).is_empty(), "what hangs is not asked again, and takes no more of the room");
    }

    #[test]
    fn a_new_provider_is_not_put_behind_what_others_have_never_had_asked() {
        let mut all: Vec<Staged> = (0..800).map(|n| staged(n, n / 100)).collect();
        let mut rota = Rota::default();
        rota.look(&all, T0);
        let hanging = rota.next(32, T0);
        assert_eq!(hanging.len(), 32, "eight providers fill the room");
        for offer in hanging {
            rota.ended(offer, 1, unclean(), T0);
        }
        all.push(staged(9_999, 9));
        rota.look(&all, T0);
        assert_eq!(rota.next(32, T0).first(), Some(&offer(9_999)));
    }

    #[test]
    fn offers_take_turns() {
        let all: Vec<Staged> = (0..6).map(|n| staged(n, n)).collect();
        let mut rota = Rota::default();
        let mut asked = Vec::new();
        for _ in 0..3 {
            rota.look(&all, T0);
            let round = rota.next(2, T0);
            for offer in &round {
                rota.ended(*offer, 1, Shown::Clean, T0);
            }
            asked.extend(round);
        }
        asked.sort_unstable();
        assert_eq!(asked, (0..6).map(offer).collect::<Vec<_>>());
    }

    #[test]
    fn a_failing_offer_is_asked_ever_less_often_and_never_given_up() {
        let (one, mut rota, mut now) = (staged(1, 1), Rota::default(), T0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            rota.look(&[one], now);
            assert_eq!(rota.next(1, now), [one.offer]);
            assert_eq!(rota.ended(one.offer, 1, unclean(), now), 0);
            let next = rota.failing(one.offer).map_or(now, |failing| failing.next_at);
            assert!(rota.next(1, next.minus(Duration::from_micros(1))).is_empty());
            pauses.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        rota.next(1, now);
        assert_eq!(rota.ended(one.offer, 1, Shown::Clean, now), 1);
        assert_eq!(rota.failing(one.offer), None);
    }

    #[test]
    fn want_of_credit_is_no_failure() {
        let (one, mut rota) = (staged(1, 1), Rota::default());
        rota.look(&[one], T0);
        rota.next(1, T0);
        rota.ended(one.offer, 1, Shown::Clean, T0);
        rota.next(1, T0);
        assert_eq!(rota.ended(one.offer, 1, Shown::NoCredit, T0), 1, "what was shown stands");
        assert!(rota.next(1, T0).is_empty());
        assert_eq!(rota.next(1, T0.plus(CREDIT_PAUSE)), [one.offer]);
    }

    #[test]
    fn what_another_set_has_shown_counts_for_nothing() {
        let (one, mut rota) = (staged(1, 1), Rota::default());
        rota.look(&[one], T0);
        rota.next(1, T0);
        assert_eq!(rota.ended(one.offer, 1, Shown::Clean, T0), 1);
        rota.next(1, T0);
        rota.look(&[Staged { version: 2, ..one }], T0);
        assert_eq!(rota.ended(one.offer, 1, Shown::Clean, T0), 0);
        rota.next(1, T0);
        assert_eq!(rota.ended(one.offer, 2, Shown::Clean, T0), 1);
    }
}
