//! How many providers one source announces. That needs no key, and those who wait to prove their wallet have a bound:
//! without one for each source, anybody could keep everybody else out, or sit on names, from a single machine.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use protocol::Timestamp;

use crate::upstream::is_public;

/// Sources are counted anew after this.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Sources counted at once. Beyond them the bound of all is the only one: to be refused for other people's number
/// would be worse.
const MOST_SOURCES: usize = 10_000;

/// What this replica was announced lately, by source.
#[derive(Debug, Default)]
pub struct Registrations(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    ends: Option<Timestamp>,
    counts: HashMap<IpAddr, u32>,
}

impl Registrations {
    /// Counts one of `source`. An address that is not public is not counted: it is the operator's own, or a proxy that
    /// the settings don't name, behind which everybody is.
    ///
    /// # Errors
    /// When that has announced `most` already: how long until it may again.
    pub fn admit(&self, source: IpAddr, most: u32, now: Timestamp) -> Result<(), Duration> {
        if !is_public(source) {
            return Ok(());
        }
        let source = site(source);
        let mut window = self.0.lock();
        let ends = match window.ends {
            Some(ends) if now < ends => ends,
            _ => {
                let ends = now.plus(WINDOW);
                *window = Window { ends: Some(ends), counts: HashMap::new() };
                ends
            }
        };
        if window.counts.len() >= MOST_SOURCES && !window.counts.contains_key(&source) {
            return Ok(());
        }
        let count = window.counts.entry(source).or_default();
        if *count >= most {
            return Err(ends.since(now));
        }
        *count += 1;
        Ok(())
    }
}

/// Of IPv6 what one site is given by its provider: it may use all networks in it.
fn site(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(whole) => IpAddr::V6(Ipv6Addr::from_bits(whole.to_bits() & (u128::MAX << 80))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_announces_so_many_in_an_hour_and_none_for_another() {
        let (all, now) = (Registrations::default(), Timestamp::from_unix_seconds(1_800_000_000));
        let source = |n: u8| IpAddr::from([93, 184, 215, n]);
        let later = |seconds| now.plus(Duration::from_secs(seconds));
        assert_eq!([all.admit(source(1), 2, now), all.admit(source(1), 2, now)], [Ok(()); 2]);
        assert_eq!(all.admit(source(1), 2, later(600)), Err(Duration::from_secs(3_000)));
        assert_eq!(all.admit(source(2), 2, later(600)), Ok(()));
        assert_eq!(all.admit(source(1), 2, later(3_600)), Ok(()));
        for _ in 0..3 {
            assert_eq!(all.admit([10, 0, 0, 1].into(), 2, now), Ok(()), "a proxy nobody named");
        }
        let of_site = |n: u16| IpAddr::from([0x2a00, 1, 2, n, 0, 0, 0, 1]);
        let admitted = [1, 2, 3].map(|n| all.admit(of_site(n), 2, now).is_ok());
        assert_eq!(admitted, [true, true, false], "a site has thousands of networks");
    }

    #[test]
    fn many_sources_keep_nobody_out() {
        let (all, now) = (Registrations::default(), Timestamp::from_unix_seconds(1_800_000_000));
        let source = |n: u32| IpAddr::from((0x0500_0000 + n).to_be_bytes());
        for n in 0..20_000 {
            assert_eq!(all.admit(source(n), 1, now), Ok(()));
        }
        assert_eq!(all.0.lock().counts.len(), MOST_SOURCES);
        assert!(all.admit(source(0), 1, now).is_err());
    }
}
