//! A wire to the database whose other end can vanish without a word.

use std::path::PathBuf;
use std::str::FromStr;

use platform::testing::TestDb;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// A relay between a pool and the tests' server.
pub struct Wire {
    options: PgConnectOptions,
    folder: PathBuf,
    /// Rises when all connections so far fall silent.
    silent: watch::Sender<u32>,
}

impl Wire {
    /// Lays one to the server of `db`.
    pub fn to(db: &TestDb) -> Self {
        let options = PgConnectOptions::from_str(db.url()).unwrap();
        let server = options.get_socket().expect("the tests' server has a socket").clone();
        let server = server.join(format!(".s.PGSQL.{}", options.get_port()));
        let folder = std::env::temp_dir().join(format!("wire-{}", db.name()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(format!(".s.PGSQL.{}", options.get_port()))).unwrap();
        let (silent, falls_silent) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = UnixStream::connect(&server).await.unwrap();
                tokio::spawn(relay(near, far, falls_silent.clone()));
            }
        });
        Self { options: options.socket(&folder), folder, silent }
    }

    /// A pool at this end.
    pub async fn pool(&self, connections: u32) -> PgPool {
        PgPoolOptions::new().max_connections(connections).connect_with(self.options.clone()).await.unwrap()
    }

    /// From now on nothing comes or goes on any connection there is, and none of them is closed. New ones work.
    pub fn vanish(&self) {
        self.silent.send_modify(|times| *times += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn relay(mut near: UnixStream, mut far: UnixStream, mut falls_silent: watch::Receiver<u32>) {
    falls_silent.mark_unchanged();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = falls_silent.changed() => std::future::pending().await,
    }
}
