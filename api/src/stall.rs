//! Ends a connection whose peer has stopped reading, or that opens nothing.
//!
//! A stream nobody reads holds a credit of a node and fills the window of its tunnel; a connection nobody
//! opens holds a place. TCP alone would keep both for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What an HTTP/2 connection opens with. While all that came is a beginning of it, nobody can tell which
/// HTTP it will be, and no later deadline has begun.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An I/O object that fails a write which has made no progress for a while, and a peer that has not said
/// in time which HTTP it speaks.
pub struct Stall<T> {
    inner: T,
    after: Duration,
    /// Running only while a write waits, so a healthy connection never touches a timer.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Until it is known which HTTP is spoken.
    opening: Option<Opening>,
}

/// A peer that has not said yet which HTTP it speaks.
struct Opening {
    /// Bytes of the preface that came.
    seen: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Opening {
    /// Whether `bytes` leave it open.
    fn goes_on(&mut self, bytes: &[u8]) -> bool {
        let is_preface = !bytes.is_empty() && PREFACE[self.seen..].starts_with(bytes);
        self.seen += bytes.len();
        is_preface && self.seen < PREFACE.len()
    }
}

impl<T> Stall<T> {
    /// Watches the writes of `inner`: none may wait longer than `after`. The peer has `opening` to say
    /// which HTTP it speaks.
    pub fn new(inner: T, opening: Duration, after: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(opening));
        Self { inner, after, waiting: None, opening: Some(Opening { seen: 0, deadline }) }
    }

    fn judge<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let after = self.after;
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + after)));
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stall<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Some(opening) = &mut self.opening else { return polled };
        if polled.is_pending() {
            return match opening.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer opened nothing"))),
                Poll::Pending => Poll::Pending,
            };
        }
        if !opening.goes_on(&buf.filled()[before..]) {
            self.opening = None;
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stall<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.judge(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.judge(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.judge(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Never comes.
    const LONG: Duration = Duration::from_secs(3_600);
    const SECOND: Duration = Duration::from_secs(1);

    /// Reads until the end or an error while `said` comes one byte a second, then nothing more.
    async fn hear(said: &'static [u8]) -> io::Result<Vec<u8>> {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Stall::new(near, 10 * SECOND, LONG);
        let speaker = tokio::spawn(async move {
            for byte in said {
                far.write_all(std::slice::from_ref(byte)).await.unwrap();
                tokio::time::sleep(SECOND).await;
            }
            tokio::time::sleep(LONG / 2).await;
        });
        let mut heard = Vec::new();
        let outcome = near.read_to_end(&mut heard).await.map(|_| heard);
        speaker.abort();
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_opens_nothing_is_cut_off_however_slowly_it_does_so() {
        for said in [b"".as_slice(), b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let began = Instant::now();
            assert_eq!(hear(said).await.unwrap_err().kind(), io::ErrorKind::TimedOut, "{said:?}");
            assert!(began.elapsed() <= 11 * SECOND, "{said:?} held on for {:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_whose_http_is_known_is_left_to_later_deadlines() {
        for said in [b"POST".as_slice(), b"\n", b"PUT / HTTP/1.1"] {
            assert_eq!(hear(said).await.unwrap(), said);
        }
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Stall::new(near, 10 * SECOND, LONG);
        far.write_all(PREFACE).await.unwrap();
        let mut preface = [0; PREFACE.len()];
        near.read_exact(&mut preface).await.unwrap();
        assert!(tokio::time::timeout(LONG / 2, near.read_u8()).await.is_err(), "an idle connection is no stalled one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_reading_is_cut_off() {
        let (near, _far) = tokio::io::duplex(8);
        let mut near = Stall::new(near, LONG, Duration::from_secs(5));
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_not() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut near = Stall::new(near, LONG, Duration::from_secs(5));
        let reader = tokio::spawn(async move {
            let mut seen = 0;
            while seen < 64 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                let mut some = [0; 8];
                seen += far.read(&mut some).await.unwrap();
            }
        });
        near.write_all(&[0; 64]).await.unwrap();
        reader.await.unwrap();
    }
}
