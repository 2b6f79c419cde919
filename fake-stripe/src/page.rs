//! The pages people see: where they pay, where their bank asks, and the papers they get.

use stripe_shared::CheckoutSession;

/// Cards offered at the page, with what happens.
const CARDS: &[(&str, &str)] = &[
    ("4242424242424242", "4242 4242 4242 4242: pays"),
    ("4000000000000002", "4000 0000 0000 0002: is declined"),
    ("4000000000009995", "4000 0000 0000 9995: has no money"),
    ("4000002760003184", "4000 0027 6000 3184: asks for 3-D Secure"),
    ("4000000000000259", "4000 0000 0000 0259: pays, then disputes it"),
];

fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:16px sans-serif;max-width:28rem;margin:4rem auto}}button{{font:inherit;margin:.5rem 0}}</style>\
         <h1>{title}</h1>{body}</html>"
    )
}

/// Cents as dollars.
#[must_use]
pub fn dollars(cents: i64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

/// Where a session is paid, or a card saved; `refusal` is what the bank said to the last card.
#[must_use]
pub fn pay(session: &CheckoutSession, refusal: Option<&str>) -> String {
    let id = session.id.as_str();
    let option = |(number, text): &(&str, &str)| format!("<option value=\"{number}\">{text}</option>");
    let options: String = CARDS.iter().map(option).collect();
    let said = refusal.map(|word| format!("<p role=\"alert\">Declined: {word}</p>")).unwrap_or_default();
    let tax = session.total_details.as_ref().map_or(0, |details| details.amount_tax);
    let (title, verb) = match session.amount_total {
        Some(total) => (format!("Pay {}, of it tax {}", dollars(total), dollars(tax)), "Pay"),
        None => ("Save a card".to_owned(), "Save"),
    };
    frame(
        &title,
        &format!(
            "<p>No money moves: this is a test processor.</p>{said}\
             <form method=\"post\" action=\"/pay/{id}\"><select name=\"card\">{options}</select> <button>{verb}</button></form>"
        ),
    )
}

/// Where the bank asks.
#[must_use]
pub fn authenticate(id: &str) -> String {
    let form = |result: &str, label: &str| {
        format!(
            "<form method=\"post\" action=\"/authenticate/{id}\"><input type=\"hidden\" name=\"result\" value=\"{result}\">\
             <button>{label}</button></form>"
        )
    };
    frame(
        "3-D Secure",
        &format!("<p>Your bank asks: is it you?</p>{}{}", form("complete", "Complete"), form("fail", "Fail")),
    )
}

/// A page with a few words.
#[must_use]
pub fn note(title: &str, text: &str) -> String {
    frame(title, &format!("<p>{text}</p>"))
}

/// A one-page PDF with a line of text, which must be ASCII without brackets.
#[must_use]
pub fn pdf(line: &str) -> Vec<u8> {
    let text = format!("BT /F1 14 Tf 72 720 Td ({line}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let (mut out, mut offsets) = (String::from("%PDF-1.4\n"), Vec::new());
    for (at, object) in objects.iter().enumerate() {
        offsets.push(out.len());
        out.push_str(&format!("{} 0 obj\n{object}\nendobj\n", at + 1));
    }
    let start = out.len();
    out.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    for offset in offsets {
        out.push_str(&format!("{offset:010} 00000 n \n"));
    }
    out.push_str(&format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", objects.len() + 1));
    out.into_bytes()
}
