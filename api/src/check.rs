//! Bounds on what providers write about themselves. Each refusal names the field and what would be right.

use protocol::offer::{EngineInfo, Hardware, Location};
use protocol::session::CreateProvider;
use protocol::wallet::Address;
use url::Url;

use crate::error::ApiError;

/// Longest name or label.
const MAX_NAME: usize = 200;
/// Longest URL.
const MAX_URL: usize = 500;
/// Most kinds of GPU in one machine.
const MAX_GPUS: usize = 16;

/// Checks everything a provider says when it registers.
///
/// # Errors
/// 400 with the first field at fault.
pub fn provider(body: &CreateProvider) -> Result<(), ApiError> {
    label("name", &body.name, MAX_NAME)?;
    slug(&body.slug)?;
    email(&body.contact_email)?;
    country("country", &body.country)?;
    for (field, url) in [("website", &body.website), ("privacy_policy_url", &body.privacy_policy_url)] {
        if let Some(url) = url {
            web_page(field, url)?;
        }
    }
    label("terms_version", &body.terms_version, 40)?;
    payout_account(&body.payout_account)
}

/// Checks what a node says of its machine.
///
/// # Errors
/// 400 with the first field at fault.
pub fn machine(hardware: &Hardware, location: &Location, engine: &EngineInfo) -> Result<(), ApiError> {
    if hardware.gpus.len() > MAX_GPUS {
        return Err(invalid("hardware.gpus", format!("at most {MAX_GPUS} kinds")));
    }
    for gpu in &hardware.gpus {
        label("hardware.gpus.vendor", &gpu.vendor, 40)?;
        label("hardware.gpus.model", &gpu.model, 100)?;
        optional("hardware.gpus.interface", gpu.interface.as_deref(), 40)?;
    }
    optional("hardware.driver", hardware.driver.as_deref(), 100)?;
    country("location.country_code", &location.country_code)?;
    if let Some(region) = &location.region {
        let plain = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if region.is_empty() || region.len() > 40 || !plain {
            return Err(invalid("location.region", "1 to 40 lower-case letters, digits and dashes, such as \"fra1\""));
        }
    }
    label("engine.name", &engine.name, 40)?;
    optional("engine.version", engine.version.as_deref(), 100)
}

/// A text for people: not empty, without control characters, not too long.
///
/// # Errors
/// 400 naming `field`.
pub fn label(field: &str, text: &str, most: usize) -> Result<(), ApiError> {
    if text.trim().is_empty() || text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(invalid(field, format!("1 to {most} characters without control characters")));
    }
    Ok(())
}

/// A text for people that may be absent.
///
/// # Errors
/// 400 naming `field`.
pub fn optional(field: &str, text: Option<&str>, most: usize) -> Result<(), ApiError> {
    text.map_or(Ok(()), |text| label(field, text, most))
}

fn invalid(field: &str, message: impl Into<String>) -> ApiError {
    ApiError::invalid(field, message).with_code("invalid_value")
}

/// A slug stands in URLs, in routing fields and before a region (`slug/region`).
fn slug(slug: &str) -> Result<(), ApiError> {
    let plain = slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || !(2..=40).contains(&slug.len()) || slug.starts_with('-') || slug.ends_with('-') {
        return Err(invalid("slug", "2 to 40 lower-case letters, digits and inner dashes"));
    }
    Ok(())
}

/// Enough to catch a mistyped field; whether it exists only a message to it can tell.
fn email(text: &str) -> Result<(), ApiError> {
    let parts = text.split_once('@');
    let shaped = parts.is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.')
    });
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if !shaped || !plain || text.len() > 254 || text.matches('@').count() != 1 {
        return Err(invalid("contact_email", "an address such as \"ops@example.com\""));
    }
    Ok(())
}

fn country(field: &str, code: &str) -> Result<(), ApiError> {
    if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(invalid(field, "two upper-case letters by ISO 3166, such as \"DE\""));
    }
    Ok(())
}

fn web_page(field: &str, text: &str) -> Result<(), ApiError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if text.len() > MAX_URL || url.is_none() {
        return Err(invalid(field, "an http or https URL of at most 500 characters"));
    }
    Ok(())
}

/// CAIP-10 on an EVM chain: `eip155:<chain>:<address>`.
fn payout_account(text: &str) -> Result<(), ApiError> {
    let parts = text.strip_prefix("eip155:").and_then(|rest| rest.split_once(':'));
    let known = parts.is_some_and(|(chain, address)| {
        let chain_ok = chain.bytes().all(|b| b.is_ascii_digit()) && chain.parse::<u64>().is_ok();
        chain_ok && address.parse::<Address>().is_ok()
    });
    if !known {
        return Err(invalid("payout_account", "an account such as \"eip155:8453:0x…\" with a valid address"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn register(change: impl Fn(&mut Value)) -> Result<(), String> {
        let mut body = json!({
            "name": "Acme", "slug": "acme", "contact_email": "ops@acme.example", "country": "DE",
            "website": "https://acme.example", "terms_version": "1",
            "payout_account": "eip155:8453:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "receipt_address": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        });
        change(&mut body);
        let body = serde_json::from_value(body).unwrap();
        provider(&body).map_err(|error| error.body()["error"]["param"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_plain_registration_passes() {
        register(|_| {}).unwrap();
    }

    #[test]
    fn each_field_has_its_bounds() {
        for (field, wrong) in [
            ("name", json!("")),
            ("name", json!("a".repeat(201))),
            ("name", json!("a\nb")),
            ("slug", json!("Acme")),
            ("slug", json!("-a")),
            ("slug", json!("a/b")),
            ("contact_email", json!("nobody")),
            ("contact_email", json!("a@b@c.d")),
            ("country", json!("de")),
            ("website", json!("javascript:alert(1)")),
            ("privacy_policy_url", json!("not a url")),
            ("terms_version", json!("")),
            ("payout_account", json!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")),
            ("payout_account", json!("eip155:x:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")),
            ("payout_account", json!("eip155:1:0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266")),
        ] {
            assert_eq!(register(|body| body[field] = wrong.clone()), Err(field.to_owned()), "{field} = {wrong}");
        }
    }

    #[test]
    fn a_machine_stands_in_a_country_and_a_plainly_named_region() {
        let engine = EngineInfo { name: "vllm".into(), version: None };
        let at = |country: &str, region: Option<&str>| {
            let location = Location { country_code: country.into(), region: region.map(str::to_owned) };
            machine(&Hardware::default(), &location, &engine).is_ok()
        };
        assert!(at("DE", Some("fra-1")) && at("DE", None));
        assert!(!at("Germany", None) && !at("DE", Some("fra/1")) && !at("DE", Some("")));
    }
}
