//! Delays packets as netem does, on kernels without netem: netfilter hands them over (NFQUEUE), and
//! each is released when its delay has passed.
//!
//! One thread for each namespace. With jitter, later packets may overtake earlier ones.

use super::namespaces::enter;
use crate::{Error, Result, io_error};
use holdfast_node::terminal::clock::monotonic_now;
use holdfast_storage::random::Random;
use nfq::{Message, Queue, Verdict};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The queue number in a namespace's rules.
pub(super) const QUEUE: u16 = 0;
/// The most packets that wait at once; more are lost, as in a router.
const HELD_MAX: u32 = 20_000;
/// Length of an IPv4 header without options, up to and including the addresses.
const HEADER_BYTES: u16 = 20;
/// The most that the release of a packet may be late.
const TURN: Duration = Duration::from_millis(1);
const READY_MAX: Duration = Duration::from_secs(5);

/// The delay of packets by sender, in milliseconds: least, most.
pub(super) type Delays = BTreeMap<Ipv4Addr, (u64, u64)>;

/// Ends when dropped; packets that wait then are released.
#[derive(Debug)]
pub(super) struct Lag {
    delays: Arc<Mutex<Delays>>,
    // Dropping the sender ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lag {
    /// Delays packets from the [`QUEUE`] of a namespace.
    ///
    /// # Errors
    /// If the kernel has no queues.
    pub(super) fn start(namespace: &Path, seed: u64) -> Result<Self> {
        let delays = Arc::new(Mutex::new(Delays::new()));
        let (stop, stopped) = mpsc::channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let (namespace, shared) = (PathBuf::from(namespace), Arc::clone(&delays));
        let thread = std::thread::spawn(move || match open(&namespace) {
            Ok(queue) => {
                drop(ready.send(Ok(())));
                Holding {
                    queue,
                    delays: shared,
                    held: BTreeMap::new(),
                    seen: 0,
                    random: Random::new(seed),
                }
                .run(&stopped);
            }
            Err(error) => drop(ready.send(Err(error))),
        });
        let lag = Self {
            delays,
            stop: Some(stop),
            thread: Some(thread),
        };
        let opened = is_ready.recv_timeout(READY_MAX);
        opened.map_err(|_| Error::Wrong("a packet queue was not ready in time".to_owned()))??;
        Ok(lag)
    }

    /// Replaces all delays; senders without an entry are not delayed.
    pub(super) fn set(&self, delays: Delays) {
        *self.delays.lock().unwrap_or_else(PoisonError::into_inner) = delays;
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // The panic hook has printed any panic of the thread.
            drop(thread.join());
        }
    }
}

fn open(namespace: &Path) -> Result<Queue> {
    enter(namespace)?;
    let open = || -> io::Result<Queue> {
        let mut queue = Queue::open()?;
        queue.bind(QUEUE)?;
        queue.set_copy_range(QUEUE, HEADER_BYTES)?;
        queue.set_queue_max_len(QUEUE, HELD_MAX)?;
        queue.set_nonblocking(true);
        Ok(queue)
    };
    open().map_err(io_error("open a packet queue (the kernel needs NFQUEUE)"))
}

struct Holding {
    queue: Queue,
    delays: Arc<Mutex<Delays>>,
    /// By release time and sequence number.
    held: BTreeMap<(Instant, u64), Message>,
    seen: u64,
    random: Random,
}

impl Holding {
    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        while stopped.recv_timeout(Duration::ZERO) == Err(RecvTimeoutError::Timeout) {
            self.take();
            let now = monotonic_now();
            while let Some(first) = self.held.first_entry().filter(|first| first.key().0 <= now) {
                let message = first.remove();
                self.pass(message);
            }
            sleep(TURN);
        }
        while let Some((_, message)) = self.held.pop_first() {
            self.pass(message);
        }
    }

    fn take(&mut self) {
        let delays = self
            .delays
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Until no packet waits; an error of one packet means that it is lost.
        while let Ok(message) = self.queue.recv() {
            let (least, most) = source(message.get_payload())
                .and_then(|from| delays.get(&from))
                .copied()
                .unwrap_or((0, 0));
            let delay = Duration::from_millis(self.random.within(least..most + 1));
            self.seen += 1;
            self.held
                .insert((monotonic_now() + delay, self.seen), message);
        }
    }

    fn pass(&mut self, mut message: Message) {
        message.set_verdict(Verdict::Accept);
        if let Err(error) = self.queue.verdict(message) {
            tracing::debug!(%error, "a packet could not be handed on");
        }
    }
}

/// Source address of an IPv4 header (RFC 791, 3.1).
fn source(packet: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some(Ipv4Addr::from(bytes))
}
