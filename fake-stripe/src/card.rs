//! Stripe's test cards: what happens is in the number's last four digits.

/// What a bank says to a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pays.
    Pays,
    /// Pays, and the cardholder disputes it at once.
    PaysThenDisputes,
    /// Wants the cardholder to prove who they are.
    Authenticate,
    /// Refuses: the error's code and, for `card_declined`, the bank's own word.
    Declines(&'static str, &'static str),
}

/// Numbers by the names Stripe gives them in `payment_method` and `pm_card_…`.
const NAMED: &[(&str, &str)] = &[
    ("pm_card_visa", "4242424242424242"),
    ("pm_card_chargeDeclined", "4000000000000002"),
    ("pm_card_chargeDeclinedInsufficientFunds", "4000000000009995"),
    ("pm_card_chargeCustomerFail", "4000000000000341"),
    ("pm_card_authenticationRequired", "4000002500003155"),
    ("pm_card_authenticationRequiredOnSetup", "4000002500003155"),
    ("pm_card_authenticationRequiredAlways", "4000002760003184"),
    ("pm_card_createDispute", "4000000000000259"),
];

/// The number behind a name such as `pm_card_visa`.
#[must_use]
pub fn number_of(name: &str) -> Option<&'static str> {
    NAMED.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The last four digits of a number, spaces left out; `None` for what is no card number.
#[must_use]
pub fn last4(number: &str) -> Option<String> {
    let digits: String = number.chars().filter(|c| !c.is_whitespace()).collect();
    let is_card = (12..=19).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_card.then(|| digits[digits.len() - 4..].to_owned())
}

/// What the bank says. `is_present` is the cardholder, at the page; `is_set_up` when they proved who they are
/// while the card was saved.
#[must_use]
pub fn verdict(last4: &str, is_present: bool, is_set_up: bool) -> Verdict {
    match last4 {
        "0002" => Verdict::Declines("card_declined", "generic_decline"),
        "9995" => Verdict::Declines("card_declined", "insufficient_funds"),
        "0069" => Verdict::Declines("expired_card", "expired_card"),
        "0341" if !is_present => Verdict::Declines("card_declined", "generic_decline"),
        "0259" => Verdict::PaysThenDisputes,
        "3155" if !is_set_up => Verdict::Authenticate,
        "3184" | "3220" => Verdict::Authenticate,
        _ => Verdict::Pays,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_set_up_once_pays_alone_and_one_that_always_asks_never_does() {
        assert_eq!(verdict("3155", true, false), Verdict::Authenticate);
        assert_eq!(verdict("3155", false, true), Verdict::Pays);
        assert_eq!(verdict("3184", false, true), Verdict::Authenticate);
        assert_eq!(last4("4242 4242 4242 4242").as_deref(), Some("4242"));
        assert_eq!(last4("4242"), None);
    }
}
