//! The server: accepts connections, and owns the tasks of cameras and connections.

use crate::camera::{self, Camera};
use crate::clip::{ClipError, Clips};
use crate::clock::Clock;
use crate::connection;
use crate::dialogue::Cameras;
use crate::film::Films;
use crate::handle::CameraHandle;
use crate::options::{Options, OptionsError};
use crate::random::Random;
use crate::reel::ReelError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// The most connections at the same time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 4096;
/// Pause after a failed accept (for example, no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot listen on {address}: {source}; choose another address, or port 0 for any free one"
    )]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("a built-in clip is damaged, which is a bug: {0}")]
    Clip(#[from] ClipError),
    #[error("a built-in clip is damaged, which is a bug: {0}")]
    Reel(#[from] ReelError),
    #[error("the task of a camera ended, which is a bug: {0}")]
    Camera(String),
}

/// A bound server, see [`CameraServer::run`].
#[derive(Debug)]
pub struct CameraServer {
    listener: TcpListener,
    cameras: Arc<Cameras>,
    random: Random,
    stop: watch::Receiver<()>,
    handle: Handle,
    done: watch::Sender<()>,
}

/// A running server. Cheap to clone; the server stops when its last handle is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    address: SocketAddr,
    cameras: Arc<Cameras>,
    stop: Arc<watch::Sender<()>>,
    done: watch::Receiver<()>,
}

impl CameraServer {
    /// Binds, so that the address is known; serves nothing before [`CameraServer::run`].
    pub async fn bind(options: Options) -> Result<Self, Error> {
        options.check()?;
        let clips = Clips::load()?;
        let failed = |source| Error::Bind {
            address: options.bind,
            source,
        };
        let listener = TcpListener::bind(options.bind).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let clock = Clock::start();
        let mut cameras = Cameras::new();
        for camera in options.cameras {
            let films = Films::load(clips.clone(), camera.oddity, camera.codec)?;
            cameras.insert(camera.id, Arc::new(Camera::new(camera, films, clock)));
        }
        let cameras = Arc::new(cameras);
        let random = Random::seeded(options.seed.unwrap_or_else(Random::fresh_seed));
        let (stop_sender, stop) = watch::channel(());
        let (done, done_receiver) = watch::channel(());
        let handle = Handle {
            address,
            cameras: Arc::clone(&cameras),
            stop: Arc::new(stop_sender),
            done: done_receiver,
        };
        Ok(Self {
            listener,
            cameras,
            random,
            stop,
            handle,
            done,
        })
    }

    /// Binds, and runs on a task of the current runtime.
    pub async fn start(options: Options) -> Result<Handle, Error> {
        let server = Self::bind(options).await?;
        let handle = server.handle();
        tokio::spawn(async move {
            if let Err(error) = server.run().await {
                tracing::error!(%error, "the cameras stopped");
            }
        });
        Ok(handle)
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until a handle stops it or the last one is dropped. All its tasks have ended when it
    /// returns.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            cameras,
            mut random,
            mut stop,
            handle,
            done,
        } = self;
        drop(handle);
        let mut capturing = JoinSet::new();
        for camera in cameras.values() {
            capturing.spawn(camera::run(
                Arc::clone(camera),
                Random::seeded(random.next_u64()),
            ));
        }
        let mut connections = JoinSet::new();
        let ended = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => admit(
                        &mut connections,
                        stream,
                        peer,
                        &cameras,
                        Random::seeded(random.next_u64()),
                    ),
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => note_panic(ended),
                Some(ended) = capturing.join_next() => {
                    break Err(Error::Camera(format!("{ended:?}")));
                }
                // Waits until the server is stopped.
                _ = stop.changed() => break Ok(()),
            }
        };
        connections.shutdown().await;
        capturing.shutdown().await;
        drop(done);
        ended
    }
}

impl Handle {
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `rtsp://host:port/cam/<id>`, without credentials.
    #[must_use]
    pub fn url(&self, camera: u32) -> String {
        format!("rtsp://{}/cam/{camera}", self.address)
    }

    #[must_use]
    pub fn camera(&self, id: u32) -> Option<CameraHandle> {
        self.cameras.get(&id).map(|camera| CameraHandle {
            camera: Arc::clone(camera),
        })
    }

    /// All cameras, by id.
    pub fn cameras(&self) -> impl Iterator<Item = CameraHandle> {
        self.cameras.values().map(|camera| CameraHandle {
            camera: Arc::clone(camera),
        })
    }

    /// Stops the server and waits until its tasks have ended.
    pub async fn stop(mut self) {
        // An error means that it has stopped already.
        let _ = self.stop.send(());
        // Resolves with an error once `run` has dropped its end, which happens after it has aborted
        // the tasks.
        let _ = self.done.changed().await;
    }
}

fn admit(
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    cameras: &Arc<Cameras>,
    random: Random,
) {
    if connections.len() >= CONNECTIONS_MAX {
        tracing::warn!(%peer, "more than {CONNECTIONS_MAX} connections: closed");
        return;
    }
    let cameras = Arc::clone(cameras);
    connections.spawn(async move {
        if let Err(end) = connection::serve(stream, cameras, random).await {
            tracing::debug!(%peer, reason = %end, "connection ended");
        }
    });
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a connection failed");
    }
}
