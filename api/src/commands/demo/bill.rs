//! The bill of the demo's one request, as the books have it.

use protocol::{NanoUsd, OrganizationId, RequestId};

use super::client::Asked;
use super::setup::Customer;
use crate::commands::Error;
use crate::state::AppState;

/// Prints tokens, price, cost, the provider's share and the margin, and the balance before and after.
pub(super) async fn print(app: &AppState, customer: &Customer, asked: &Asked) -> Result<(), Error> {
    let request = RequestId::parse_any(&asked.id).map_err(|error| Error::Usage(error.to_string()))?;
    let organization: OrganizationId =
        customer.organization.parse().map_err(|_| Error::Usage("a bad organization id".into()))?;
    let mut conn = app.db.acquire().await?;
    let row = billing::store::views::find_generation(&mut conn, organization, request)
        .await?
        .ok_or_else(|| Error::Usage(format!("the books do not know {request}")))?;
    let credits = billing::store::views::credits(&mut conn, organization).await?;
    let served = row.attempts.last().ok_or_else(|| Error::Usage("the request had no attempt".into()))?;
    let version = u32::try_from(served.price_version).unwrap_or_default();
    let price = app.billing.prices().get(served.offer, version);
    let per_million = |price: protocol::Price| format!("{} USD per million", decimal(price.pico()));
    let earned = row.attempts.iter().fold(NanoUsd::ZERO, |sum, attempt| sum.saturating_add(attempt.earned));
    println!("\nThe bill of {} ({})", asked.id, row.model);
    println!(
        "  first token          {:>8} ms, whole answer {} ms",
        asked.first_token.as_millis(),
        asked.total.as_millis()
    );
    if let Some(price) = price {
        println!("  prompt               {:>8} tokens at {}", row.units.prompt_total(), per_million(price.user.prompt));
        println!(
            "  completion           {:>8} tokens at {}",
            row.units.completion_total(),
            per_million(price.user.completion)
        );
    }
    println!("  cost                 {:>16} USD", row.charge.to_string());
    println!("  to the provider      {:>16} USD", earned.to_string());
    println!("  margin               {:>16} USD", row.charge.saturating_sub(earned).to_string());
    let after = credits.total_credits.saturating_sub(credits.total_usage);
    println!("  balance before       {:>16} USD", after.saturating_add(row.charge).to_string());
    println!("  balance after        {:>16} USD", after.to_string());
    Ok(())
}

/// Ready to paste.
pub(super) fn print_snippets(url: &str, key: &str, model: &str) {
    println!(
        r#"
Try it with curl:

  curl -N {url}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
    -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

or with the openai package:

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  for chunk in client.chat.completions.create(
      model="{model}", stream=True, messages=[{{"role": "user", "content": "Hello!"}}]):
      print(chunk.choices[0].delta.content or "", end="", flush=True)"#
    );
}

/// Pico-USD per token is micro-USD per million tokens.
fn decimal(pico: i64) -> String {
    let text = format!("{}.{:06}", pico / 1_000_000, pico % 1_000_000);
    let kept = text.trim_end_matches('0').len().max(text.find('.').map_or(0, |dot| dot + 3));
    text[..kept].to_owned()
}
