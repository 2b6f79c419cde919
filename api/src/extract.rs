//! What handlers ask for: who is calling, and a body, query or path that has been checked.

mod body;
mod caller;
mod node;
mod path;
mod project;
mod provider;
mod query;

pub use body::{BODY_LIMIT, Json, NoFields, given, is_form, is_json, read_body, read_body_in_time, read_form_in_time};
pub use caller::{Admin, Caller, Manager, Payer, authenticate, bearer};
pub use node::{NodeCaller, Supplier};
pub use path::{Path, not_found};
pub use project::ProjectAdmin;
pub use provider::ProviderCaller;
pub use query::{Page, Params, Query};
