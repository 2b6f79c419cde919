//! The text a provider's wallet signs, in the manner of EIP-4361: it names who asks, for whom and what for, so
//! that one broker cannot pass another's text on and use the signature there.

use std::fmt;

use crate::wallet::Address;
use crate::{ProviderId, Timestamp};

/// What a signed challenge brings about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The provider becomes active.
    Register,
    /// The provider gets a new key; the ones it had stop.
    KeyRotation,
}

impl Purpose {
    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::KeyRotation => "key_rotation",
        }
    }

    /// The purpose of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Register, Self::KeyRotation].into_iter().find(|purpose| purpose.name() == text)
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Register => "Join Steelyard as a provider with this wallet.",
            Self::KeyRotation => "Replace the Steelyard provider key. The keys the provider has stop working.",
        }
    }
}

/// Everything the text says. It prints as what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The broker that asks, as `https://broker.example`.
    pub origin: String,
    /// Who must sign.
    pub wallet: Address,
    /// What the signature brings about.
    pub purpose: Purpose,
    /// The chain of the payout account.
    pub chain_id: u64,
    /// Random, used once.
    pub nonce: String,
    /// When it was made, to the second.
    pub issued_at: Timestamp,
    /// From when on it proves nothing, to the second.
    pub expires_at: Timestamp,
    /// For which provider.
    pub provider: ProviderId,
    /// The provider's short name.
    pub slug: String,
    /// Where the provider is paid.
    pub payout_account: String,
    /// The terms it accepts.
    pub terms_version: String,
}

/// What the signer knows of what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The broker that was dialled.
    pub origin: &'a str,
    /// The wallet that would sign.
    pub wallet: Address,
    /// What it was asked for.
    pub purpose: Purpose,
    /// The provider as the broker named it.
    pub provider: ProviderId,
    /// The short name that was asked for.
    pub slug: &'a str,
    /// The payout account that was asked for.
    pub payout_account: &'a str,
    /// The terms that were accepted.
    pub terms_version: &'a str,
}

/// Why a text is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another form of text altogether, or one with something added.
    #[error("the text is no Steelyard challenge: it must read \"{expected}\" where it reads \"{found}\"")]
    Form {
        /// How the line must begin.
        expected: &'static str,
        /// The line there is, or the whole text's end.
        found: String,
    },
    /// A challenge for something else.
    #[error("its {field} is {said}, and {expected} was expected")]
    Field {
        /// What differs.
        field: &'static str,
        /// What the text says.
        said: String,
        /// What was expected.
        expected: String,
    },
}

const GREETING: &str = " wants you to sign in with your Ethereum account:";

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{GREETING}\n{}\n\n{}\n", self.origin, self.wallet, self.purpose.sentence())?;
        writeln!(f, "URI: {}\nVersion: 1\nChain ID: {}\nNonce: {}", self.origin, self.chain_id, self.nonce)?;
        writeln!(f, "Issued At: {}", self.issued_at.rfc3339())?;
        writeln!(f, "Expiration Time: {}\nRequest ID: {}\nResources:", self.expires_at.rfc3339(), self.provider)?;
        writeln!(f, "- urn:steelyard:purpose:{}\n- urn:steelyard:slug:{}", self.purpose.name(), self.slug)?;
        write!(f, "- urn:steelyard:payout:{}\n- urn:steelyard:terms:{}", self.payout_account, self.terms_version)
    }
}

impl Challenge {
    /// Reads a text back. What it holds is all there is in the text: printing it gives the same text again.
    ///
    /// # Errors
    /// [`Mismatch::Form`].
    pub fn parse(text: &str) -> Result<Self, Mismatch> {
        let mut lines = Lines(text.lines());
        let first = lines.next()?;
        let origin = first.strip_suffix(GREETING).ok_or_else(|| form(GREETING, first))?.to_owned();
        let wallet = lines.value("")?;
        let wallet = wallet.parse().map_err(|_| form("0x", wallet))?;
        lines.value("")?;
        lines.value("")?;
        lines.value("")?;
        lines.value("URI: ")?;
        lines.value("Version: 1")?;
        let chain = lines.value("Chain ID: ")?;
        let chain_id = chain.parse().map_err(|_| form("Chain ID: ", chain))?;
        let nonce = lines.value("Nonce: ")?.to_owned();
        let issued_at = lines.instant("Issued At: ")?;
        let expires_at = lines.instant("Expiration Time: ")?;
        let provider = lines.value("Request ID: ")?;
        let provider = provider.parse().map_err(|_| form("Request ID: ", provider))?;
        lines.value("Resources:")?;
        let purpose = lines.value("- urn:steelyard:purpose:")?;
        let purpose = Purpose::parse(purpose).ok_or_else(|| form("- urn:steelyard:purpose:", purpose))?;
        let slug = lines.value("- urn:steelyard:slug:")?.to_owned();
        let payout_account = lines.value("- urn:steelyard:payout:")?.to_owned();
        let terms_version = lines.value("- urn:steelyard:terms:")?.to_owned();
        let read = Self {
            origin,
            wallet,
            purpose,
            chain_id,
            nonce,
            issued_at,
            expires_at,
            provider,
            slug,
            payout_account,
            terms_version,
        };
        // Whatever was read past, a sentence that says otherwise or a line more, shows here.
        if read.to_string() == text { Ok(read) } else { Err(form("exactly what its fields say", text)) }
    }

    /// Whether this is what the signer asked for.
    ///
    /// # Errors
    /// [`Mismatch::Field`] naming the first thing that differs.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), Mismatch> {
        if !same_origin(&self.origin, expected.origin) {
            return Err(differs("broker", &self.origin, &expected.origin));
        }
        same("purpose", self.purpose.name(), expected.purpose.name())?;
        same("wallet", &self.wallet.to_string(), &expected.wallet.to_string())?;
        same("provider", &self.provider.to_string(), &expected.provider.to_string())?;
        same("slug", &self.slug, expected.slug)?;
        same("payout account", &self.payout_account, expected.payout_account)?;
        same("terms version", &self.terms_version, expected.terms_version)
    }
}

struct Lines<'a>(std::str::Lines<'a>);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, Mismatch> {
        self.0.next().ok_or_else(|| form("more lines", "the end"))
    }

    fn value(&mut self, label: &'static str) -> Result<&'a str, Mismatch> {
        let line = self.next()?;
        line.strip_prefix(label).ok_or_else(|| form(label, line))
    }

    fn instant(&mut self, label: &'static str) -> Result<Timestamp, Mismatch> {
        let value = self.value(label)?;
        Timestamp::parse_rfc3339(value).ok_or_else(|| form(label, value))
    }
}

fn form(expected: &'static str, found: &str) -> Mismatch {
    Mismatch::Form { expected, found: found.chars().take(200).collect() }
}

fn same(field: &'static str, said: &str, expected: &str) -> Result<(), Mismatch> {
    if said == expected { Ok(()) } else { Err(differs(field, &said, &expected)) }
}

fn differs(field: &'static str, said: &dyn fmt::Display, expected: &dyn fmt::Display) -> Mismatch {
    Mismatch::Field { field, said: said.to_string(), expected: expected.to_string() }
}

/// Equal, or two names of one port of this very machine: whoever listens there is no stranger in between.
fn same_origin(a: &str, b: &str) -> bool {
    a == b || loopback_port(a).is_some_and(|port| loopback_port(b) == Some(port))
}

/// Scheme and port of an origin on this machine.
fn loopback_port(origin: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = origin.split_once("://")?;
    let port = ["127.0.0.1", "localhost", "[::1]"].into_iter().find_map(|host| rest.strip_prefix(host))?;
    (port.is_empty() || port.starts_with(':')).then_some((scheme, port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Id as _;

    fn challenge() -> Challenge {
        let issued_at = Timestamp::from_unix_seconds(1_767_225_600);
        Challenge {
            origin: "https://broker.example".to_owned(),
            wallet: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap(),
            purpose: Purpose::Register,
            chain_id: 8_453,
            nonce: "0123456789abcdef".to_owned(),
            issued_at,
            expires_at: issued_at.plus(std::time::Duration::from_secs(600)),
            provider: ProviderId::from_uuid(uuid::Uuid::from_u128(1)),
            slug: "acme".to_owned(),
            payout_account: "eip155:8453:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned(),
            terms_version: "1".to_owned(),
        }
    }

    fn expected(of: &Challenge) -> Expected<'_> {
        Expected {
            origin: &of.origin,
            wallet: of.wallet,
            purpose: of.purpose,
            provider: of.provider,
            slug: &of.slug,
            payout_account: &of.payout_account,
            terms_version: &of.terms_version,
        }
    }

    #[test]
    fn the_text_is_as_eip_4361_has_it() {
        let text = "https://broker.example wants you to sign in with your Ethereum account:\n\
            0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\n\
            Join Steelyard as a provider with this wallet.\n\n\
            URI: https://broker.example\nVersion: 1\nChain ID: 8453\nNonce: 0123456789abcdef\n\
            Issued At: 2026-01-01T00:00:00Z\nExpiration Time: 2026-01-01T00:10:00Z\n\
            Request ID: prov_00000000000000000000000000000001\nResources:\n\
            - urn:steelyard:purpose:register\n- urn:steelyard:slug:acme\n\
            - urn:steelyard:payout:eip155:8453:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\
            - urn:steelyard:terms:1";
        assert_eq!(challenge().to_string(), text);
        assert_eq!(Challenge::parse(text).unwrap(), challenge());
    }

    #[test]
    fn a_text_that_says_more_or_other_than_its_fields_is_none() {
        let text = challenge().to_string();
        let sentence = Purpose::Register.sentence();
        for wrong in [
            String::new(),
            "sign me".to_owned(),
            format!("{text}\n- urn:steelyard:extra:1"),
            format!("{text}\n"),
            text.replace(sentence, "Nothing happens."),
            text.replace("URI: https://broker.example", "URI: https://other.example"),
            text.replace("2026-01-01T00:10:00Z", "some day"),
        ] {
            assert!(matches!(Challenge::parse(&wrong), Err(Mismatch::Form { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_challenge_for_something_else_is_told_apart_and_named() {
        let asked = challenge();
        asked.check(&expected(&asked)).unwrap();
        let field = |other: Challenge| match other.check(&expected(&asked)) {
            Err(Mismatch::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(Challenge { origin: "https://victim.example".to_owned(), ..challenge() }), "broker");
        assert_eq!(field(Challenge { purpose: Purpose::KeyRotation, ..challenge() }), "purpose");
        assert_eq!(field(Challenge { slug: "other".to_owned(), ..challenge() }), "slug");
        assert_eq!(field(Challenge { payout_account: "eip155:1:0x0".to_owned(), ..challenge() }), "payout account");
    }

    #[test]
    fn names_of_this_machine_are_one_broker_on_one_port_only() {
        assert!(same_origin("http://127.0.0.1:8080", "http://localhost:8080"));
        assert!(same_origin("http://[::1]:8080", "http://127.0.0.1:8080"));
        assert!(!same_origin("http://127.0.0.1:8080", "http://127.0.0.1:8081"));
        assert!(!same_origin("http://localhost.example:8080", "http://localhost:8080"));
        assert!(!same_origin("https://a.example", "https://b.example"));
    }
}
