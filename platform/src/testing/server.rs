//! A server of one test's own, for tests that stop it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::db::DatabaseConfig;
use crate::embedded::{Embedded, EmbeddedConfig, Error};

/// A server nobody else uses. It stops, and its data goes, when this is dropped or the process dies.
#[derive(Debug)]
pub struct PrivateServer {
    server: Embedded,
    config: EmbeddedConfig,
}

impl PrivateServer {
    /// Starts one. About a second: prefer [`super::database`] unless the test stops the server.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::start_as(EmbeddedConfig::new(private_folder()?).fleeting()).await
    }

    /// Starts one whose commits wait for the disk, for measuring.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start_durable() -> Result<Self, Error> {
        Self::start_as(EmbeddedConfig::new(private_folder()?)).await
    }

    async fn start_as(config: EmbeddedConfig) -> Result<Self, Error> {
        let config = EmbeddedConfig { disposable: true, ..config.guarded() };
        let server = Embedded::start(config.clone()).await?;
        Ok(Self { server, config })
    }

    /// Its database's address; the same after [`PrivateServer::resume`].
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Settings that lead to its database.
    #[must_use]
    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig::default().with_url(self.url())
    }

    /// Stops the server as a crash would: sessions are cut, nothing is tidied up.
    ///
    /// # Errors
    /// As [`Embedded::stop`].
    pub async fn halt(&self) -> Result<(), Error> {
        self.server.halt().await
    }

    /// Starts it again at the same address.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn resume(&self) -> Result<(), Error> {
        self.server.resume(&self.config).await
    }
}

fn private_folder() -> Result<PathBuf, Error> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    Ok(super::run::scratch_folder()?.join(format!(
        "private-{}-{}",
        std::process::id(),
        SERIAL.fetch_add(1, Ordering::Relaxed)
    )))
}
