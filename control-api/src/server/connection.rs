//! One connection: its handshake, on the members' port; speaks HTTP/1.1, and reports its client's
//! progress to the port's table.

use super::read_deadline::ReadDeadline;
use super::table::{ConnectionId, Overdue};
use super::write_deadline::WriteDeadline;
use super::{Door, Port};
use crate::limits::{HANDSHAKE_DEADLINE, HEAD_BYTES_MAX, READ_BODY_DEADLINE, WRITE_DEADLINE};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, header};
use holdfast_consensus::OnAuthorised;
use holdfast_consensus::peer::trust::roster::Caller;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// What ends a connection from this side.
pub(super) struct Ends {
    /// At once, when its sender is dropped.
    pub(super) evicted: oneshot::Receiver<Infallible>,
    /// After the answer in progress, when its sender is dropped.
    pub(super) stopping: watch::Receiver<()>,
}

/// Ends when the client disconnects, or for one of `ends`. With a `door`, it speaks HTTP only after
/// a handshake.
pub(super) async fn serve(
    stream: TcpStream,
    standing: Arc<Standing>,
    router: Router,
    door: Option<Door>,
    mut ends: Ends,
) {
    // Declared before the stream, so that it is dropped after it: the table never counts fewer
    // connections than are open.
    let _place = Place(Arc::clone(&standing));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {error}");
    }
    let stream = WriteDeadline::new(stream, WRITE_DEADLINE);
    let Some(door) = door else {
        return speak(stream, None, standing, router, ends).await;
    };
    let Some(trust) = door() else { return };
    let handshake = timeout(HANDSHAKE_DEADLINE, trust.accept(stream));
    let accepted = tokio::select! {
        accepted = handshake => accepted,
        _ = &mut ends.evicted => return,
        _ = ends.stopping.changed() => return,
    };
    match accepted {
        Ok(Ok((stream, caller))) => speak(stream, Some(caller), standing, router, ends).await,
        Ok(Err(error)) => {
            standing.port.metrics.not_trusted();
            tracing::debug!("a connection was not let in: {error}");
        }
        Err(_) => standing.port.metrics.timed_out(Overdue::Handshake),
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    caller: Option<Caller>,
    standing: Arc<Standing>,
    router: Router,
    mut ends: Ends,
) {
    let stream = TokioIo::new(Heads {
        stream,
        standing: Arc::clone(&standing),
    });
    let mut http = http1::Builder::new();
    // The table enforces the deadlines: they depend on what the client has shown.
    http.header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request| answer(&standing, caller, &service, request));
    let mut connection = pin!(http.serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = ends.evicted => return,
        // The sender is dropped; nothing is ever sent.
        _ = ends.stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke: {error}");
    }
}

fn answer(
    standing: &Arc<Standing>,
    caller: Option<Caller>,
    service: &TowerToHyperService<Router>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
    let work = Work::begin(Arc::clone(standing));
    let own = Arc::clone(standing);
    request
        .extensions_mut()
        .insert(OnAuthorised::new(move || own.authorise()));
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let response = service.call(request.map(|body| ReadDeadline::new(body, READ_BODY_DEADLINE)));
    async move {
        let mut response = response.await?;
        if work.0.is_in_excess.load(Relaxed) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Answer { body, _work: work }))
    }
}

/// The table's information about this connection, from the connection's side.
pub(super) struct Standing {
    port: Arc<Port>,
    id: ConnectionId,
    /// No request is being answered.
    awaits_head: AtomicBool,
    /// Part of a head has arrived.
    reads_head: AtomicBool,
    is_authorised: AtomicBool,
    /// It carried an authorised request, and there was no room for it.
    is_in_excess: AtomicBool,
}

impl Standing {
    pub(super) fn new(port: Arc<Port>, id: ConnectionId) -> Self {
        let no = || AtomicBool::new(false);
        let (awaits_head, reads_head, is_authorised, is_in_excess) =
            (AtomicBool::new(true), no(), no(), no());
        Self {
            port,
            id,
            awaits_head,
            reads_head,
            is_authorised,
            is_in_excess,
        }
    }

    fn authorise(&self) -> bool {
        if !self.is_authorised.load(Relaxed) {
            let has_room = self.port.table(|table, _| table.authorise(self.id));
            self.is_authorised.store(has_room, Relaxed);
            self.is_in_excess.store(!has_room, Relaxed);
        }
        self.is_authorised.load(Relaxed)
    }

    fn reading(&self) {
        if self.awaits_head.load(Relaxed) && !self.reads_head.swap(true, Relaxed) {
            self.port.table(|table, now| table.reading(self.id, now));
        }
    }
}

/// Exists as long as the connection is open.
struct Place(Arc<Standing>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.port.table(|table, _| table.remove(self.0.id));
    }
}

/// Exists while a request is being answered, until its answer is passed to the socket.
struct Work(Arc<Standing>);

impl Work {
    fn begin(standing: Arc<Standing>) -> Self {
        standing.awaits_head.store(false, Relaxed);
        standing.reads_head.store(false, Relaxed);
        standing
            .port
            .table(|table, now| table.working(standing.id, now));
        Self(standing)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0
            .port
            .table(|table, now| table.answered(self.0.id, now));
        self.0.awaits_head.store(true, Relaxed);
    }
}

/// A body that counts as work until it has ended.
struct Answer {
    body: Body,
    _work: Work,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that detects the first byte of each head.
struct Heads<S> {
    stream: S,
    standing: Arc<Standing>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.standing.reading();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
