//! A card processor that behaves like Stripe, for tests and the demo.
//!
//! It answers Stripe's unmodified client with Stripe's own types, remembers what it did, signs webhooks as Stripe
//! signs them, and can be told to misbehave ([`Knobs`]): lose, repeat and mix up webhooks, refuse calls, and fall
//! silent after doing what was asked. No money moves.

pub mod books;
pub mod card;
mod control;
pub mod form;
pub mod hooks;
pub mod idempotency;
pub mod knobs;
pub mod objects;
mod page;
mod papers;
pub mod refusal;
pub mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use protocol::Env;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use books::{Books, RefundsGo};
pub use knobs::{Fault, FaultKind, Knobs, Webhooks};

/// A running processor; it stops when dropped.
pub struct FakeStripe {
    shared: Arc<server::Shared>,
    address: SocketAddr,
    _stop: DropGuard,
}

impl FakeStripe {
    /// Listens and serves until dropped.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn start(listen: SocketAddr, env: Env, knobs: Knobs) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (events, told) = mpsc::unbounded_channel();
        let shared = Arc::new(server::Shared::new(env, format!("http://{address}"), knobs, events));
        let stop = CancellationToken::new();
        let (hooks, hooks_stop) = (hooks::send_all(Arc::clone(&shared), told), stop.clone());
        tokio::spawn(async move { hooks_stop.run_until_cancelled(hooks).await });
        let (router, server_stop) = (server::router(Arc::clone(&shared)), stop.clone());
        tokio::spawn(async move {
            let served = server_stop.run_until_cancelled(axum::serve(listener, router).into_future()).await;
            if let Some(Err(error)) = served {
                tracing::error!(%error, "the fake processor stopped serving");
            }
        });
        Ok(Self { shared, address, _stop: stop.drop_guard() })
    }

    /// Where it is, with a slash at the end, as Stripe's client wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Changes how it misbehaves.
    pub fn turn(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.shared.knobs.lock());
    }

    /// Lets the next `times` calls whose path begins so go wrong.
    pub fn fault(&self, method: &str, path: &str, times: u32, kind: FaultKind) {
        let fault = Fault { method: Some(method.to_owned()), path: path.to_owned(), times, kind };
        self.shared.knobs.lock().faults.push(fault);
    }

    /// Whether a fault of calls whose path begins so was not met yet.
    #[must_use]
    pub fn is_due(&self, method: &str, path: &str) -> bool {
        let knobs = self.shared.knobs.lock();
        knobs.faults.iter().any(|fault| fault.method.as_deref() == Some(method) && fault.path == path)
    }

    /// Reads or changes what it remembers, as a cardholder or a bank would; what happened is told.
    pub fn with<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        self.shared.with(work)
    }
}
