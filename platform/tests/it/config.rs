use std::path::PathBuf;

use platform::config::{self, Error, load_with, print_config};
use platform::db::DatabaseConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    server: Server,
    database: DatabaseConfig,
    note: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Server {
    listen: std::net::SocketAddr,
    max_connections: usize,
    replica: String,
    #[serde(serialize_with = "config::redacted")]
    token: Option<SecretString>,
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 8080).into(), max_connections: 10, replica: "one".to_owned(), token: None }
    }
}

/// A settings file that lives as long as the test.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("steelyard.toml");
    std::fs::write(&path, text).unwrap();
    File { _folder: folder, path }
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Error> {
    let file = file(text);
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_with(Some(&file.path), "STEELYARD_", variables)
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
    let settings = load(
        "[server]\nmax_connections = 20\nreplica = 'two'\n",
        &[("STEELYARD_SERVER__REPLICA", "three"), ("STEELYARD_DATABASE__MAX_CONNECTIONS", "7")],
    )
    .unwrap();
    assert_eq!((settings.server.max_connections, settings.server.replica.as_str()), (20, "three"));
    assert_eq!(settings.server.listen.port(), 8080);
    assert_eq!(settings.database.max_connections, 7);
    let bare: Settings = load_with(None, "STEELYARD_", []).unwrap();
    assert_eq!(bare.server.max_connections, 10);
}

#[test]
fn an_unknown_key_is_refused_with_its_name_and_its_place() {
    let error = load("[server]\nlistne = '0.0.0.0:1'\n", &[]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("`server.listne`") && message.contains("steelyard.toml"), "{message}");
    assert!(message.contains("max_connections"), "says what is known: {message}");
    let error = load("[servre]\n", &[]).unwrap_err().to_string();
    assert!(error.contains("`servre`"), "{error}");
    let error = load("", &[("STEELYARD_SERVER__LISTNE", "x")]).unwrap_err().to_string();
    assert!(error.contains("`server.listne`") && error.contains("STEELYARD_SERVER__LISTNE"), "{error}");
}

#[test]
fn a_wrong_value_is_named_without_being_repeated() {
    let error = load("[server]\nmax_connections = 'hunter2'\n", &[]).unwrap_err().to_string();
    assert!(error.contains("`server.max_connections`") && error.contains("steelyard.toml"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let error = load("", &[("STEELYARD_SERVER__MAX_CONNECTIONS", "hunter2")]).unwrap_err().to_string();
    assert!(error.contains("STEELYARD_SERVER__MAX_CONNECTIONS") && !error.contains("hunter2"), "{error}");
    let error = load("[server]\ntoken = hunter2\n", &[]).unwrap_err().to_string();
    assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let gone = std::path::Path::new("/nonexistent/steelyard.toml");
    let error = load_with::<Settings>(Some(gone), "STEELYARD_", []).unwrap_err();
    assert!(matches!(&error, Error::Unreadable { file, .. } if file == gone));
}

#[test]
fn a_single_underscore_is_pointed_out_and_a_clients_variables_are_left_alone() {
    let clients = [("STEELYARD_URL", "http://x"), ("STEELYARD_API_KEY", "sk"), ("STEELYARD_PROVIDER_KEY", "pk")];
    assert!(load("", &clients).is_ok());
    let error = load("", &[("STEELYARD_SERVER_LISTEN", "x")]).unwrap_err().to_string();
    assert!(error.contains("STEELYARD_SERVER__LISTEN"), "{error}");
    assert_eq!(load("", &[("STEELYARD_NOTE", "hello")]).unwrap().note.as_deref(), Some("hello"));
}

#[test]
fn the_common_name_of_the_database_address_works_and_ours_wins() {
    let url = |settings: Settings| settings.database.url.unwrap().expose_secret().to_owned();
    let common = ("DATABASE_URL", "postgres://common/x");
    assert_eq!(url(load("[database]\nurl = 'postgres://file/x'", &[common]).unwrap()), "postgres://common/x");
    let own = ("STEELYARD_DATABASE__URL", "postgres://own/x");
    assert_eq!(url(load("", &[own, common]).unwrap()), "postgres://own/x");
}

#[test]
fn text_that_looks_like_a_number_is_still_text() {
    let settings = load("", &[("STEELYARD_SERVER__TOKEN", "123456"), ("STEELYARD_SERVER__REPLICA", "7")]).unwrap();
    assert_eq!(settings.server.token.unwrap().expose_secret(), "123456");
    assert_eq!(settings.server.replica, "7");
}

#[test]
fn secrets_are_redacted_wherever_settings_are_shown() {
    let settings = load("[server]\ntoken = 'hunter2'\n[database]\nurl = 'postgres://u:hunter2@h/d'\n", &[]).unwrap();
    let printed = print_config(&settings).unwrap();
    assert!(!printed.contains("hunter2") && !format!("{settings:?}").contains("hunter2"), "{printed}");
    assert!(printed.contains("token = \"[redacted]\"") && printed.contains("max_connections = 10"), "{printed}");
    let unset = print_config(&Settings::default()).unwrap();
    assert!(!unset.contains("token"), "{unset}");
}
