//! Which nodes a broker still understands.

/// The revision this build speaks.
pub const CURRENT: u32 = 1;
/// The oldest revision this build still understands.
pub const OLDEST: u32 = 1;

/// A peer whose revision is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not a number.
    #[error("the protocol version is a number, such as 1")]
    Malformed,
    /// Too old: the node must be updated.
    #[error("protocol version {theirs} is no longer spoken here; update steelyard-node (oldest understood: {OLDEST})")]
    TooOld {
        /// What the peer speaks.
        theirs: u32,
    },
}

/// Settles on the newest revision both sides speak. A peer that names none speaks the first.
///
/// # Errors
/// [`VersionError`] when there is none.
pub fn negotiate(theirs: Option<&str>) -> Result<u32, VersionError> {
    let theirs = match theirs {
        None => 1,
        Some(text) => text.trim().parse::<u32>().map_err(|_| VersionError::Malformed)?,
    };
    if theirs < OLDEST { Err(VersionError::TooOld { theirs }) } else { Ok(theirs.min(CURRENT)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_revision_is_spoken() {
        assert_eq!(negotiate(None), Ok(1));
        assert_eq!(negotiate(Some("99")), Ok(CURRENT));
        assert_eq!(negotiate(Some("0")), Err(VersionError::TooOld { theirs: 0 }));
        assert_eq!(negotiate(Some("one")), Err(VersionError::Malformed));
    }
}
