//! Signed reports that the broker has not taken yet. They outlive the process, and leave only once
//! the broker has them.
//!
//! On disk: segments of JSON lines, appended and synced; one small file says how far delivery got.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use protocol::receipt::SignedReport;

use crate::Error;

/// A segment is closed at this size, so delivered reports free their disk in small steps.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Reports kept by a node without a disk. Beyond it the oldest go: after ten minutes without a
/// report the broker's own count stands anyway.
const MEMORY_REPORTS: usize = 100_000;

/// Reports waiting for the broker.
#[derive(Debug)]
pub struct Spool(Kind);

#[derive(Debug)]
enum Kind {
    Memory(VecDeque<SignedReport>),
    Disk(Disk),
}

#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    writing: u64,
    file: File,
    written: u64,
    at: Position,
}

/// How far delivery got: a segment, and bytes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Position {
    segment: u64,
    bytes: u64,
}

/// Reports to deliver, and where the spool stands once they are.
#[derive(Debug)]
pub struct Batch {
    /// Oldest first.
    pub reports: Vec<SignedReport>,
    next: Position,
    count: usize,
}

impl Spool {
    /// A spool that lives as long as the process.
    #[must_use]
    pub fn memory() -> Self {
        Self(Kind::Memory(VecDeque::new()))
    }

    /// Opens the spool in `folder`, with whatever an earlier process left in it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::file(folder, "making the folder for reports"))?;
        let segments = segments(folder)?;
        let mut at = read_position(folder);
        if let Some(oldest) = segments.first().filter(|oldest| **oldest > at.segment) {
            at = Position { segment: *oldest, bytes: 0 };
        }
        // A new segment each time: the last line of the old one may have been cut by a crash.
        let writing = segments.last().map_or(at.segment, |last| (*last).max(at.segment)) + 1;
        let file = create(folder, writing)?;
        Ok(Self(Kind::Disk(Disk { folder: folder.to_owned(), writing, file, written: 0, at })))
    }

    /// Adds reports; on return they are on disk for good.
    ///
    /// # Errors
    /// [`Error::File`]; then none of them may be counted as kept.
    pub fn append(&mut self, reports: &[SignedReport]) -> Result<(), Error> {
        match &mut self.0 {
            Kind::Memory(queue) => {
                queue.extend(reports.iter().cloned());
                let excess = queue.len().saturating_sub(MEMORY_REPORTS);
                queue.drain(..excess);
                Ok(())
            }
            Kind::Disk(disk) => disk.append(reports),
        }
    }

    /// The oldest reports, at most `most` of them, left in place.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn peek(&mut self, most: usize) -> Result<Batch, Error> {
        match &mut self.0 {
            Kind::Memory(queue) => {
                let reports: Vec<_> = queue.iter().take(most).cloned().collect();
                Ok(Batch { count: reports.len(), reports, next: Position::default() })
            }
            Kind::Disk(disk) => disk.peek(most),
        }
    }

    /// Forgets a batch that was delivered.
    ///
    /// # Errors
    /// [`Error::File`]; then the batch is delivered once more, which harms nothing.
    pub fn delivered(&mut self, batch: &Batch) -> Result<(), Error> {
        match &mut self.0 {
            Kind::Memory(queue) => {
                queue.drain(..batch.count.min(queue.len()));
                Ok(())
            }
            Kind::Disk(disk) => disk.delivered(batch.next),
        }
    }

    /// Keeps a report the broker refused for good, with its reason, for people to look at.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_aside(&self, report: &SignedReport, reason: &str) -> Result<(), Error> {
        let Kind::Disk(disk) = &self.0 else { return Ok(()) };
        let path = disk.folder.join("refused.jsonl");
        let line = serde_json::json!({"reason": reason, "report": report});
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::file(&path, "opening the file of refused reports"))?;
        writeln!(file, "{line}").map_err(Error::file(&path, "keeping a refused report"))
    }
}

impl Disk {
    fn append(&mut self, reports: &[SignedReport]) -> Result<(), Error> {
        if self.written >= SEGMENT_BYTES {
            self.file = create(&self.folder, self.writing + 1)?;
            self.writing += 1;
            self.written = 0;
        }
        let mut lines = Vec::with_capacity(reports.len() * 640);
        for report in reports {
            serde_json::to_writer(&mut lines, report).expect("a report is plain values, which always serialise");
            lines.push(b'\n');
        }
        let path = segment(&self.folder, self.writing);
        let kept = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        if kept.is_err() {
            // It may end within a line, as when the disk is full. Taken back, or else the next report begins a segment
            // of its own.
            if self.file.set_len(self.written).is_err() {
                self.written = SEGMENT_BYTES;
            }
        }
        kept.map_err(Error::file(&path, "keeping reports on disk"))?;
        self.written += lines.len() as u64;
        Ok(())
    }

    fn peek(&self, most: usize) -> Result<Batch, Error> {
        let mut reports = Vec::new();
        let mut next = self.at;
        for number in segments(&self.folder)?.into_iter().filter(|number| *number >= self.at.segment) {
            if number != next.segment {
                next = Position { segment: number, bytes: 0 };
            }
            let path = segment(&self.folder, number);
            let mut file = File::open(&path).map_err(Error::file(&path, "reading kept reports"))?;
            file.seek(SeekFrom::Start(next.bytes)).map_err(Error::file(&path, "reading kept reports"))?;
            let mut reader = BufReader::new(file);
            let mut line = Vec::new();
            while reports.len() < most {
                line.clear();
                let read = reader.read_until(b'\n', &mut line);
                let read = read.map_err(Error::file(&path, "reading kept reports"))?;
                if read == 0 || !line.ends_with(b"\n") {
                    break;
                }
                next.bytes += read as u64;
                match serde_json::from_slice(&line) {
                    Ok(report) => reports.push(report),
                    Err(error) => tracing::warn!(%error, file = %path.display(), "a kept report is damaged"),
                }
            }
            if reports.len() >= most {
                break;
            }
        }
        Ok(Batch { count: reports.len(), reports, next })
    }

    fn delivered(&mut self, next: Position) -> Result<(), Error> {
        write_position(&self.folder, next)?;
        self.at = next;
        for number in segments(&self.folder)?.into_iter().filter(|number| *number < next.segment) {
            let path = segment(&self.folder, number);
            fs::remove_file(&path).map_err(Error::file(&path, "removing delivered reports"))?;
        }
        Ok(())
    }
}

fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("reports-{number:08}.jsonl"))
}

fn create(folder: &Path, number: u64) -> Result<File, Error> {
    let path = segment(folder, number);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(Error::file(&path, "opening the file for reports"))?;
    // The name must survive a crash as well as the bytes.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file(folder, "syncing the folder"))?;
    Ok(file)
}

fn segments(folder: &Path) -> Result<Vec<u64>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::file(folder, "listing kept reports"))?;
    let mut numbers: Vec<u64> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix("reports-")?.strip_suffix(".jsonl")?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Unreadable means from the start: a report sent twice is taken once.
fn read_position(folder: &Path) -> Position {
    let text = fs::read_to_string(folder.join("delivered")).unwrap_or_default();
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(segment)), Some(Ok(bytes))) => Position { segment, bytes },
        _ => Position::default(),
    }
}

fn write_position(folder: &Path, at: Position) -> Result<(), Error> {
    let (path, draft) = (folder.join("delivered"), folder.join("delivered.new"));
    let write = || {
        let mut file = File::create(&draft)?;
        writeln!(file, "{} {}", at.segment, at.bytes)?;
        file.sync_data()?;
        fs::rename(&draft, &path)
    };
    write().map_err(Error::file(&path, "noting which reports were delivered"))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::receipt::{BodyDigest, ReportStatus, UsageReport};
    use protocol::typed::Domain;
    use protocol::wallet::{Address, Wallet};
    use protocol::{AttemptId, Id, NodeId, OfferId, RequestId, Units};
    use uuid::Uuid;

    fn report(n: u128) -> SignedReport {
        let id = Uuid::from_u128(n);
        let report = UsageReport {
            attempt: AttemptId::from_uuid(id),
            request: RequestId::from_uuid(id),
            node: NodeId::from_uuid(id),
            offer: OfferId::from_uuid(id),
            price_version: 1,
            units: Units::default(),
            started_at_ms: 1,
            finished_at_ms: 2,
            status: ReportStatus::Completed,
            request_sha256: BodyDigest::default(),
            response_sha256: BodyDigest::default(),
        };
        let domain = Domain { chain_id: 1, distributor: Address::from_bytes([1; 20]) };
        report.sign(&Wallet::from_bytes(&[1; 32]).unwrap(), &domain, None)
    }

    #[test]
    fn a_disk_that_was_full_cuts_no_report_that_comes_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path()).unwrap();
        spool.append(&[report(1)]).unwrap();
        let Kind::Disk(disk) = &mut spool.0 else { panic!("it lies on a disk") };
        // What a full disk leaves: part of a line, and an error.
        disk.file.write_all(b"{\"report\":").unwrap();
        let file = std::mem::replace(&mut disk.file, File::options().write(true).open("/dev/full").unwrap());
        assert!(spool.append(&[report(2)]).is_err());
        let Kind::Disk(disk) = &mut spool.0 else { panic!("it lies on a disk") };
        disk.file = file;
        spool.append(&[report(3)]).unwrap();
        let kept = spool.peek(10).unwrap();
        let kept: Vec<_> = kept.reports.iter().map(|signed| signed.report.attempt.uuid().as_u128()).collect();
        assert_eq!(kept, [1, 3]);
    }
}
