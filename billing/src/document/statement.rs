//! What happened to an organization's credit in a month.

use std::collections::BTreeMap;

use protocol::{NanoUsd, OrganizationId, SignedNanoUsd};

use super::paper::{Column, Paper};
use super::{Papers, csv};
use crate::calendar::Month;
use crate::store::statements::Movement;
use crate::store::usage::UsageSum;

/// Everything a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub account: OrganizationId,
    pub month: Month,
    /// What the organization had when the month began; below zero what it owed.
    pub opening: SignedNanoUsd,
    /// What came and went by the day, but for usage.
    pub movements: Vec<Movement>,
    /// What was used, by day, project, key and model.
    pub usage: Vec<UsageSum>,
}

const MONEY: [Column; 2] = [Column::Text(0.0, 380.0), Column::Figures(499.0)];
const USAGE: [Column; 5] = [
    Column::Text(0.0, 220.0),
    Column::Figures(275.0),
    Column::Figures(345.0),
    Column::Figures(415.0),
    Column::Figures(499.0),
];
const USAGE_HEAD: [&str; 5] = ["", "requests", "input tokens", "output tokens", "USD"];
const CSV_HEAD: [&str; 9] =
    ["date", "type", "project", "api_key", "model", "requests", "input_tokens", "output_tokens", "amount_usd"];

/// Sums of usage.
#[derive(Default)]
struct Used {
    requests: i64,
    input: i64,
    output: i64,
    charge: i64,
}

impl Statement {
    /// True when there is nothing to state.
    pub(crate) fn is_empty(&self) -> bool {
        self.opening == SignedNanoUsd::ZERO && self.movements.is_empty() && self.usage.is_empty()
    }

    /// What all usage came to.
    pub(crate) fn used(&self) -> NanoUsd {
        self.usage.iter().fold(NanoUsd::ZERO, |sum, one| sum.saturating_add(one.charge))
    }

    /// What the organization had when the month was over.
    pub(crate) fn closing(&self) -> SignedNanoUsd {
        let moved: i64 = self.movements.iter().map(|movement| movement.amount.nano()).sum();
        SignedNanoUsd::new(self.opening.nano() + moved - self.used().nano())
    }

    /// The statement on paper and as a table.
    pub(crate) fn papers(&self, issuer: &str) -> Papers {
        Papers { pdf: self.pdf(issuer), csv: self.csv() }
    }

    fn pdf(&self, issuer: &str) -> Vec<u8> {
        let mut paper = Paper::new(&format!("Statement {}", self.month));
        paper.line(issuer);
        paper.line(&format!("Organization {}", self.account));
        let last = day(self.month.ends_at().minus(std::time::Duration::from_secs(1)));
        paper.line(&format!("{} to {last}, in UTC; amounts in US dollars", day(self.month.starts_at())));
        paper.heading("Balance");
        let mut rows = vec![["Opening balance".to_owned(), self.opening.to_string()]];
        let mut by_kind: BTreeMap<&str, i64> = BTreeMap::new();
        for movement in &self.movements {
            *by_kind.entry(&movement.kind).or_default() += movement.amount.nano();
        }
        rows.extend(by_kind.into_iter().map(|(kind, sum)| [spoken(kind), SignedNanoUsd::new(sum).to_string()]));
        rows.push([spoken("usage"), SignedNanoUsd::new(-self.used().nano()).to_string()]);
        paper.table(MONEY, ["", "USD"], &rows);
        paper.total(MONEY, ["Closing balance", &self.closing().to_string()]);
        let of = |id: Option<String>| id.unwrap_or_default();
        self.usage_by(&mut paper, "Usage by model", |sum| of(sum.model.clone()));
        self.usage_by(&mut paper, "Usage by project", |sum| of(sum.project.map(|id| id.to_string())));
        self.usage_by(&mut paper, "Usage by key", |sum| of(sum.key.map(|id| id.to_string())));
        paper.finish()
    }

    fn usage_by(&self, paper: &mut Paper, heading: &str, name: impl Fn(&UsageSum) -> String) {
        if self.usage.is_empty() {
            return;
        }
        let (mut lines, mut all): (BTreeMap<String, Used>, Used) = (BTreeMap::new(), Used::default());
        for sum in &self.usage {
            lines.entry(name(sum)).or_default().add(sum);
            all.add(sum);
        }
        paper.heading(heading);
        let rows: Vec<[String; 5]> = lines.into_iter().map(|(name, used)| used.row(name)).collect();
        paper.table(USAGE, USAGE_HEAD, &rows);
        paper.total(USAGE, all.row("Total".to_owned()).each_ref().map(String::as_str));
    }

    /// Between the first line and the last, amounts add up from the opening to the closing balance.
    fn csv(&self) -> String {
        let mut lines = csv::line(CSV_HEAD);
        let mut money = |date: &str, kind: &str, amount: SignedNanoUsd| {
            lines.push_str(&csv::line([date, kind, "", "", "", "", "", "", &amount.to_string()]));
        };
        money(&day(self.month.starts_at()), "opening_balance", self.opening);
        for movement in &self.movements {
            money(&day(movement.day), &movement.kind, movement.amount);
        }
        for sum in &self.usage {
            let mut used = Used::default();
            used.add(sum);
            lines.push_str(&csv::line([
                day(sum.starts_at).as_str(),
                "usage",
                &sum.project.map(|id| id.to_string()).unwrap_or_default(),
                &sum.key.map(|id| id.to_string()).unwrap_or_default(),
                sum.model.as_deref().unwrap_or_default(),
                &used.requests.to_string(),
                &used.input.to_string(),
                &used.output.to_string(),
                &SignedNanoUsd::new(-used.charge).to_string(),
            ]));
        }
        let last = day(self.month.ends_at().minus(std::time::Duration::from_secs(1)));
        let closing = self.closing().to_string();
        lines.push_str(&csv::line([&last, "closing_balance", "", "", "", "", "", "", &closing]));
        lines
    }
}

impl Used {
    fn add(&mut self, sum: &UsageSum) {
        self.requests += sum.requests;
        self.input += sum.prompt + sum.cached_prompt + sum.cache_write;
        self.output += sum.output;
        self.charge += sum.charge.nano();
    }

    fn row(self, name: String) -> [String; 5] {
        let charge = SignedNanoUsd::new(self.charge).to_string();
        [name, self.requests.to_string(), self.input.to_string(), self.output.to_string(), charge]
    }
}

/// `2026-01-31`.
pub(super) fn day(at: protocol::Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

/// `promo_expired` becomes `Promo expired`.
fn spoken(kind: &str) -> String {
    let mut letters = kind.chars().map(|letter| if letter == '_' { ' ' } else { letter });
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use protocol::{Id, KeyId, ProjectId};
    use uuid::Uuid;

    use super::*;

    fn id<T: Id>(n: u128) -> T {
        T::from_uuid(Uuid::from_u128(n))
    }

    fn statement() -> Statement {
        let month: Month = "2026-01".parse().unwrap();
        let used = |model: &str, charge| UsageSum {
            starts_at: month.starts_at(),
            project: Some(id::<ProjectId>(2)),
            key: Some(id::<KeyId>(3)),
            model: Some(model.to_owned()),
            requests: 2,
            prompt: 10,
            cached_prompt: 5,
            cache_write: 0,
            output: 7,
            charge: NanoUsd::new(charge).unwrap(),
        };
        let moved = |kind: &str, nano| Movement {
            day: month.starts_at(),
            kind: kind.to_owned(),
            amount: SignedNanoUsd::new(nano),
        };
        Statement {
            account: id(1),
            month,
            opening: SignedNanoUsd::new(-1_000_000_000),
            movements: vec![moved("payment", 50_000_000_000), moved("promo_expired", -2_000_000_000)],
            usage: vec![used("org/a", 250_000_000), used("org/b, large", 1)],
        }
    }

    #[test]
    fn a_statement_adds_up_from_its_opening_to_its_closing_balance() {
        let papers = statement().papers("Steelyard");
        let amounts: Vec<SignedNanoUsd> =
            papers.csv.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect();
        let (closing, before) = amounts.split_last().unwrap();
        assert_eq!(before.iter().map(|amount| amount.nano()).sum::<i64>(), closing.nano());
        assert_eq!(closing.to_string(), "46.749999999");
        let project = id::<ProjectId>(2);
        assert!(
            papers.csv.contains(&format!(
                "2026-01-01,usage,{project},{},\"org/b, large\",2,15,7,-0.000000001",
                id::<KeyId>(3)
            ))
        );
        assert!(papers.csv.ends_with("2026-01-31,closing_balance,,,,,,,46.749999999\r\n"));
    }

    #[test]
    fn the_same_facts_make_the_same_paper() {
        let papers = statement().papers("Steelyard");
        assert_eq!(papers, statement().papers("Steelyard"));
        let text = String::from_utf8_lossy(&papers.pdf);
        for said in ["(Statement 2026-01)", "(Promo expired)", "(46.749999999)", "(Usage by model)", "(org/a)"] {
            assert!(text.contains(said), "{said}");
        }
    }
}
