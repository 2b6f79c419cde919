//! A broker, its database and its nodes, each a process of its own on loopback.

use std::path::{Path, PathBuf};
use std::time::Duration;

use platform::testing::PrivateServer;
use protocol::NanoUsd;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::caller::{Answer, Caller};
use super::spawn::{Process, folder, steelyard, steelyard_node, until};

/// What is offered.
pub const MODEL: &str = "steelyard/simulated";
/// The name of the broker that is there from the start.
const FIRST: &str = "broker";
/// Longest wait for a program on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Worlds come one after another: several would share two cores, and what is timed here would say little.
/// Under nextest each test is a process of its own and `.config/nextest.toml` keeps them apart.
static TURN: Mutex<()> = Mutex::const_new(());

/// Everything. Dropping it kills every process and deletes the folder.
pub struct World {
    pub broker: Process,
    pub url: String,
    address: String,
    settings: String,
    pub postgres: PrivateServer,
    /// Looks into the books from outside.
    pub db: PgPool,
    pub dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// An organization with five dollars.
pub struct Customer {
    pub key: String,
}

impl World {
    /// A broker with these settings besides the usual ones, those of the server first, and one model nobody serves yet.
    pub async fn start(settings: &str) -> Self {
        let turn = TURN.lock().await;
        let dir = folder();
        let postgres = PrivateServer::start().await.unwrap();
        let database = postgres.url();
        command(&database, &["migrate"]).await;
        command(&database, &["admin", "model", "add", "--id", MODEL, "--context-length", "8192"]).await;
        let address = "127.0.0.1:0".to_owned();
        let (broker, address) = broker(dir.path(), FIRST, &database, &address, settings).await;
        let db = platform::db::connect(&postgres.config()).await.unwrap();
        let url = format!("http://{address}");
        Self { broker, url, address, settings: settings.to_owned(), postgres, db, dir, _turn: turn }
    }

    /// Starts the broker again after its death, at the same address.
    pub async fn restart(&mut self) {
        let database = self.postgres.url();
        (self.broker, _) = broker(self.dir.path(), FIRST, &database, &self.address, &self.settings).await;
    }

    /// Another broker on the same database, under a name of its own; its URL.
    pub async fn beside(&self, name: &str) -> (Process, String) {
        let (broker, address) =
            broker(self.dir.path(), name, &self.postgres.url(), "127.0.0.1:0", &self.settings).await;
        (broker, format!("http://{address}"))
    }

    /// Another broker with settings of its own, which does not start; what it says.
    pub async fn turned_away(&self, name: &str, settings: &str) -> String {
        let (mut broker, _) = launch(self.dir.path(), name, &self.postgres.url(), "127.0.0.1:0", settings);
        let status = broker.ended(PATIENCE).await;
        assert!(!status.success(), "{}", broker.said());
        broker.said()
    }

    /// An organization with five dollars and a key.
    pub async fn customer(&self) -> Customer {
        customer(&self.postgres.url()).await
    }

    /// A caller with that customer's key.
    pub fn caller(&self, customer: &Customer) -> Caller {
        Caller {
            url: self.url.clone(),
            key: customer.key.clone(),
            model: MODEL.to_owned(),
            progress: std::sync::Arc::default(),
        }
    }

    /// A provider of its own with one node, whose simulated engine has this latency. Its offer is served by
    /// the time this returns.
    pub async fn node(&self, name: &str, latency: &str) -> Process {
        self.node_of(&self.url, name, latency).await
    }

    /// The same for one of several brokers.
    pub async fn node_of(&self, broker: &str, name: &str, latency: &str) -> Process {
        let folder = self.dir.path().join(name);
        let state = folder.join("state");
        std::fs::create_dir_all(&folder).unwrap();
        let mut register = steelyard_node();
        register.args(["register", "--broker", broker, "--generate-wallet", "--name", name, "--slug", name]);
        register.args(["--email", "ops@provider.example", "--country", "DE", "--state-dir"]).arg(&state);
        let made = output(register).await;
        let provider = made.lines().find_map(|line| line.strip_prefix("provider = \"")?.strip_suffix('"')).unwrap();
        let config = folder.join("node.toml");
        let text = format!(
            "broker = \"{broker}\"\nprovider = \"{provider}\"\nstate_dir = {:?}\ntunnels = 2\n\
             [engine]\nkind = \"simulated\"\nslots = 64\nlatency = {{ {latency} }}\n\
             [location]\ncountry_code = \"DE\"\n\
             [[offer]]\nmodel = \"{MODEL}\"\nupstream_model = \"simulated\"\ncontext_length = 8192\n\
             prompt_usd_per_million = \"0.10\"\ncompletion_usd_per_million = \"0.40\"\n",
            state,
        );
        std::fs::write(&config, text).unwrap();
        let mut run = steelyard_node();
        run.arg("run").arg("--config").arg(&config);
        let mut node = Process::spawn(run, &folder.join("node.log"));
        let served = "select exists (select from offers o join nodes n using (node_id)
                       where n.provider_id = $1 and o.state = 'active')";
        let id: protocol::ProviderId = provider.parse().unwrap();
        until("the node's offer is active and its tunnels are open", PATIENCE, async || {
            node.assert_running();
            let is_active: bool = sqlx::query_scalar(AssertSqlSafe(served))
                .bind(protocol::Id::uuid(id))
                .fetch_one(&self.db)
                .await
                .unwrap();
            (is_active && node.said().matches("tunnel open").count() >= 2).then_some(())
        })
        .await;
        node
    }

    /// Asks until a short answer comes whole: the chain works. Returns that answer and the wait for it.
    pub async fn until_served(&self, caller: &Caller) -> (Answer, Duration) {
        until("an answer comes whole", PATIENCE, async || {
            let answer = caller.counted().stream(2).await;
            answer.is_whole().then_some(answer)
        })
        .await
    }

    /// `steelyard reconcile`, which must find nothing.
    pub async fn assert_reconciled(&self) {
        let said = command(&self.postgres.url(), &["reconcile"]).await;
        assert!(said.contains("ok "), "{said}");
    }

    /// The charge of each settled request.
    pub async fn charges(&self) -> std::collections::HashMap<protocol::RequestId, NanoUsd> {
        let rows: Vec<(protocol::RequestId, NanoUsd)> =
            sqlx::query_as("select request_id, charge_nano_usd from usage").fetch_all(&self.db).await.unwrap();
        let count = rows.len();
        let charges: std::collections::HashMap<_, _> = rows.into_iter().collect();
        assert_eq!(charges.len(), count, "a request is in the books twice");
        charges
    }

    /// One number of the database.
    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.unwrap()
    }
}

async fn broker(dir: &Path, name: &str, database: &str, address: &str, settings: &str) -> (Process, String) {
    let (mut broker, file) = launch(dir, name, database, address, settings);
    let (address, _) = until("the broker listens", PATIENCE, async || {
        broker.assert_running();
        std::fs::read_to_string(&file).ok()
    })
    .await;
    (broker, address)
}

/// A broker that starts, and the file it writes its address to.
fn launch(dir: &Path, name: &str, database: &str, address: &str, settings: &str) -> (Process, PathBuf) {
    let (config, file) = (dir.join(format!("{name}.toml")), dir.join(format!("{name}.address")));
    let text = format!(
        "[server]\nlisten = \"{address}\"\nreplica = \"{name}\"\ndrain_timeout_ms = 3000\n{settings}\n\
         [providers]\nallow_private = true\nprobes_to_activate = 0\n\
         [telemetry]\nlog_filter = \"info\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let _ = std::fs::remove_file(&file);
    let mut command = steelyard();
    command.env("DATABASE_URL", database).arg("--config").arg(&config);
    command.arg("serve").arg("--address-file").arg(&file);
    (Process::spawn(command, &dir.join(format!("{name}.log"))), file)
}

/// An organization with five dollars and a key, made by hand in a database.
pub async fn customer(database: &str) -> Customer {
    let made = command(database, &["admin", "--json", "org", "create", "Customer"]).await;
    let organization = field(&made, "organization");
    command(database, &["admin", "grant", "--org", &organization, "--usd", "5.00"]).await;
    let made = command(database, &["admin", "--json", "key", "create", "--org", &organization]).await;
    Customer { key: field(&made, "secret") }
}

/// Runs `steelyard …` on a database; what it printed.
pub async fn command(database: &str, words: &[&str]) -> String {
    let mut command = steelyard();
    command.env("DATABASE_URL", database).args(words);
    output(command).await
}

async fn output(mut command: tokio::process::Command) -> String {
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.unwrap_or_else(|_| panic!("{command:?} hangs")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn field(json: &str, name: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}")).to_owned()
}

/// A file's text, without its path in the failure.
pub fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
