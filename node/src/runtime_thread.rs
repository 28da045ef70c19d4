//! A runtime on a thread of its own, for tasks that may wait for a disk that hangs: no other thread
//! has to wait for its end.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{io, thread};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub(crate) struct OwnThread {
    pub(crate) handle: Handle,
    stop: oneshot::Sender<()>,
    ended: Receiver<()>,
}

impl OwnThread {
    /// # Errors
    /// The system refuses a thread or an epoll instance.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let ((stop, stopped), (ending, ended)) = (oneshot::channel(), channel());
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // It also ends once no handle is left that could stop it.
                runtime.block_on(stopped).ok();
                drop(runtime);
                ending.send(()).ok();
            })?;
        Ok(Self {
            handle,
            stop,
            ended,
        })
    }

    /// Drops its tasks, and waits for that no longer than `wait_max`: dropping what they hold may
    /// wait for a disk.
    pub(crate) fn stop(self, wait_max: Duration) {
        self.stop.send(()).ok();
        if self.ended.recv_timeout(wait_max).is_err() {
            tracing::warn!("what waits for the disk of data_dir is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// Like a log that waits for its flush.
    struct Hangs(Receiver<()>);

    impl Drop for Hangs {
        fn drop(&mut self) {
            self.0.recv().ok();
        }
    }

    #[test]
    fn a_task_that_cannot_be_dropped_holds_no_thread_up() {
        let (mended, disk) = sync_channel(0);
        let thread = OwnThread::start("test").unwrap();
        let (begun, began) = channel();
        thread.handle.spawn(async move {
            let _hangs = Hangs(disk);
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        began.recv().unwrap();
        thread.stop(Duration::from_millis(50));
        // Its thread is still there, and takes this.
        mended.send(()).unwrap();
    }
}
