//! Checks after a crash, on a copy of the disk: three starts, the last without a catalogue.

#![expect(clippy::disallowed_methods, reason = "the time of the simulation")]

use crate::VOLUME;
use crate::catalogues::{Dirs, remove};
use crate::life::simulate;
use crate::oracle::{Key, Oracle, is_same, preference};
use crate::plan::{CAPACITY_BYTES_MAX, Plan};
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, ChunkMeta, Gap};
use holdfast_storage::clock::Clock;
use holdfast_storage::ids::{StreamId, TrackKind};
use holdfast_storage::simulation::{
    Faults, SimulatedClock, SimulatedDisk, SimulatedVolume, segment_of,
};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::Span;
use holdfast_storage::{
    DamagedChunk, Range, ScrubOptions, ScrubStatus, Stats, VolumeHandle, VolumeOptions, Watermark,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The longest recovery of a run's remains, in simulated time.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

/// Everything that a stream shows.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    entries: Vec<ChunkEntry>,
    spans: Vec<Span>,
    gaps: Vec<Gap>,
    mark: Option<Watermark>,
}

/// What a volume shows after a start.
struct Opened {
    shown: BTreeMap<StreamId, Shown>,
    stats: Stats,
}

/// Every file with its length and checksum.
type Files = BTreeMap<PathBuf, (u64, u32)>;

/// Files of a volume other than segments.
const OWN_FILES: [&str; 3] = ["volume.json", "scrub.json", "retention.json"];

pub(crate) struct Audit<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) dirs: &'a Dirs,
    pub(crate) oracle: &'a Oracle,
    pub(crate) now: Timestamp,
}

impl Audit<'_> {
    /// `disk` is the volume's own; a copy of it is used. Returns how many chunks the scrub finds
    /// damaged.
    pub(crate) fn run(&self, disk: &SimulatedDisk) -> Result<u64, String> {
        let disk = disk.fork();
        disk.set_faults(Faults {
            latency_max: Duration::from_millis(1),
            ..Faults::default()
        });
        disk.set_capacity(CAPACITY_BYTES_MAX);
        let is_scrubbed = self.plan.has_scrub || self.oracle.has_damage;
        let options = if is_scrubbed {
            self.plan.options_for_scrub()
        } else {
            self.plan.options_for_audit()
        };
        let mut found_damaged = 0;
        let check = |handle: &VolumeHandle| {
            if is_scrubbed {
                found_damaged = self.check_scrub(handle)?;
            }
            self.check_promises(handle)
        };
        let first = self
            .open(&disk, options, check)
            .map_err(during("recovery"))?;
        let files = files(&disk);
        self.check_space(&first.stats, &files)?;

        let second = self
            .open_again(&disk)
            .map_err(during("a second recovery"))?;
        if second.stats.segments_to_recover != first.stats.segments_refused
            || second.stats.catalogue_rebuilds != 0
        {
            return Err(format!(
                "a second recovery found something to do: {:?}",
                second.stats
            ));
        }
        self.check_same("a second recovery", &first, &second)?;

        remove(&self.dirs.catalogue())?;
        let rebuilt = self
            .open_again(&disk)
            .map_err(during("rebuilding the catalogue"))?;
        self.check_same("a rebuilt catalogue", &first, &rebuilt)?;
        self.check_unchanged(&files, &crate::audit::files(&disk))?;
        Ok(found_damaged)
    }

    /// Compares with what was shown before; if bits have flipped, less may be found without the
    /// catalogue, except for what was promised.
    fn open_again(&self, disk: &SimulatedDisk) -> Result<Opened, String> {
        self.open(disk, self.plan.options_for_audit(), |handle| {
            if self.oracle.has_damage {
                self.check_promises(handle)
            } else {
                Ok(())
            }
        })
    }

    fn check_unchanged(&self, before: &Files, after: &Files) -> Result<(), String> {
        let is_segment = |path: &Path| segment_of(path).is_some();
        match after
            .iter()
            .find(|(path, file)| is_segment(path) && before.get(*path) != Some(file))
        {
            // A footer that was damaged at rest is written again.
            Some(_) if self.oracle.has_damage => Ok(()),
            Some((path, now)) => Err(format!(
                "a later recovery changed {} from {:?} to {now:?}",
                path.display(),
                before.get(path)
            )),
            None => Ok(()),
        }
    }

    fn open(
        &self,
        disk: &SimulatedDisk,
        options: VolumeOptions,
        check: impl FnOnce(&VolumeHandle) -> Result<(), String>,
    ) -> Result<Opened, String> {
        let opened = simulate(async {
            let clock = Arc::new(SimulatedClock::new(self.now));
            let is_scrubbed = options.scrub != ScrubOptions::OFF;
            let opened = SimulatedVolume::open(options, disk, Arc::clone(&clock) as Arc<dyn Clock>);
            let (volume, handle) =
                opened.map_err(|error| format!("the volume does not open: {error}"))?;
            let started = tokio::time::Instant::now();
            while !handle.stats().is_recovered() {
                if started.elapsed() > RECOVERY_MAX || volume.is_ended() {
                    return Err(format!("it does not end: {:?}", handle.stats()));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if handle.id() != VOLUME {
                return Err(format!("the volume has another id: {}", handle.id()));
            }
            if is_scrubbed {
                scrub(&handle, &*clock).await?;
            }
            check(&handle)?;
            let opened = Opened {
                shown: self.show(&handle)?,
                stats: handle.stats(),
            };
            handle
                .close()
                .await
                .map_err(|error| format!("the volume does not close: {error}"))?;
            volume.run().await.map_err(|error| error.to_string())?;
            Ok(opened)
        })?;
        self.dirs.settle()?;
        opened
    }

    /// After a complete pass: listed chunks can be read, and chunks reported as damaged were hit
    /// and cannot be read.
    fn check_scrub(&self, handle: &VolumeHandle) -> Result<u64, String> {
        for stream in self.oracle.streams() {
            for entry in show(handle, stream)?.entries {
                if !self.oracle.check_bytes(handle, &entry)? {
                    return Err(format!(
                        "the scrub did not find that this is damaged: {entry:?}"
                    ));
                }
            }
        }
        let (damaged, _) = handle.damaged();
        for chunk in &damaged {
            let accepted = self
                .oracle
                .chunks
                .get(&Key::of(&chunk.meta))
                .filter(|accepted| accepted.is_hit);
            let accepted = accepted
                .ok_or_else(|| format!("the scrub calls damaged what nothing hit: {chunk:?}"))?;
            let DamagedChunk {
                segment, offset, ..
            } = *chunk;
            let payload_bytes = accepted.payload.len() as u32;
            let (volume, holder) = (self.plan.options.index, self.plan.options.node);
            let location = ChunkLocation {
                volume,
                segment,
                offset,
                payload_bytes,
                holder,
            };
            if handle.read(&location).is_ok() {
                return Err(format!(
                    "the scrub calls damaged what can be read: {chunk:?}"
                ));
            }
        }
        Ok(damaged.len() as u64)
    }

    fn show(&self, handle: &VolumeHandle) -> Result<BTreeMap<StreamId, Shown>, String> {
        let streams = self.oracle.streams();
        streams
            .into_iter()
            .map(|stream| Ok((stream, show(handle, stream)?)))
            .collect()
    }

    /// Everything promised is there byte by byte, and nothing that was not recorded.
    fn check_promises(&self, handle: &VolumeHandle) -> Result<(), String> {
        let mut found: BTreeSet<Key> = BTreeSet::new();
        for stream in self.oracle.streams() {
            let shown = show(handle, stream)?;
            for entry in &shown.entries {
                self.check_entry(handle, entry, &shown)?;
                if !found.insert(Key::of(&entry.meta)) {
                    return Err(format!("listed twice: {entry:?}"));
                }
            }
            if let Some(gap) = shown.gaps.iter().find(|gap| !self.oracle.is_known_gap(gap)) {
                return Err(format!("a gap is listed that no camera reported: {gap:?}"));
            }
            if let Some(gap) = self
                .oracle
                .missing_gaps(&shown.gaps)
                .iter()
                .find(|gap| gap.stream_id() == stream)
            {
                return Err(format!("a durable gap is missing: {gap:?}"));
            }
            self.check_mark(stream, shown.mark)?;
        }
        let missing = self.oracle.missing(&found);
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} chunks that were durable are missing, first {:?}",
                missing.len(),
                first.meta
            )),
        }
    }

    fn check_entry(
        &self,
        handle: &VolumeHandle,
        entry: &ChunkEntry,
        shown: &Shown,
    ) -> Result<(), String> {
        let meta = &entry.meta;
        let accepted = self.oracle.chunks.get(&Key::of(meta));
        let accepted = accepted
            .ok_or_else(|| format!("a chunk is listed that no camera recorded: {entry:?}"))?;
        if !is_same(&accepted.meta, meta, self.oracle.has_damage) {
            return Err(format!(
                "listed as {meta:?}, recorded as {:?}",
                accepted.meta
            ));
        }
        if !self.oracle.check_bytes(handle, entry)? {
            return Ok(());
        }
        let covers = |span: &&Span| {
            span.start <= meta.start && span.end >= meta.end() && span.epoch == meta.epoch
        };
        if let Some(standing) = standing(entry, &shown.entries) {
            let may_be = |span: &Span| match standing {
                Standing::Whole => !span.damaged || self.oracle.has_damage,
                Standing::Damaged => span.damaged,
                Standing::Unknown => true,
            };
            if !shown.spans.iter().find(covers).is_some_and(may_be) {
                return Err(format!(
                    "no span shows {entry:?} as {standing:?}: {:?}",
                    shown.spans
                ));
            }
        }
        if accepted.is_decodable && !accepted.is_excused && !self.oracle.has_damage {
            let init = handle
                .init(meta.camera, meta.init)
                .map_err(|error| format!("{entry:?}: {error}"))?;
            if self.oracle.inits.get(&(meta.camera, meta.init)) != Some(&init) {
                return Err(format!("another init segment is served for {entry:?}"));
            }
        }
        Ok(())
    }

    fn check_mark(&self, stream: StreamId, mark: Option<Watermark>) -> Result<(), String> {
        let Some(reported) = self.oracle.newest_mark(stream) else {
            return Ok(());
        };
        match mark {
            Some(mark) if preference(&mark) >= preference(&reported) => Ok(()),
            mark => Err(format!(
                "the watermark of {stream:?} went back from {reported:?} to {mark:?}"
            )),
        }
    }

    /// Every file is a listed segment of its length, the identity, or a segment that was refused.
    fn check_space(&self, stats: &Stats, files: &Files) -> Result<(), String> {
        let segments: Vec<_> = files
            .iter()
            .filter(|(path, _)| segment_of(path).is_some())
            .collect();
        let others: Vec<_> = files
            .keys()
            .filter(|path| segment_of(path).is_none())
            .collect();
        let is_orphan = |path: &&&PathBuf| {
            path.file_name()
                .is_none_or(|name| !OWN_FILES.iter().any(|own| name == *own))
        };
        if let Some(orphan) = others.iter().find(is_orphan) {
            return Err(format!("{} belongs to nothing", orphan.display()));
        }
        if stats.segments_refused > 0 && self.oracle.has_damage {
            return Ok(());
        }
        let bytes: u64 = segments.iter().map(|(_, (bytes, _))| bytes).sum();
        let counted = (
            stats.segments_sealed,
            stats.sealed_bytes,
            stats.segments_open,
            stats.segments_refused,
        );
        if counted != (segments.len() as u64, bytes, 0, 0) {
            return Err(format!(
                "{} files of {bytes} bytes are there, {stats:?} are counted",
                segments.len()
            ));
        }
        Ok(())
    }

    fn check_same(&self, what: &str, before: &Opened, after: &Opened) -> Result<(), String> {
        if self.oracle.has_damage {
            return Ok(());
        }
        let differs = before
            .shown
            .iter()
            .find(|(stream, shown)| after.shown.get(stream) != Some(shown));
        if let Some((stream, shown)) = differs {
            return Err(format!(
                "{what} shows {stream:?} differently: {shown:?}\n  then {:?}",
                after.shown.get(stream)
            ));
        }
        let counted = |stats: &Stats| {
            (
                stats.segments_sealed,
                stats.sealed_bytes,
                stats.segments_open,
            )
        };
        if counted(&before.stats) != counted(&after.stats) {
            return Err(format!(
                "{what} counts differently: {:?}, then {:?}",
                before.stats, after.stats
            ));
        }
        Ok(())
    }
}

fn show(handle: &VolumeHandle, stream: StreamId) -> Result<Shown, String> {
    let StreamId { camera, kind } = stream;
    let (from, to) = (Timestamp::MIN, Timestamp::MAX);
    let failed = |error: holdfast_storage::Error| format!("{stream:?} is not served: {error}");
    Ok(Shown {
        entries: handle
            .entries(Range {
                camera,
                stream: kind,
                from,
                to,
            })
            .map_err(failed)?,
        spans: handle
            .spans(Range {
                camera,
                stream: kind,
                from,
                to,
            })
            .map_err(failed)?,
        gaps: handle
            .gaps(Range {
                camera,
                stream: kind,
                from,
                to,
            })
            .map_err(failed)?,
        mark: handle.watermark(stream),
    })
}

/// Waits for a complete pass of the scrub.
async fn scrub(handle: &VolumeHandle, clock: &dyn Clock) -> Result<(), String> {
    if handle.stats().segments_sealed == 0 {
        return Ok(());
    }
    // A pass that began earlier, at the same instant, may not have known all segments.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let asked_at = clock.now();
    handle.start_scrub();
    let started = tokio::time::Instant::now();
    let is_ended =
        |status: &ScrubStatus| status.pass.is_none() && status.last_started_at >= Some(asked_at);
    while !is_ended(&handle.stats().scrub) {
        if started.elapsed() > RECOVERY_MAX {
            return Err(format!(
                "the scrub does not end: {:?}",
                handle.stats().scrub
            ));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn files(disk: &SimulatedDisk) -> Files {
    let sum = |path: &PathBuf| {
        disk.contents(path)
            .map_or(0, |bytes| crc32fast::hash(&bytes))
    };
    disk.files()
        .into_iter()
        .map(|(path, bytes)| (path.clone(), (bytes, sum(&path))))
        .collect()
}

fn during(what: &'static str) -> impl Fn(String) -> String {
    move |problem| format!("during {what}: {problem}")
}

/// How a chunk of video must be reported.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Everything since its access point is there.
    Whole,
    /// Its recorder marked it as damaged.
    Damaged,
    /// Frames that it refers to may have been deleted.
    Unknown,
}

/// `None` if it cannot be decoded: no access point of its session and parameters is listed.
fn standing(entry: &ChunkEntry, listed: &[ChunkEntry]) -> Option<Standing> {
    let of = &entry.meta;
    let is_before = |meta: &ChunkMeta| {
        (meta.session, meta.track) == (of.session, TrackKind::Video) && meta.sequence <= of.sequence
    };
    let mut before: Vec<ChunkMeta> = listed
        .iter()
        .map(|other| other.meta)
        .filter(is_before)
        .collect();
    before.sort_by_key(|meta| meta.sequence);
    let since = before.split_off(before.iter().rposition(|meta| meta.is_access_point())?);
    let is_decodable =
        of.track == TrackKind::Video && since.iter().all(|meta| meta.init == of.init);
    let is_whole = since
        .windows(2)
        .all(|pair| pair[0].is_followed_by(&pair[1]));
    is_decodable.then_some(match (of.damaged, is_whole) {
        (true, _) => Standing::Damaged,
        (false, true) => Standing::Whole,
        (false, false) => Standing::Unknown,
    })
}
