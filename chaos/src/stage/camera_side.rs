//! The cameras of a run, on a thread of their own, and in their own network namespace if there is
//! one.

use super::namespaces;
use crate::{Error, Result, io_error};
use holdfast_camera::hostile::{HostileCamera, HostileOptions};
use holdfast_camera::{CameraHandle, CameraOptions, CameraServer, Handle, Options};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// Stopped when dropped.
#[derive(Debug)]
pub(super) struct CameraSide {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl CameraSide {
    /// # Errors
    /// If the address is taken or the namespace cannot be entered.
    pub(super) async fn start(
        bind: SocketAddr,
        namespace: Option<PathBuf>,
        cameras: Vec<CameraOptions>,
        seed: u64,
    ) -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("cameras")
            .enable_all();
        if let Some(namespace) = namespace {
            builder.on_thread_start(move || {
                if let Err(error) = namespaces::enter(&namespace) {
                    // Without the namespace, binding its address fails below, which returns an
                    // error.
                    eprintln!("{error}");
                }
            });
        }
        let runtime = builder
            .build()
            .map_err(io_error("start the cameras' thread"))?;
        let options = Options {
            bind,
            cameras,
            seed: Some(seed),
        };
        let started = runtime.spawn(CameraServer::start(options)).await;
        let handle = started
            .map_err(|error| Error::Wrong(format!("the cameras did not start: {error}")))??;
        Ok(Self {
            handle,
            runtime: Some(runtime),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.handle.address()
    }

    /// Starts a hostile camera on the same runtime.
    ///
    /// # Errors
    /// If no address is available.
    pub(super) async fn hostile(&self, options: HostileOptions) -> Result<HostileCamera> {
        let runtime = self
            .runtime
            .as_ref()
            .ok_or_else(|| Error::Wrong("the cameras have stopped".to_owned()))?;
        let started = runtime
            .spawn(async move { HostileCamera::start(&options) })
            .await;
        let started = started
            .map_err(|error| Error::Wrong(format!("a hostile camera did not start: {error}")))?;
        started.map_err(io_error("start a hostile camera"))
    }

    pub(super) fn cameras(&self) -> impl Iterator<Item = CameraHandle> {
        self.handle.cameras()
    }
}

impl Drop for CameraSide {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
