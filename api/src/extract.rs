//! What handlers ask for: who is calling, and a body, query or path that has been checked.

mod body;
mod caller;
mod node;
mod path;
mod project;
mod provider;
mod query;

pub use body::{BODY_LIMIT, Json, given, read_body};
pub use caller::{Admin, Caller, Manager, Payer, authenticate, bearer};
pub use node::{NodeCaller, Supplier};
pub use path::{Path, not_found};
pub use project::ProjectAdmin;
pub use provider::ProviderCaller;
pub use query::{Page, Params, Query};
