//! Where the server's programs are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

/// The oldest major version that is used: its catalogue and SQL are what the migrations rely on.
pub(super) const OLDEST_MAJOR: u32 = 14;

/// One installation of PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    folder: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// The full path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What the search reads from outside; a value, so that tests hand in their own.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// `PG_BINDIR`: when set, nothing else is looked at.
    pub(super) bindir: Option<PathBuf>,
    /// `PATH`.
    pub(super) path: Option<OsString>,
    /// Folders of distributions, most wanted first.
    pub(super) installed: Vec<PathBuf>,
}

impl Surroundings {
    /// This process's environment and this machine's folders.
    pub(super) fn of_this_machine() -> Self {
        Self {
            bindir: std::env::var_os("PG_BINDIR").map(PathBuf::from),
            path: std::env::var_os("PATH"),
            installed: installed(),
        }
    }
}

/// The first usable installation; of major version `wanted` where a data folder asks for one.
///
/// # Errors
/// [`Error::NoBinaries`], [`Error::BadBindir`], [`Error::TooOld`] or [`Error::WrongVersion`]; each
/// says what to do.
pub(super) fn find(surroundings: &Surroundings, wanted: Option<u32>) -> Result<Binaries, Error> {
    let mut seen: Vec<Binaries> = Vec::new();
    for folder in folders(surroundings) {
        let Some(found) = inspect(&folder) else {
            continue;
        };
        if found.major >= OLDEST_MAJOR && wanted.is_none_or(|major| major == found.major) {
            return Ok(found);
        }
        seen.push(found);
    }
    let usable = seen.iter().map(|found| found.major).max();
    match (usable, wanted, &surroundings.bindir) {
        (None, _, Some(folder)) => Err(Error::BadBindir { folder: folder.clone() }),
        (None, _, None) => Err(Error::NoBinaries),
        (Some(found), Some(wanted), _) if found >= OLDEST_MAJOR => Err(Error::WrongVersion { found, wanted }),
        (Some(found), _, _) => Err(Error::TooOld { found, oldest: OLDEST_MAJOR }),
    }
}

fn folders(surroundings: &Surroundings) -> Vec<PathBuf> {
    if let Some(folder) = &surroundings.bindir {
        return vec![folder.clone()];
    }
    let path = surroundings.path.as_deref().map(std::env::split_paths).into_iter().flatten();
    path.filter(|folder| folder.is_absolute()).chain(surroundings.installed.iter().cloned()).collect()
}

/// An installation, if all three programs are there and the server tells its version.
fn inspect(folder: &Path) -> Option<Binaries> {
    // A distribution may link one program into PATH and keep its siblings elsewhere; follow the link.
    let server = folder.join("postgres").canonicalize().ok()?;
    let folder = server.parent()?.to_path_buf();
    if !["initdb", "pg_ctl"].iter().all(|name| folder.join(name).is_file()) {
        return None;
    }
    let output = Command::new(&server).arg("--version").stdin(Stdio::null()).output().ok()?;
    let major = parse_major(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries { folder, major })
}

/// `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)` → 15; a beta reads `18beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Folders in which distributions put versions side by side, newest first.
fn installed() -> Vec<PathBuf> {
    const VERSIONED: [(&str, &str, &str); 5] = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ];
    VERSIONED.iter().flat_map(|(parent, prefix, below)| versions(Path::new(parent), prefix, below)).collect()
}

fn versions(parent: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join(below)))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder whose `postgres` claims to be `version`.
    fn pretend(parent: &Path, name: &str, version: &str) -> PathBuf {
        let folder = parent.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for program in ["postgres", "initdb", "pg_ctl"] {
            let file = folder.join(program);
            std::fs::write(&file, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder.canonicalize().unwrap()
    }

    #[test]
    fn versions_are_read_from_releases_and_betas() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("no number here"), None);
    }

    #[test]
    fn newer_versioned_folders_come_first() {
        let home = tempfile::tempdir().unwrap();
        for name in ["9", "14", "17", "notes"] {
            std::fs::create_dir_all(home.path().join(name)).unwrap();
        }
        let order = versions(home.path(), "", "bin");
        assert_eq!(order, ["17", "14", "9"].map(|name| home.path().join(name).join("bin")));
    }

    #[test]
    fn an_old_installation_is_passed_over_and_the_path_comes_before_distributions() {
        let home = tempfile::tempdir().unwrap();
        let (old, on_path) = (pretend(home.path(), "old", "12.3"), pretend(home.path(), "path", "16.1"));
        let distribution = pretend(home.path(), "distribution", "17.2");
        let path = std::env::join_paths([&old, &on_path]).unwrap();
        let here = Surroundings { bindir: None, path: Some(path), installed: vec![distribution] };
        assert_eq!(find(&here, None).unwrap().folder, on_path);
        assert_eq!(find(&here, Some(17)).unwrap().major, 17);
        assert!(matches!(find(&here, Some(15)), Err(Error::WrongVersion { found: 17, wanted: 15 })));
        let only_old = Surroundings { installed: vec![old], ..Surroundings::default() };
        assert!(matches!(find(&only_old, None), Err(Error::TooOld { found: 12, .. })));
    }

    #[test]
    fn when_nothing_is_installed_the_message_names_the_fix() {
        let message = find(&Surroundings::default(), None).unwrap_err().to_string();
        assert!(message.contains("apt-get install postgresql") && message.contains("DATABASE_URL"), "{message}");
        let wrong = Surroundings { bindir: Some("/nonexistent".into()), ..Surroundings::default() };
        assert!(find(&wrong, None).unwrap_err().to_string().contains("PG_BINDIR"));
    }
}
