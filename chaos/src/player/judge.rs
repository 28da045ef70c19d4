//! Compares the frames that a player got with those that its camera sent. Pure.

use super::{Entry, Kind, Sample, Showing};
use crate::sound::{Excuses, missing_sound};
use holdfast_camera::{Gap, Sent, Stamp};
use std::collections::{BTreeMap, BTreeSet};

/// Frames this close to the ends of a presentation may be beyond them: wall times of a recording
/// lag behind captures.
const END_US: i64 = 1_000_000;

/// How long before the end of the run a growing list may end: two cells, and the time for which
/// they wait.
const BEHIND_US_MAX: i64 = 12_000_000;

/// How far the time between two neighbours may be from that between their captures: recorders
/// correct their clocks, and two of them differ.
const UNEVEN_US_MAX: i64 = 150_000;

/// How far sound may be from the video that it was captured with.
const DRIFT_US_MAX: i64 = 150_000;

/// Times of playlists are microseconds, those of media ticks.
const ROUNDED_US: i64 = 1_000;

/// A shorter hole is no gap: media times advance over it as wall time does.
const GAP_US_MIN: i64 = 200_000;

/// The facts about the played camera.
#[derive(Clone, Debug)]
pub(crate) struct Truth<'a> {
    pub(crate) number: u32,
    pub(crate) sent: &'a [Sent],
    /// Frames that are not stored.
    pub(crate) lost: &'a [Gap],
    pub(crate) sound: &'a [Sent],
    pub(crate) sound_lost: &'a [Gap],
    /// Of the run.
    pub(crate) from_us: i64,
    pub(crate) to_us: i64,
    /// Captures that may have been out of reach when a list that grows was read.
    pub(crate) excused: Vec<(i64, i64)>,
    /// Captures around changes of recorder, at which a frame or two of sound may be lost or
    /// doubled.
    pub(crate) seams: Vec<(i64, i64)>,
    /// A fault had the camera send garbage.
    pub(crate) sends_garbage: bool,
    /// Its clock and rhythm are those of an honest camera.
    pub(crate) has_honest_times: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aspect {
    Frames,
    Sound,
    Times,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    pub(crate) aspect: Aspect,
    pub(crate) text: String,
    pub(crate) at_us: Option<i64>,
}

/// All errors in what a player got. The lists themselves were judged when they were read.
pub(crate) fn judge(showing: &Showing, truth: &Truth<'_>) -> Vec<Offence> {
    let excuses = Excuses::new(&truth.seams, truth.sound);
    let mut judge = Judge {
        showing,
        truth,
        excuses,
        offences: Vec::new(),
    };
    let video = judge.walk(Aspect::Frames);
    let sound = judge.walk(Aspect::Sound);
    judge.completeness(&video);
    judge.sound_completeness(&video, &sound);
    if truth.has_honest_times {
        judge.beginnings();
        judge.rhythm();
        judge.drift();
    }
    judge.offences
}

struct Judge<'a> {
    showing: &'a Showing,
    truth: &'a Truth<'a>,
    excuses: Excuses<'a>,
    offences: Vec<Offence>,
}

impl Judge<'_> {
    /// Whether one more missing or doubled frame is excused there.
    fn excuse(&mut self, aspect: Aspect, at_us: i64) -> bool {
        aspect == Aspect::Sound && self.excuses.excuse(at_us)
    }

    fn blame(&mut self, aspect: Aspect, uri: &str, what: &str, at_us: Option<i64>) {
        let Showing {
            camera,
            kind,
            asked,
            ..
        } = self.showing;
        let text = format!("{camera}, {} of {asked}: {what}; {uri}", kind.name());
        self.offences.push(Offence {
            aspect,
            text,
            at_us,
        });
    }

    /// Checks that each frame is the camera's own, whole, present once, and in order. Returns the
    /// frames that are present.
    fn walk(&mut self, aspect: Aspect) -> BTreeSet<u64> {
        let mut seen: BTreeMap<u64, &str> = BTreeMap::new();
        let mut last = None;
        let word = word(aspect);
        for entry in &self.showing.entries {
            for sample in samples(entry, aspect) {
                let Some(stamp) = sample.stamp else {
                    if aspect == Aspect::Sound || !self.truth.sends_garbage {
                        self.blame(
                            aspect,
                            &entry.uri,
                            &format!("a {word} carries no stamp or is damaged"),
                            None,
                        );
                    }
                    continue;
                };
                let (sequence, at_us) = (stamp.sequence, captured_us(stamp));
                if stamp.camera != self.truth.number {
                    let what = format!("{word} {sequence} is camera {}'s", stamp.camera);
                    self.blame(aspect, &entry.uri, &what, Some(at_us));
                    continue;
                }
                if let Some(before) = seen.insert(sequence, &entry.uri) {
                    if self.excuse(aspect, at_us) {
                        continue;
                    }
                    let what = format!("{word} {sequence} is shown again, after {before}");
                    self.blame(aspect, &entry.uri, &what, Some(at_us));
                } else if let Some(last) = last.filter(|last| *last > sequence) {
                    let what = format!("{word} {sequence} is shown after {last}");
                    self.blame(aspect, &entry.uri, &what, Some(at_us));
                }
                last = last.max(Some(sequence));
            }
        }
        seen.into_keys().collect()
    }

    /// Checks that everything stored is shown.
    fn completeness(&mut self, shown: &BTreeSet<u64>) {
        let Truth {
            sent,
            lost,
            from_us,
            to_us,
            ..
        } = *self.truth;
        let captured = |sent: &Sent| i64::try_from(sent.captured_us).unwrap_or(i64::MAX);
        let of_run = || {
            sent.iter()
                .filter(|sent| shown.contains(&sent.sequence))
                .map(captured)
        };
        let Some((first, last)) = of_run().next().zip(of_run().next_back()) else {
            if !sent.is_empty() {
                let first = self
                    .showing
                    .entries
                    .first()
                    .map(|entry| entry.uri.clone())
                    .unwrap_or_default();
                self.blame(
                    Aspect::Frames,
                    &first,
                    "none of the run's frames is shown",
                    None,
                );
            }
            return;
        };
        let begin = from_us.max(self.showing.from_us) + END_US;
        let (from, to) = match self.showing.kind {
            Kind::Closed => (begin, to_us - END_US),
            Kind::Grown => (begin, last.max(to_us - BEHIND_US_MAX)),
            Kind::Growing | Kind::Live => (first, last.max(to_us - BEHIND_US_MAX)),
        };
        let missing = sent.iter().filter(|sent| {
            let at_us = captured(sent);
            (from..=to).contains(&at_us)
                && !shown.contains(&sent.sequence)
                && !is_within(lost, sent.sequence)
                && !self.is_excused(at_us)
        });
        for run in runs(missing) {
            self.blame_missing(Aspect::Frames, &run);
        }
    }

    fn sound_completeness(&mut self, video: &BTreeSet<u64>, sound: &BTreeSet<u64>) {
        let Truth {
            sent,
            sound: heard,
            sound_lost,
            ..
        } = *self.truth;
        let missing = missing_sound(
            (sent, |sequence| video.contains(&sequence)),
            (heard, |sequence| {
                sound.contains(&sequence) || is_within(sound_lost, sequence)
            }),
        );
        let missing = missing.into_iter().filter(|sent| {
            let at_us = sent.captured_us.cast_signed();
            !self.is_excused(at_us) && !self.excuse(Aspect::Sound, at_us)
        });
        let missing: Vec<Sent> = missing.collect();
        for run in runs(&missing) {
            self.blame_missing(Aspect::Sound, &run);
        }
    }

    fn blame_missing(&mut self, aspect: Aspect, run: &[Sent]) {
        let [first, .., last] = run else {
            let [only] = run else { return };
            return self.blame_missing(aspect, &[*only, *only]);
        };
        let at_us = first.captured_us.cast_signed();
        let entry = self
            .showing
            .entries
            .iter()
            .rev()
            .find(|entry| entry.wall_us <= at_us);
        let uri = entry.map_or("before the first entry".to_owned(), |entry| {
            entry.uri.clone()
        });
        let words = if aspect == Aspect::Sound {
            "frames of sound"
        } else {
            "frames"
        };
        let what = format!(
            "{words} {} to {} are stored and not shown",
            first.sequence, last.sequence
        );
        self.blame(aspect, &uri, &what, Some(at_us));
    }

    fn is_excused(&self, at_us: i64) -> bool {
        let mut excused = self.truth.excused.iter();
        !self.showing.kind.is_final() && excused.any(|(from, to)| (*from..=*to).contains(&at_us))
    }

    /// Checks that each entry begins where its playlist says.
    fn beginnings(&mut self) {
        let mut media_us = 0;
        for entry in &self.showing.entries {
            let first = samples(entry, Aspect::Frames).first();
            if let Some(first) = first {
                let listed = match self.showing.kind {
                    Kind::Closed => media_us,
                    _ => entry.wall_us - entry.base_us,
                };
                let off = first.decode_us - listed;
                if off.abs() > ROUNDED_US {
                    let what = format!(
                        "its media begins {off} us off the {listed} us that its playlist says"
                    );
                    self.blame(
                        Aspect::Times,
                        &entry.uri,
                        &what,
                        first.stamp.map(captured_us),
                    );
                }
            }
            media_us += entry.duration_us;
        }
    }

    /// Checks that times advance as captures did, except over gaps, where media times are
    /// continuous.
    fn rhythm(&mut self) {
        for aspect in [Aspect::Frames, Aspect::Sound] {
            let mut before: Option<(&Entry, &Sample)> = None;
            for entry in &self.showing.entries {
                for sample in samples(entry, aspect) {
                    if let Some(before) = before {
                        self.step(aspect, before, (entry, sample));
                    }
                    before = Some((entry, sample));
                }
            }
        }
    }

    fn step(
        &mut self,
        aspect: Aspect,
        (entry_before, before): (&Entry, &Sample),
        (entry, sample): (&Entry, &Sample),
    ) {
        let Some((old, new)) = before.stamp.zip(sample.stamp) else {
            return;
        };
        let decode_us = sample.decode_us - before.decode_us;
        let capture_us = captured_us(new) - captured_us(old);
        let (word, at_us) = (word(aspect), Some(captured_us(new)));
        let name = format!("{word} {} after {}", new.sequence, old.sequence);
        if decode_us <= 0 {
            let what = format!(
                "{name}: the decode time goes from {} to {} us",
                before.decode_us, sample.decode_us
            );
            return self.blame(Aspect::Times, &entry.uri, &what, at_us);
        }
        let hidden_us = entry.wall_us - entry_before.wall_us - entry_before.duration_us;
        let continues = self.showing.kind == Kind::Closed
            && entry.sequence != entry_before.sequence
            && (hidden_us >= GAP_US_MIN || entry.sequence != entry_before.sequence + 1);
        if !continues && (decode_us - capture_us).abs() > UNEVEN_US_MAX {
            let what =
                format!("{name}: {decode_us} us later, and was captured {capture_us} us later");
            self.blame(Aspect::Times, &entry.uri, &what, at_us);
        }
    }

    /// Checks that sound is close to the video that it was captured with.
    fn drift(&mut self) {
        for entry in &self.showing.entries {
            let video = samples(entry, Aspect::Frames);
            for sound in samples(entry, Aspect::Sound) {
                let at = video.partition_point(|video| video.decode_us <= sound.decode_us);
                let Some(video) = video.get(at.saturating_sub(1)) else {
                    continue;
                };
                let Some((heard, seen)) = sound.stamp.zip(video.stamp) else {
                    continue;
                };
                let apart_us = captured_us(heard) - captured_us(seen);
                let drift_us = sound.decode_us - video.decode_us - apart_us;
                if drift_us.abs() > DRIFT_US_MAX {
                    let (sequence, frame) = (heard.sequence, seen.sequence);
                    let what = format!("sound {sequence} is {drift_us} us off frame {frame}");
                    self.blame(Aspect::Times, &entry.uri, &what, Some(captured_us(heard)));
                    break;
                }
            }
        }
    }
}

fn samples(entry: &Entry, aspect: Aspect) -> &[Sample] {
    match (&entry.media, aspect) {
        (None, _) => &[],
        (Some(media), Aspect::Sound) => &media.sound,
        (Some(media), _) => &media.video,
    }
}

fn word(aspect: Aspect) -> &'static str {
    if aspect == Aspect::Sound {
        "frame of sound"
    } else {
        "frame"
    }
}

fn captured_us(stamp: Stamp) -> i64 {
    i64::try_from(stamp.captured_us).unwrap_or(i64::MAX)
}

fn is_within(gaps: &[Gap], sequence: u64) -> bool {
    gaps.iter()
        .any(|gap| (gap.from..gap.to).contains(&sequence))
}

/// Cut where numbers are not neighbours.
fn runs<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> Vec<Vec<Sent>> {
    let mut runs: Vec<Vec<Sent>> = Vec::new();
    for sent in sent {
        match runs.last_mut() {
            Some(run)
                if run
                    .last()
                    .is_some_and(|last| last.sequence + 1 == sent.sequence) =>
            {
                run.push(*sent)
            }
            _ => runs.push(vec![*sent]),
        }
    }
    runs
}
