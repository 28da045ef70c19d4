//! tokio's watch channel, except that receivers wake in the order in which they began to wait:
//! tokio chooses a random order that no seed controls.

use futures::FutureExt as _;
use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::unconstrained;

#[derive(Debug)]
pub(crate) struct FairWatch;

/// Rings when a sender is dropped: the last one closes the channel.
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

pub(crate) struct Sender<T> {
    // Dropped before the bell rings.
    inner: watch::Sender<T>,
    bell: Bell,
}

pub(crate) struct Receiver<T> {
    inner: watch::Receiver<T>,
    rung: Arc<Notify>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            bell: Bell(self.bell.0.clone()),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            rung: self.rung.clone(),
        }
    }
}

impl Watch for FairWatch {
    type Sender<T: Send + Sync> = Sender<T>;
    type Receiver<T: Send + Sync> = Receiver<T>;
    type Ref<'a, T: Send + 'a> = watch::Ref<'a, T>;

    fn channel<T: Send + Sync>(init: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = watch::channel(init);
        let rung = Arc::new(Notify::new());
        (
            Sender {
                inner: sender,
                bell: Bell(rung.clone()),
            },
            Receiver {
                inner: receiver,
                rung,
            },
        )
    }
}

impl<T: Send + Sync> WatchSender<FairWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.inner.send(value).map_err(|error| SendError(error.0))?;
        self.bell.0.notify_waiters();
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let is_modified = self.inner.send_if_modified(modify);
        if is_modified {
            self.bell.0.notify_waiters();
        }
        is_modified
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.inner.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver {
            inner: self.inner.subscribe(),
            rung: self.bell.0.clone(),
        }
    }
}

impl<T: Send + Sync> WatchReceiver<FairWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let rung = self.rung.clone();
            let mut rings = pin!(rung.notified());
            // Before the check, so that nothing is missed between the two.
            rings.as_mut().enable();
            if let Some(changed) = unconstrained(self.inner.changed()).now_or_never() {
                return changed.map_err(|_| RecvError(()));
            }
            rings.await;
        }
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.inner.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.inner.borrow_and_update()
    }
}
