use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use platform::embedded::{Embedded, EmbeddedConfig, Error, Mode};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};

use crate::helper::{Helper, How};

/// A folder that every account can enter; what is in it guards itself.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("sy").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    folder
}

fn config(folder: &Path, mode: Mode) -> EmbeddedConfig {
    EmbeddedConfig { mode, ..EmbeddedConfig::new(folder.join("pg")).fleeting() }
}

async fn query_one(url: &str) -> Result<i32, sqlx::Error> {
    let mut conn = PgConnection::connect(url).await?;
    sqlx::query_scalar("select 1").fetch_one(&mut conn).await
}

/// Polls until `condition`, for things another process does.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("pg/data/postmaster.pid")
}

#[tokio::test]
async fn a_server_starts_keeps_its_data_and_stops() {
    let folder = folder();
    let server = Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap();
    assert!(!server.is_adopted());
    let url = server.url();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    sqlx::query("create table kept ()").execute(&mut conn).await.unwrap();
    let listens: String = sqlx::query_scalar("show listen_addresses").fetch_one(&mut conn).await.unwrap();
    assert_eq!(listens, "", "nothing on the network");
    let mode = std::fs::metadata(server.socket_folder()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // An open session does not keep the server from stopping.
    server.stop().await.unwrap();
    assert!(!pid_file(folder.path()).exists());
    assert!(query_one(&url).await.is_err());

    let server = Embedded::start(config(folder.path(), Mode::Guarded)).await.unwrap();
    let mut conn = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query("select from kept").execute(&mut conn).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_user_leaves_a_server_that_the_next_one_adopts() {
    let folder = folder();
    let helper = Helper::start("adopting", &folder.path().join("pg"), &How::default());
    let said = helper.said.clone();
    helper.kill();
    let server = Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap();
    assert!(server.is_adopted());
    assert_eq!(said, format!("{} {}", server.server_pid().unwrap(), server.url()), "the very same server");
    assert_eq!(query_one(&server.url()).await.unwrap(), 1);
    server.stop().await.unwrap();
    assert!(!pid_file(folder.path()).exists());
}

#[tokio::test]
async fn the_last_user_stops_the_server() {
    let folder = folder();
    let one = Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap();
    let two = Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap();
    let url = two.url();
    one.stop().await.unwrap();
    assert_eq!(query_one(&url).await.unwrap(), 1, "still used");
    two.stop().await.unwrap();
    assert!(query_one(&url).await.is_err());
}

#[tokio::test]
async fn a_guarded_server_has_one_user() {
    let folder = folder();
    let server = Embedded::start(config(folder.path(), Mode::Guarded)).await.unwrap();
    for mode in [Mode::Guarded, Mode::Adopting] {
        let second = EmbeddedConfig { patience: Duration::from_millis(50), ..config(folder.path(), mode) };
        assert!(matches!(Embedded::start(second).await, Err(Error::InUse { .. })));
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn killing_the_parent_stops_a_guarded_server() {
    let folder = folder();
    let helper = Helper::start("guarded", &folder.path().join("pg"), &How::default());
    let url = helper.said.split_once(' ').unwrap().1.to_owned();
    assert_eq!(query_one(&url).await.unwrap(), 1);
    helper.kill();
    eventually("the end of the server", || !pid_file(folder.path()).exists()).await;
    // The next one waits for the guard of the last one, and finds everything tidy.
    let server = Embedded::start(config(folder.path(), Mode::Guarded)).await.unwrap();
    assert!(!server.is_adopted());
    assert_eq!(query_one(&server.url()).await.unwrap(), 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_successor_waits_for_the_guard_of_a_killed_parent() {
    let folder = folder();
    Helper::start("guarded", &folder.path().join("pg"), &How::default()).kill();
    // At once: the guard has hardly begun.
    let server = Embedded::start(config(folder.path(), Mode::Guarded)).await.unwrap();
    assert_eq!(query_one(&server.url()).await.unwrap(), 1);
    server.stop().await.unwrap();
}

/// Kills the server itself, as the kernel does when memory runs out.
async fn kill_server(server: &Embedded) {
    let pid = server.server_pid().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    let command = format!("/proc/{pid}/cmdline");
    eventually("the server's death", || std::fs::read(&command).map_or(true, |raw| raw.is_empty())).await;
}

#[tokio::test]
async fn what_a_killed_server_left_is_cleared() {
    let folder = folder();
    let server = Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap();
    // Where nobody collects dead processes this leaves a zombie, which still answers signal 0.
    kill_server(&server).await;
    assert!(pid_file(folder.path()).exists() && server.socket_folder().join(".s.PGSQL.5432.lock").exists());
    drop(server);
    let server = Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap();
    assert!(!server.is_adopted());
    assert_eq!(query_one(&server.url()).await.unwrap(), 1);
    server.stop().await.unwrap();
}

/// A pid file that names a process which answers signal 0: one of another program, then a zombie.
#[tokio::test]
async fn a_pid_file_that_names_a_stranger_or_a_zombie_is_stale() {
    let folder = folder();
    Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap().stop().await.unwrap();
    let stranger = std::process::id();
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    let command = format!("/proc/{}/cmdline", zombie.id());
    eventually("the zombie", || std::fs::read(&command).is_ok_and(|raw| raw.is_empty())).await;
    for pid in [stranger, zombie.id()] {
        std::fs::write(pid_file(folder.path()), format!("{pid}\n/elsewhere\n1\n5432\n/tmp\n\n\nready\n")).unwrap();
        std::fs::write(folder.path().join("pg/run/.s.PGSQL.5432.lock"), format!("{pid}\n")).unwrap();
        let server = Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap();
        assert!(!server.is_adopted());
        server.stop().await.unwrap();
    }
    zombie.wait().unwrap();
}

#[tokio::test]
async fn a_data_folder_cut_short_is_made_again() {
    let folder = folder();
    // What initdb leaves when it is killed.
    Embedded::start(config(folder.path(), Mode::Adopting)).await.unwrap().stop().await.unwrap();
    let (whole, unfinished) = (folder.path().join("pg/data"), folder.path().join("pg/data.unfinished"));
    std::fs::rename(&whole, &unfinished).unwrap();
    std::fs::remove_file(unfinished.join("PG_VERSION")).unwrap();
    let server = Embedded::start(config(folder.path(), Mode::Guarded)).await.unwrap();
    assert_eq!(query_one(&server.url()).await.unwrap(), 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_path_and_a_strange_one_work() {
    let folder = folder();
    let long = folder.path().join("a folder, with a 'quoted' name").join("x".repeat(100));
    let server = Embedded::start(EmbeddedConfig::new(&long).guarded().fleeting()).await.unwrap();
    assert!(server.socket_folder().as_os_str().len() < 90);
    assert_eq!(query_one(&server.url()).await.unwrap(), 1);
    server.stop().await.unwrap();
    // pg_ctl would hand this one to a shell, which would run it.
    let strange = folder.path().join("$(touch sprung)");
    let refused = Embedded::start(EmbeddedConfig::new(&strange).guarded()).await;
    assert!(matches!(refused, Err(Error::NotPlain { .. })));
}

/// Root steps down by itself in every other test here; this one begins as an ordinary user.
#[tokio::test]
async fn it_works_for_an_ordinary_user_too() {
    if !rustix::process::geteuid().is_root() {
        // Then every other test has shown it.
        return;
    }
    let folder = folder();
    let copy = folder.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let how = How { account: Some((65_534, 65_534, copy)) };
    let helper = Helper::start("guarded", &folder.path().join("pg"), &how);
    let url = helper.said.split_once(' ').unwrap().1.to_owned();
    assert_eq!(query_one(&url).await.unwrap(), 1);
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path().join("pg/data")).unwrap());
    assert_eq!(owner, 65_534);
    helper.kill();
    eventually("the end of the server", || !pid_file(folder.path()).exists()).await;
}
