//! What an organization's admin sees and changes. Every call is about the organization of the admin key, and every
//! change is written down with whoever made it.

mod admin_keys;
mod audit_logs;
mod documents;
mod ledger;
mod model_permissions;
mod project_keys;
mod projects;
mod rate_limits;
mod service_accounts;
mod spend_limits;
mod usage;

use axum::Router;

use crate::extract::Admin;
use crate::state::{App, AppState};
use crate::store::audit::{Actor, Entry};

/// Longest name of anything.
const MAX_NAME: usize = 200;
/// The last second a time may name: the end of the year 9999.
pub(super) const LAST_SECOND: i64 = 253_402_300_799;

/// Every route under `/organization`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .merge(projects::routes())
        .merge(project_keys::routes())
        .merge(service_accounts::routes())
        .merge(rate_limits::routes())
        .merge(model_permissions::routes())
        .merge(spend_limits::routes())
        .merge(admin_keys::routes())
        .merge(audit_logs::routes())
        .merge(usage::routes())
        .merge(ledger::routes())
        .merge(documents::routes())
}

/// A change the holder of an admin key made, now.
fn entry(app: &App, admin: &Admin, action: &'static str, target: impl ToString) -> Entry {
    let entry = Entry::new(app.env.mint(), app.env.now(), Actor::Key(admin.key), action, target);
    entry.of_organization(admin.organization)
}
