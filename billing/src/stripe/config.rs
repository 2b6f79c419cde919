//! What an operator sets about cards.

use platform::config::redacted;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// What happens to an account whose payment is disputed. Whatever it is, the money the bank takes is booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputePolicy {
    /// Nothing: it may spend what it bought, and a lost dispute is the platform's loss.
    None,
    /// What is left of the disputed purchase is frozen until the bank has decided.
    #[default]
    Freeze,
    /// That, and the account is suspended until an operator lets it spend again.
    Suspend,
}

/// What happens when a card's issuer holds a payment for fraud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningPolicy {
    /// It is written down, no more.
    Record,
    /// What was not spent of it goes back to the card.
    #[default]
    Refund,
    /// The account is suspended until an operator lets it spend again.
    Suspend,
    /// Both.
    RefundAndSuspend,
}

/// The card processor and the bounds of what is bought through it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StripeConfig {
    /// The account's secret key. Without one no card is taken.
    #[serde(serialize_with = "redacted")]
    pub secret_key: Option<SecretString>,
    /// What webhooks are signed with.
    #[serde(serialize_with = "redacted")]
    pub webhook_secret: Option<SecretString>,
    /// What they are signed with too, while the secret is being changed.
    #[serde(serialize_with = "redacted")]
    pub former_webhook_secret: Option<SecretString>,
    /// Where the processor is, with a slash at the end; Stripe itself when absent. For demos and tests.
    pub api_base: Option<String>,
    /// Longest wait for one answer.
    pub timeout_ms: u64,
    /// How often one call is made before whoever waits is told that its outcome is unknown. It goes on beside.
    pub attempts: u32,
    /// The pause after the first of them; each further one is twice as long.
    pub pause_ms: u64,
    /// A webhook signed this much earlier or later is not believed.
    pub tolerance_s: u32,
    /// The least that is bought at once.
    pub min_topup_usd: u32,
    /// And the most.
    pub max_topup_usd: u32,
    /// The most an organization buys the first time, always with 3-D Secure.
    pub max_first_topup_usd: u32,
    /// An organization is young until its first card payment is this many days old.
    pub young_days: u32,
    /// The most top-ups a young one asks for in a day.
    pub young_topups_per_day: u32,
    /// The most credit it buys in a day.
    pub young_usd_per_day: u32,
    /// The most cards it saves in a day.
    pub young_cards_per_day: u32,
    /// Whether the processor adds tax.
    pub has_tax: bool,
    /// Where a customer comes back to who named no place.
    pub return_url: String,
    /// What happens to an account whose payment is disputed: `none`, `freeze` or `suspend`.
    pub dispute_policy: DisputePolicy,
    /// What happens when a card's issuer holds a payment for fraud: `record`, `refund`, `suspend` or
    /// `refund_and_suspend`.
    pub warning_policy: WarningPolicy,
    /// How often what was told is worked on.
    pub inbox_ms: u64,
    /// How often it is looked for balances below what their owners' rules allow.
    pub recharge_ms: u64,
    /// How often what has no known outcome is looked at.
    pub resume_ms: u64,
    /// How often the processor's own list is read, for what was never told.
    pub backfill_ms: u64,
    /// How often the lines of the processor's own account are read and matched with the books.
    pub lines_ms: u64,
}

impl Default for StripeConfig {
    fn default() -> Self {
        Self {
            secret_key: None,
            webhook_secret: None,
            former_webhook_secret: None,
            api_base: None,
            timeout_ms: 20_000,
            attempts: 3,
            pause_ms: 500,
            tolerance_s: 300,
            min_topup_usd: 5,
            max_topup_usd: 5_000,
            max_first_topup_usd: 100,
            young_days: 14,
            young_topups_per_day: 10,
            young_usd_per_day: 500,
            young_cards_per_day: 5,
            has_tax: true,
            return_url: "https://steelyard.example/credits".to_owned(),
            dispute_policy: DisputePolicy::default(),
            warning_policy: WarningPolicy::default(),
            inbox_ms: 500,
            recharge_ms: 2_000,
            resume_ms: 5_000,
            backfill_ms: 600_000,
            lines_ms: 3_600_000,
        }
    }
}
