//! What many answers say together.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use protocol::NanoUsd;

use crate::client::{Answer, Ended};

/// Times in microseconds, to three digits, up to half an hour.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 1_800_000_000, 3).expect("1 to 1.8e9 at three digits is a valid range"))
    }
}

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.add_us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds one in microseconds.
    pub fn add_us(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percent` of them do not pass, in microseconds.
    #[must_use]
    pub fn percentile_us(&self, percent: f64) -> u64 {
        self.0.value_at_percentile(percent)
    }

    /// The longest, in microseconds.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.0.max()
    }
}

/// Everything counted over one run or one part of it.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// From intended start to end, of whole answers.
    pub total: Times,
    /// From intended start to the first chunk with output.
    pub first: Times,
    /// Between chunks with output.
    pub gaps: Times,
    /// From intended start to really sent. Part of all other times; a long one says that this program or its
    /// connection limit was the bottleneck.
    pub sent: Times,
    /// Whole answers.
    pub complete: u64,
    /// Clients that left on purpose.
    pub left: u64,
    /// Errors said in band, by code.
    pub in_band: BTreeMap<String, u64>,
    /// HTTP errors, by status and code.
    pub refused: BTreeMap<String, u64>,
    /// Answers cut off or unreadable, by what was wrong.
    pub broken: BTreeMap<String, u64>,
    /// Chunks with output.
    pub chunks: u64,
    /// The sum of every `usage.cost` seen, exactly.
    pub cost: NanoUsd,
    /// Begun answers whose cost the client never saw: the books are asked about each.
    pub unpriced: Vec<String>,
}

impl Record {
    /// Takes one answer. Money and counts always count; times only when `timed`.
    pub fn take(&mut self, answer: Answer, timed: bool) {
        match &answer.ended {
            Ended::Complete { .. } => self.complete += 1,
            Ended::Left => self.left += 1,
            Ended::InBand { code } => *self.in_band.entry(code.clone()).or_default() += 1,
            Ended::Refused { status, code } => {
                *self.refused.entry(format!("{} {code}", status.as_u16())).or_default() += 1;
            }
            Ended::Broken { reason } => *self.broken.entry(reason.clone()).or_default() += 1,
        }
        self.chunks += u64::from(answer.chunks);
        match (answer.cost, answer.id) {
            (Some(cost), _) => {
                self.cost = self.cost.checked_add(cost).expect("no run spends nine billion dollars");
            }
            (None, Some(id)) => self.unpriced.push(id),
            (None, None) => {}
        }
        if !timed {
            return;
        }
        self.sent.add(answer.sent_after);
        if let Some(first) = answer.first_after {
            self.first.add(first);
        }
        for gap in answer.gaps_us {
            self.gaps.add_us(gap.into());
        }
        // A quick refusal must not make the answers look quick.
        if matches!(answer.ended, Ended::Complete { .. }) {
            self.total.add(answer.total);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        self.total.merge(&other.total);
        self.first.merge(&other.first);
        self.gaps.merge(&other.gaps);
        self.sent.merge(&other.sent);
        self.complete += other.complete;
        self.left += other.left;
        self.chunks += other.chunks;
        self.cost = self.cost.checked_add(other.cost).expect("no run spends nine billion dollars");
        self.unpriced.extend(other.unpriced);
        for (mine, theirs) in
            [(&mut self.in_band, other.in_band), (&mut self.refused, other.refused), (&mut self.broken, other.broken)]
        {
            for (name, count) in theirs {
                *mine.entry(name).or_default() += count;
            }
        }
    }

    /// Requests begun and ended.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.complete + self.left + sum(&self.in_band) + sum(&self.refused) + sum(&self.broken)
    }

    /// Answers that were neither whole, nor refused, nor ended by a stated error.
    #[must_use]
    pub fn broken_count(&self) -> u64 {
        sum(&self.broken)
    }

    /// Everything that was not a whole answer and not left on purpose.
    #[must_use]
    pub fn failures(&self) -> u64 {
        sum(&self.in_band) + sum(&self.refused) + sum(&self.broken)
    }
}

fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}
