//! Parts of a member: each runs in the background under a name until the member stops.

use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The parts that run. A member cannot do without any of them: the first that ends by itself breaks
/// it.
pub(crate) struct Parts {
    tasks: Vec<AbortHandle>,
    broken: watch::Sender<Option<String>>,
}

impl Parts {
    /// No parts yet, and what names the first one that ends by itself.
    pub(crate) fn new() -> (Self, watch::Receiver<Option<String>>) {
        let (broken, seen) = watch::channel(None);
        let tasks = Vec::new();
        (Self { tasks, broken }, seen)
    }

    pub(crate) fn run(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let part = tokio::spawn(part);
        self.tasks.push(part.abort_handle());
        let broken = self.broken.clone();
        tokio::spawn(async move {
            let why = match part.await {
                Ok(()) => format!("{name} ended"),
                Err(error) => format!("{name} failed: {error}"),
            };
            broken.send_if_modified(|broken| {
                let is_first = broken.is_none();
                broken.get_or_insert(why);
                is_first
            });
        });
    }

    pub(crate) fn stop(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_part_that_ends_is_named() {
        let (mut parts, mut broken) = Parts::new();
        parts.run("the one that stays", std::future::pending());
        parts.run("the one that panics", async { panic!("as it should") });
        let why = broken.wait_for(Option::is_some).await.unwrap().clone();
        assert!(why.unwrap().starts_with("the one that panics failed: "));
        parts.stop();
    }
}
