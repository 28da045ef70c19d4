//! A request body that fails when nothing of it arrives for too long, so that a client or member
//! whose machine dies in the middle of a request does not keep its connection.

use axum::BoxError;
use hyper::body::{Body, Frame, SizeHint};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

pub(crate) struct ReadDeadline<B> {
    body: B,
    limit: Duration,
    /// Runs while the next piece is awaited.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> ReadDeadline<B> {
    pub(crate) fn new(body: B, limit: Duration) -> Self {
        Self {
            body,
            limit,
            waiting: None,
        }
    }
}

impl<B: Body<Error: Into<BoxError>> + Unpin> Body for ReadDeadline<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit;
        ready!(
            self.waiting
                .get_or_insert_with(|| Box::pin(sleep(limit)))
                .as_mut()
                .poll(cx)
        );
        Poll::Ready(Some(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client sends no more of the body",
        )
        .into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use futures::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    const LIMIT: Duration = Duration::from_secs(30);

    /// A body whose pieces arrive at intervals of these seconds.
    async fn collected(seconds: &'static [u64]) -> Result<usize, BoxError> {
        let piece = |pause| async move {
            sleep(Duration::from_secs(pause)).await;
            Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"piece")))
        };
        let body = StreamBody::new(Box::pin(stream::iter(seconds.iter().copied()).then(piece)));
        Ok(ReadDeadline::new(body, LIMIT)
            .collect()
            .await?
            .to_bytes()
            .len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_ends_the_body_and_a_slow_one_does_not() {
        assert_eq!(collected(&[29, 29, 29]).await.unwrap(), 15);
        let error = collected(&[1, 31, 1]).await.unwrap_err();
        assert_eq!(
            error.downcast::<io::Error>().unwrap().kind(),
            io::ErrorKind::TimedOut
        );
    }
}
