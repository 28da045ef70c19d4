//! What a recorder reports of itself, for heartbeats and metrics. Counters only grow.

use crate::capture::ingest::clock::HONEST_PPB;
use crate::capture::ingest::codec::Fault;
use holdfast_consensus::observe::heartbeat::{Exposure, RecorderState};
use holdfast_storage::ids::{Epoch, Rank, StreamId};
use holdfast_storage::time::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// In what epoch and capacity a recorder records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub epoch: Epoch,
    pub rank: Rank,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters of one recorder, or of all.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)+
        }

        /// [`Counters`] as they were at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            #[must_use]
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Frames received, all tracks.
    frames,
    /// Their bytes.
    frame_bytes,
    /// RTP packets that never came.
    lost_packets,
    /// Frames before the first keyframe of a session, and frames that cannot be recorded.
    discarded_frames,
    /// Chunks handed to the volume writer.
    chunks,
    /// Chunks that the volume writer did not take.
    shed_chunks,
    /// Sessions that were opened.
    sessions,
    /// Attempts that failed and sessions that were lost.
    failures,
    /// Recorders that panicked and were started again.
    panics,
    /// Steps of the system's wall clock that began a new recording session.
    clock_steps,
    /// RTP clocks that jumped.
    clock_jumps,
    /// RTP clocks that had stood still.
    clock_standstills,
    /// Rates of RTP clocks that were learnt, or given up again.
    clock_rates,
    /// RTP clocks that gave way to arrivals.
    clock_arrivals,
}

/// Faults of a camera's stream, by kind. Only grows.
#[derive(Debug, Default)]
pub struct FaultCounters([AtomicU64; Fault::ALL.len()]);

impl FaultCounters {
    pub fn add(&self, faults: &[u32; Fault::ALL.len()]) {
        for (counter, faults) in self.0.iter().zip(faults) {
            counter.fetch_add(u64::from(*faults), Relaxed);
        }
    }

    /// The kinds that occurred, and how often.
    pub fn occurred(&self) -> impl Iterator<Item = (Fault, u64)> {
        let counted = Fault::ALL.iter().zip(&self.0);
        counted
            .map(|(fault, counter)| (*fault, counter.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

/// The state of one recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub stream: StreamId,
    pub identity: Identity,
    pub state: RecorderState,
    /// Why it is failing, for the operator, without credentials.
    pub error: Option<String>,
    /// Start of the first chunk with a keyframe that was handed over in this epoch; not
    /// necessarily durable yet.
    pub first_keyframe: Option<Timestamp>,
    /// End of what was handed over; not necessarily durable yet.
    pub received_until: Option<Timestamp>,
    pub counts: Counts,
    /// Faults of the camera's stream, and how often each occurred.
    pub faults: Vec<(Fault, u64)>,
    /// Wall time per RTP time of video in parts per billion, if learnt from arrivals.
    pub clock_rate_ppb: Option<i64>,
    /// How much longer than usual it may make no progress: its camera sends rarely, or is left
    /// alone because it sent too much.
    pub patience: Option<Duration>,
    /// How its camera might cause the end of this process.
    pub exposure: Option<Exposure>,
}

/// The shared side of [`Status`]: one writer, any readers.
#[derive(Debug)]
pub struct StatusCell {
    stream: StreamId,
    pub counters: Counters,
    pub faults: FaultCounters,
    report: Mutex<Report>,
}

#[derive(Clone, Debug)]
struct Report {
    identity: Identity,
    state: RecorderState,
    error: Option<String>,
    first_keyframe: Option<Timestamp>,
    received_until: Option<Timestamp>,
    /// Recorded or explained in the ledger.
    accounted_until: Option<Timestamp>,
    clock_rate_ppb: Option<i64>,
    patience: Option<Duration>,
    exposure: Option<Exposure>,
}

impl StatusCell {
    #[must_use]
    pub fn new(stream: StreamId, identity: Identity) -> Self {
        let report = Report {
            identity,
            state: RecorderState::Starting,
            error: None,
            first_keyframe: None,
            received_until: None,
            accounted_until: None,
            clock_rate_ppb: None,
            patience: None,
            exposure: None,
        };
        Self {
            stream,
            counters: Counters::default(),
            faults: FaultCounters::default(),
            report: Mutex::new(report),
        }
    }

    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    #[must_use]
    pub fn read(&self) -> Status {
        let report = self.report().clone();
        Status {
            stream: self.stream,
            identity: report.identity,
            state: report.state,
            error: report.error,
            first_keyframe: report.first_keyframe,
            received_until: report.received_until,
            counts: self.counters.read(),
            faults: self.faults.occurred().collect(),
            clock_rate_ppb: report.clock_rate_ppb,
            patience: report.patience,
            exposure: report.exposure,
        }
    }

    /// End of what was handed over.
    #[must_use]
    pub fn received_until(&self) -> Option<Timestamp> {
        self.report().received_until
    }

    /// Everything up to here is recorded or explained in the ledger.
    #[must_use]
    pub fn accounted_until(&self) -> Option<Timestamp> {
        self.report().accounted_until
    }

    /// The ledger explains what was not recorded up to here.
    pub fn accounted(&self, until: Timestamp) {
        let mut report = self.report();
        report.accounted_until = report.accounted_until.max(Some(until));
    }

    /// A new identity has yet to hand over its first keyframe.
    pub fn set_identity(&self, identity: Identity) {
        let mut report = self.report();
        if report.identity.epoch != identity.epoch {
            report.first_keyframe = None;
        }
        report.identity = identity;
    }

    /// A new identity begins at true time; what was handed over before does not count for it.
    pub fn realign(&self, identity: Identity) {
        self.set_identity(identity);
        self.report().received_until = None;
    }

    /// The rate at which the video's RTP clock is followed; `None` if it is the nominal one.
    pub fn set_clock_rate(&self, ppb: Option<i64>) {
        self.report().clock_rate_ppb = ppb.filter(|ppb| *ppb != HONEST_PPB);
    }

    /// A chunk was handed over.
    pub fn recorded(&self, start: Timestamp, end: Timestamp, keyframe: bool) {
        let mut report = self.report();
        report.received_until = report.received_until.max(Some(end));
        report.accounted_until = report.accounted_until.max(Some(end));
        if keyframe && report.first_keyframe.is_none() {
            report.first_keyframe = Some(start);
        }
        if report.first_keyframe.is_some() {
            report.state = RecorderState::Recording;
            report.error = None;
        }
    }

    /// A session was opened: an earlier failure is over.
    pub fn connected(&self) {
        let mut report = self.report();
        if report.state == RecorderState::Failing {
            report.state = RecorderState::Starting;
        }
    }

    /// The camera may be silent for this much longer than usual.
    pub fn set_patience(&self, patience: Option<Duration>) {
        self.report().patience = patience;
    }

    pub fn set_exposure(&self, exposure: Option<Exposure>) {
        self.report().exposure = exposure;
    }

    /// A session is open and sends nothing that can be recorded yet; why.
    pub fn awaiting(&self, why: String) {
        self.report().error = Some(why);
    }

    pub fn failing(&self, error: String) {
        let mut report = self.report();
        report.state = RecorderState::Failing;
        report.error = Some(error);
    }

    /// Keeps what an earlier recorder of the same stream had handed over.
    pub fn resume(&self, until: Option<Timestamp>) {
        let mut report = self.report();
        report.received_until = report.received_until.max(until);
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
