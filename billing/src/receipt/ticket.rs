//! What the broker needs to pay an attempt although the replica that dispatched it is gone, sealed for itself and
//! carried by the node.

use protocol::{
    AttemptId, Id, KeyId, NodeId, OfferId, OrganizationId, ProjectId, ProviderId, RequestId, Timestamp, Units,
};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::Prk;
use uuid::Uuid;

use crate::calendar;

/// Opens the sealed bytes, so that no other kind can pass for a ticket.
const KIND: &[u8] = b"steelyard/ticket/1";
/// A ticket can be read for so many days after the one it was sealed on.
const READABLE_DAYS: i64 = 30;
/// Eight ids, three numbers, a mark, and the number of requests where it is not one.
const PLAIN_BYTES: usize = 8 * 16 + 3 * 4 + 1 + 4;

/// One dispatch: who may report it, who is behind it, and the most it can have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Which dispatch.
    pub attempt: AttemptId,
    /// Of which request.
    pub request: RequestId,
    /// To whom.
    pub provider: ProviderId,
    /// To which machine.
    pub node: NodeId,
    /// On which offer.
    pub offer: OfferId,
    /// At which price.
    pub price_version: u32,
    /// Who asked.
    pub organization: OrganizationId,
    /// For what.
    pub project: ProjectId,
    /// With which key.
    pub key: KeyId,
    /// The most tokens of prompt that are paid.
    pub prompt: u32,
    /// The most tokens of output.
    pub output: u32,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// Requests it is paid for as, once it is answered.
    pub requests: u32,
}

/// A ticket that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not made here for this attempt, or changed since.
    #[error("the ticket was not sealed here for this attempt")]
    Forged,
    /// Too old, or of days to come.
    #[error("the ticket's time is over")]
    Expired,
}

impl Ticket {
    /// Under the key of the day, and the attempt for a nonce: one attempt is dispatched once.
    pub(super) fn seal(&self, secret: &Prk, now: Timestamp) -> String {
        let day = calendar::day_of(now);
        let mut sealed = self.plain();
        let key = day_key(secret, day);
        key.seal_in_place_append_tag(nonce(self.attempt), Aad::from(KIND), &mut sealed)
            .expect("a ticket is far shorter than the cipher's limit");
        format!("{:08x}{}", u32::try_from(day).unwrap_or(0), hex::encode(sealed))
    }

    pub(super) fn open(attempt: AttemptId, text: &str, secret: &Prk, now: Timestamp) -> Result<Self, TicketError> {
        let (day, sealed) = text.split_at_checked(8).ok_or(TicketError::Forged)?;
        let day = i64::from(u32::from_str_radix(day, 16).map_err(|_| TicketError::Forged)?);
        let mut sealed = hex::decode(sealed).map_err(|_| TicketError::Forged)?;
        let key = day_key(secret, day);
        let opened =
            key.open_in_place(nonce(attempt), Aad::from(KIND), &mut sealed).map_err(|_| TicketError::Forged)?;
        let ticket = Self::parse(opened).filter(|ticket| ticket.attempt == attempt).ok_or(TicketError::Forged)?;
        let today = calendar::day_of(now);
        if (today - READABLE_DAYS..=today + 1).contains(&day) { Ok(ticket) } else { Err(TicketError::Expired) }
    }

    fn ids(&self) -> [Uuid; 8] {
        [
            self.attempt.uuid(),
            self.request.uuid(),
            self.provider.uuid(),
            self.node.uuid(),
            self.offer.uuid(),
            self.organization.uuid(),
            self.project.uuid(),
            self.key.uuid(),
        ]
    }

    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(PLAIN_BYTES + CHACHA20_POLY1305.tag_len());
        plain.extend(self.ids().iter().flat_map(|id| *id.as_bytes()));
        plain.extend([self.price_version, self.prompt, self.output].iter().flat_map(|number| number.to_be_bytes()));
        plain.push(self.streamed.into());
        // Left out where it says nothing: replicas that don't know it yet can read all other tickets.
        if self.requests != 1 {
            plain.extend(self.requests.to_be_bytes());
        }
        plain
    }

    fn parse(plain: &[u8]) -> Option<Self> {
        let (ids, rest) = plain.split_at_checked(8 * 16)?;
        let mut ids = ids.chunks_exact(16).filter_map(|id| Uuid::from_slice(id).ok());
        let (numbers, mark) = rest.split_at_checked(3 * 4)?;
        let mut numbers = numbers.chunks_exact(4).filter_map(|four| Some(u32::from_be_bytes(four.try_into().ok()?)));
        let (streamed, requests) = match *mark {
            [streamed] => (streamed, 1),
            [streamed, a, b, c, d] => (streamed, u32::from_be_bytes([a, b, c, d])),
            _ => return None,
        };
        Some(Self {
            attempt: AttemptId::from_uuid(ids.next()?),
            request: RequestId::from_uuid(ids.next()?),
            provider: ProviderId::from_uuid(ids.next()?),
            node: NodeId::from_uuid(ids.next()?),
            offer: OfferId::from_uuid(ids.next()?),
            organization: OrganizationId::from_uuid(ids.next()?),
            project: ProjectId::from_uuid(ids.next()?),
            key: KeyId::from_uuid(ids.next()?),
            price_version: numbers.next()?,
            prompt: numbers.next()?,
            output: numbers.next()?,
            streamed: streamed == 1,
            requests,
        })
    }

    /// What is paid of `reported`: no more of prompt or output than could be asked for, each class cut in turn.
    #[must_use]
    pub fn within(&self, reported: &Units) -> Units {
        let take = |left: &mut u32, count: u32| {
            let taken = count.min(*left);
            *left -= taken;
            taken
        };
        let (mut prompt, mut output) = (self.prompt, self.output);
        Units {
            prompt: take(&mut prompt, reported.prompt),
            cached_prompt: take(&mut prompt, reported.cached_prompt),
            cache_write: take(&mut prompt, reported.cache_write),
            completion: take(&mut output, reported.completion),
            internal_reasoning: take(&mut output, reported.internal_reasoning),
            // A node can't tell how many pictures were asked for, only that its engine answered.
            request: if reported.request > 0 { self.requests } else { 0 },
        }
    }
}

fn day_key(secret: &Prk, day: i64) -> LessSafeKey {
    let day = day.to_be_bytes();
    let info = [b"ticket".as_slice(), &day];
    let key = secret.expand(&info, &CHACHA20_POLY1305).expect("one key is far less than the derivation gives");
    LessSafeKey::new(UnboundKey::from(key))
}

/// The part of an attempt's id that no other has: its time in milliseconds, but for the highest bits, and chance.
fn nonce(attempt: AttemptId) -> Nonce {
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&attempt.uuid().as_bytes()[4..]);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ring::hkdf::{HKDF_SHA256, Salt};
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    fn ticket() -> Ticket {
        let id = |n| Uuid::from_u128(n);
        Ticket {
            attempt: AttemptId::from_uuid(id(1)),
            request: RequestId::from_uuid(id(2)),
            provider: ProviderId::from_uuid(id(3)),
            node: NodeId::from_uuid(id(4)),
            offer: OfferId::from_uuid(id(5)),
            price_version: 6,
            organization: OrganizationId::from_uuid(id(7)),
            project: ProjectId::from_uuid(id(8)),
            key: KeyId::from_uuid(id(9)),
            prompt: 100,
            output: 50,
            streamed: true,
            requests: 2,
        }
    }

    #[test]
    fn a_ticket_is_opened_for_its_attempt_and_its_month_only() {
        let secret = Salt::new(HKDF_SHA256, b"").extract(&[1; 32]);
        let other = Salt::new(HKDF_SHA256, b"").extract(&[2; 32]);
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let text = ticket().seal(&secret, now);
        let open = |attempt, text: &str, secret, at| Ticket::open(AttemptId::from_uuid(attempt), text, secret, at);
        let attempt = Uuid::from_u128(1);
        assert_eq!(open(attempt, &text, &secret, now), Ok(ticket()));
        assert_eq!(open(attempt, &text, &secret, now.plus(DAY * 30)), Ok(ticket()));
        assert_eq!(open(attempt, &text, &secret, now.plus(DAY * 31)), Err(TicketError::Expired));
        assert_eq!(open(attempt, &text, &other, now), Err(TicketError::Forged));
        assert_eq!(open(Uuid::from_u128(10), &text, &secret, now), Err(TicketError::Forged));
        assert!(!text.contains(&hex::encode(ticket().organization.uuid().as_bytes())), "nodes learn nothing from it");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(open(attempt, &changed, &secret, now), Err(TicketError::Forged), "at {at}");
        }
    }

    #[test]
    fn a_ticket_without_a_number_of_requests_is_for_one() {
        let plain = ticket().plain();
        assert_eq!(Ticket::parse(&plain), Some(ticket()));
        let single = Ticket { requests: 1, ..ticket() };
        assert_eq!(single.plain(), plain[..plain.len() - 4]);
        assert_eq!(Ticket::parse(&plain[..plain.len() - 4]), Some(Ticket { requests: 1, ..ticket() }));
        assert_eq!(Ticket::parse(&plain[..plain.len() - 1]), None);
    }

    #[test]
    fn nobody_is_paid_for_more_than_could_be_asked_for() {
        let reported = Units {
            prompt: 90,
            cached_prompt: 30,
            completion: 40,
            internal_reasoning: 40,
            request: 9,
            ..Units::default()
        };
        let paid = ticket().within(&reported);
        assert_eq!((paid.prompt, paid.cached_prompt, paid.completion, paid.internal_reasoning), (90, 10, 40, 10));
        assert_eq!((paid.prompt_total(), paid.completion_total(), paid.request), (100, 50, 2));
        let silent = ticket().within(&Units { request: 0, ..reported });
        assert_eq!(silent.request, 0, "what was not answered is no request");
    }
}
