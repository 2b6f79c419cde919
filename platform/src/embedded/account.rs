//! Whose account the server runs under: PostgreSQL refuses root.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Error, io};

/// The account that owns the data folder and runs every program of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
    /// Root starts the programs and must step down.
    steps_down: bool,
}

impl Account {
    /// The current account; for root the account `postgres`, or `nobody` where there is none.
    ///
    /// # Errors
    /// [`Error::NoAccount`] when root finds neither.
    pub(super) fn choose() -> Result<Self, Error> {
        let uid = rustix::process::geteuid();
        if !uid.is_root() {
            return Ok(Self { uid: uid.as_raw(), gid: rustix::process::getegid().as_raw(), steps_down: false });
        }
        ["postgres", "nobody"].into_iter().find_map(look_up).ok_or(Error::NoAccount)
    }

    /// A command that runs under this account and inherits nothing that would surprise the server.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // The current folder may be one this account cannot enter.
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if self.steps_down {
            command.uid(self.uid).gid(self.gid).env("HOME", "/");
        }
        command
    }

    /// Makes `folder` exist, owned by this account and closed to everyone else.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotOurs`] when it belongs to another account, as a folder planted in a
    /// shared place would.
    pub(super) fn own_folder(&self, folder: &Path) -> Result<(), Error> {
        match std::fs::symlink_metadata(folder) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.create_folder(folder)?,
            Err(error) => return Err(io(folder)(error)),
        }
        let found = std::fs::symlink_metadata(folder).map_err(io(folder))?;
        if !found.is_dir() || found.uid() != self.uid {
            return Err(Error::NotOurs { path: folder.to_owned() });
        }
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).map_err(io(folder))
    }

    fn create_folder(&self, folder: &Path) -> Result<(), Error> {
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent).map_err(io(parent))?;
        }
        std::fs::create_dir(folder).map_err(io(folder))?;
        if self.steps_down {
            std::os::unix::fs::chown(folder, Some(self.uid), Some(self.gid)).map_err(io(folder))?;
        }
        Ok(())
    }

    /// Hands a file that root created over to this account.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn own_file(&self, file: &Path) -> Result<(), Error> {
        if self.steps_down {
            std::os::unix::fs::chown(file, Some(self.uid), Some(self.gid)).map_err(io(file))?;
        }
        Ok(())
    }

    /// `wanted`, or a place of the same meaning below `refuge` when the account could not get there:
    /// root's home is closed to the account root steps down to.
    pub(super) fn reachable(&self, wanted: &Path, refuge: &Path) -> PathBuf {
        let is_open = |folder: &Path| {
            std::fs::metadata(folder).is_ok_and(|found| {
                let shift = match () {
                    () if found.uid() == self.uid => 6,
                    () if found.gid() == self.gid => 3,
                    () => 0,
                };
                (found.mode() >> shift) & 0o1 == 1
            })
        };
        // Folders that do not exist yet will be created open.
        let blocked = wanted.ancestors().skip(1).any(|folder| folder.exists() && !is_open(folder));
        if self.steps_down && blocked { refuge.join(short_name(wanted)) } else { wanted.to_owned() }
    }
}

/// A short name that stands for a path: the same path always gives the same name.
pub(super) fn short_name(path: &Path) -> String {
    let digest = blake3::hash(path.as_os_str().as_encoded_bytes());
    format!("steelyard-{}", &digest.to_hex()[..12])
}

/// Asks the system, which may keep accounts elsewhere than in a file.
fn look_up(name: &str) -> Option<Account> {
    let ask = |flag: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, name]).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok())?
    };
    Some(Account { uid: ask("-u")?, gid: ask("-g")?, steps_down: true })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_behind_a_closed_door_moves_to_the_refuge() {
        let home = tempfile::tempdir().unwrap();
        let closed = home.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        let other = Account { uid: 4_000_000, gid: 4_000_000, steps_down: true };
        let wanted = closed.join("postgres");
        assert!(other.reachable(&wanted, Path::new("/refuge")).starts_with("/refuge"));
        let same = Account { steps_down: false, ..other };
        assert_eq!(same.reachable(&wanted, Path::new("/refuge")), wanted);
    }

    #[test]
    fn a_planted_folder_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("run");
        std::fs::create_dir(&folder).unwrap();
        let other = Account { uid: 4_000_000, gid: 4_000_000, steps_down: false };
        assert!(matches!(other.own_folder(&folder), Err(Error::NotOurs { .. })));
    }
}
