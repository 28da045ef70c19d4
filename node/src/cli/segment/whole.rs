//! `holdfast segment extract DIR…`: footage of whole volumes, merged and written as a node's
//! exports are. Damaged footage is left out and reported.

mod gaps;

use super::extract::{changes_at, merged, stream, unmergeable, write};
use super::shelf::{self, choose, described, show};
use crate::cli::args::ExtractArgs;
use crate::cli::output_file::OutputFile;
use crate::cli::progress::segments_bar;
use crate::cli::table::printable;
use crate::cli::timeline::seconds;
use crate::cli::when;
use crate::terminal::clock::wall_now;
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use gaps::{Hole, holes};
use holdfast_control_api::playback::export::{ExportPlan, plan_export};
use holdfast_control_api::playback::gate::needs_earlier;
use holdfast_control_api::playback::{LOOKAHEAD, LOOKBACK, Tracks};
use holdfast_control_api::range::Range;
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::cmaf::merge::MergedInit;
use holdfast_storage::ids::{CameraId, TrackKind};
use holdfast_storage::offline::{FailedSegment, Shelf, ShelfFootage, StreamId};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::merge;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest time of one file: its chunks are listed in memory.
const FILE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often chunks are looked for further back, to find the keyframe of the first one.
const LOOKBACKS_MAX: usize = 4;

/// Gaps, segments and cameras that the text names; the JSON has all.
const LINES_MAX: usize = 20;

/// Characters of a camera's name in a file's name.
const NAME_CHARS_MAX: usize = 64;

/// What was written, and what was not.
#[derive(Debug, Default, Serialize)]
struct Extraction {
    files: Vec<Written>,
    /// For each camera, the parts of the requested time that are in no file.
    gaps: Vec<Hole>,
    gap_ms: i64,
    /// Segments with damaged chunks.
    damaged: Vec<DamagedPart>,
    /// Segments that could not be read at all: their content is not known.
    not_read: Vec<FailedSegment>,
    /// Cameras whose footage could not be written, or not completely.
    failed: Vec<FailedCamera>,
}

#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    bytes: u64,
    camera: CameraId,
    name: Option<String>,
    /// Wall time of the file's time 0, and where it ends.
    start: Timestamp,
    end: Timestamp,
    chunks: usize,
    /// How long the picture lacks frames that players conceal.
    damaged_ms: i64,
}

#[derive(Debug, Serialize)]
struct DamagedPart {
    segment: PathBuf,
    camera: CameraId,
    /// Listed, but missing or damaged.
    chunks: usize,
    /// Places at which it is not known what was there.
    damaged_batches: u32,
}

#[derive(Debug, Serialize)]
struct FailedCamera {
    camera: CameraId,
    name: Option<String>,
    error: String,
}

/// # Errors
/// Nothing was found, or something is damaged or could not be written. The results so far are
/// printed first.
pub(super) fn run(dirs: &[PathBuf], args: &ExtractArgs, out: Output) -> Result<(), CliError> {
    let done = extract(dirs, args)?;
    if OutputFile::is_stdout(&args.output) {
        out.print_aside(&done, describe)?;
    } else {
        out.print(&done, describe)?;
    }
    done.verdict()
}

fn extract(dirs: &[PathBuf], args: &ExtractArgs) -> Result<Extraction, CliError> {
    let is_folder = args.output.is_dir() || args.output.to_string_lossy().ends_with('/');
    if args.all && !is_folder {
        return Err(CliError::usage(
            "--all writes a file for each camera: name a folder with -o DIR/",
        ));
    }
    let (from, to) = (
        time("from", args.from.as_deref())?,
        time("to", args.to.as_deref())?,
    );
    let shelf = shelf::open(dirs)?;
    let kind = stream(args.stream);
    let ids: Vec<StreamId> = match args.all {
        true => shelf
            .streams()
            .map(|(id, _)| id)
            .filter(|id| id.stream == kind)
            .collect(),
        false => vec![choose(&shelf, args.camera.as_deref(), kind)?],
    };
    if ids.is_empty() {
        return Err(
            CliError::new(ExitKind::NotFound, "there is no camera's footage")
                .hint("`holdfast segment list` says what there is"),
        );
    }
    let mut work = Work {
        shelf: &shelf,
        args,
        done: Extraction::default(),
    };
    work.done.not_read = shelf.failed().to_vec();
    for id in &ids {
        let Some(held) = shelf.held(*id) else {
            continue;
        };
        let asked = (from.unwrap_or(held.from), to.unwrap_or(held.to));
        if asked.0 >= asked.1 {
            return Err(
                CliError::usage(format!("from {} to {} is no range", asked.0, asked.1)).hint(
                    format!(
                        "there is footage of camera {} from {} to {}",
                        described(&shelf, id.camera),
                        held.from,
                        held.to
                    ),
                ),
            );
        }
        let range = Range {
            from: asked.0,
            to: asked.1,
        };
        if is_folder {
            work.camera_into_folder(*id, range)?;
        } else {
            work.camera_into_file(*id, range)?;
        }
    }
    Ok(work.done)
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, CliError> {
    let parsed = text.map(|text| when::parse(text, wall_now())).transpose();
    parsed.map_err(|error| CliError::usage(format!("--{name}: {error}")))
}

struct Work<'a> {
    shelf: &'a Shelf,
    args: &'a ExtractArgs,
    done: Extraction,
}

/// The content of one file.
struct Film {
    footage: ShelfFootage,
    plan: ExportPlan,
    init: MergedInit,
}

impl Work<'_> {
    fn name(&self, camera: CameraId) -> Option<String> {
        shelf::names(self.shelf, camera).pop()
    }

    fn camera_into_file(&mut self, id: StreamId, range: Range) -> Result<(), CliError> {
        if range.to.micros_since(range.from) > FILE_TIME_MAX.as_micros() as i64 {
            let message = format!(
                "{} to {} is more than the 24 h that one file may hold",
                range.from, range.to
            );
            return Err(CliError::usage(message)
                .hint("-o DIR/ writes a file for each day; or give --from and --to"));
        }
        let (footage, tracks) = self.look(id, range);
        let planned = plan_export(&tracks, range, self.args.strict);
        let plan = planned.ok_or_else(|| self.nothing(id, range, &tracks))?;
        let init = merged(&plan, footage.inits()).map_err(|error| unmergeable(&error, &plan))?;
        let (shown, lost) = (shown(&plan), lost(&footage));
        self.write(
            id,
            &Film {
                footage,
                plan,
                init,
            },
            &self.args.output,
        )?;
        self.note_gaps(id, range, lost, &shown);
        Ok(())
    }

    /// Writes a file for each day, and for each kind of video that does not fit into one file with
    /// others. A failure of one camera does not stop the others.
    ///
    /// # Errors
    /// The folder cannot be written.
    fn camera_into_folder(&mut self, id: StreamId, range: Range) -> Result<(), CliError> {
        let folder = self.args.output.clone();
        std::fs::create_dir_all(&folder).map_err(|error| {
            CliError::failed(format!(
                "cannot make the folder {}: {error}",
                folder.display()
            ))
        })?;
        let Some(held) = self.shelf.held(id) else {
            return Ok(());
        };
        let (mut shown, mut lost) = (Vec::new(), Vec::new());
        let (mut at, until) = (range.from.max(held.from), range.to.min(held.to));
        while at < until {
            let day = Range {
                from: at,
                to: at.plus(FILE_TIME_MAX).min(until),
            };
            match self.film(id, day) {
                Ok(Some((film, next))) => {
                    let file = folder.join(file_name(
                        id.camera,
                        self.name(id.camera).as_deref(),
                        film.plan.base,
                    ));
                    self.write(id, &film, &file)?;
                    shown.extend(self::shown(&film.plan));
                    lost.extend(self::lost(&film.footage));
                    at = next;
                }
                Ok(None) => at = day.to,
                Err(error) => {
                    self.fail(id.camera, &error);
                    at = day.to;
                }
            }
        }
        if shown.is_empty()
            && self
                .done
                .failed
                .iter()
                .all(|failed| failed.camera != id.camera)
        {
            let error = self.nothing(id, range, &Tracks::default());
            self.fail(id.camera, &error);
        }
        self.note_gaps(id, range, lost, &shown);
        Ok(())
    }

    /// The part of a range that goes into one file, and where the next one begins.
    fn film(&mut self, id: StreamId, range: Range) -> Result<Option<(Film, Timestamp)>, CliError> {
        let (footage, tracks) = self.look(id, range);
        let Some(plan) = plan_export(&tracks, range, self.args.strict) else {
            return Ok(None);
        };
        let error = match merged(&plan, footage.inits()) {
            Ok(init) => {
                return Ok(Some((
                    Film {
                        footage,
                        plan,
                        init,
                    },
                    range.to,
                )));
            }
            Err(error) => error,
        };
        let change = changes_at(&error, &plan).filter(|at| *at > range.from && *at < range.to);
        let Some(change) = change else {
            return Err(unmergeable(&error, &plan));
        };
        let range = Range {
            to: change,
            ..range
        };
        let before = |entry: &ChunkEntry| entry.meta.start < change;
        let tracks = Tracks {
            video: tracks.video.into_iter().filter(before).collect(),
            audio: tracks.audio.into_iter().filter(before).collect(),
        };
        let Some(plan) = plan_export(&tracks, range, self.args.strict) else {
            return Ok(None);
        };
        let init = merged(&plan, footage.inits()).map_err(|error| unmergeable(&error, &plan))?;
        Ok(Some((
            Film {
                footage,
                plan,
                init,
            },
            change,
        )))
    }

    /// The intact footage of a range, merged, from the keyframe before it on.
    fn look(&mut self, id: StreamId, range: Range) -> (ShelfFootage, Tracks) {
        let (mut from, to) = (
            range.from.plus_micros(-(LOOKBACK.as_micros() as i64)),
            range.to.plus(LOOKAHEAD),
        );
        let mut found = self.read(id, (from, to));
        for _ in 0..LOOKBACKS_MAX {
            let earlier = needs_earlier(&found.1.video, range.from, self.args.strict)
                .filter(|earlier| *earlier < from);
            let Some(earlier) = earlier else { break };
            from = earlier;
            found = self.read(id, (from, to));
        }
        let (footage, mut tracks) = found;
        tracks.video.retain(|entry| entry.meta.start < range.to);
        tracks.audio.retain(|entry| entry.meta.start < range.to);
        for lost in footage
            .lost()
            .iter()
            .filter(|lost| !lost.chunks.is_empty() || lost.damaged_batches > 0)
        {
            if self
                .done
                .damaged
                .iter()
                .all(|known| (&known.segment, known.camera) != (&lost.path, id.camera))
            {
                let (segment, chunks) = (lost.path.clone(), lost.chunks.len());
                let damaged_batches = lost.damaged_batches;
                self.done.damaged.push(DamagedPart {
                    segment,
                    camera: id.camera,
                    chunks,
                    damaged_batches,
                });
            }
        }
        for failed in footage.failed() {
            if self
                .done
                .not_read
                .iter()
                .all(|known| known.path != failed.path)
            {
                self.done.not_read.push(failed.clone());
            }
        }
        (footage, tracks)
    }

    fn read(&self, id: StreamId, range: (Timestamp, Timestamp)) -> (ShelfFootage, Tracks) {
        let bar = segments_bar();
        let footage = self
            .shelf
            .footage(id, range, |progress| show(&bar, progress));
        bar.finish_and_clear();
        let is_decodable = |entry: &&ChunkEntry| {
            footage
                .inits()
                .iter()
                .any(|(init, _)| *init == entry.meta.init)
        };
        let entries = footage
            .entries()
            .iter()
            .filter(is_decodable)
            .copied()
            .collect();
        let tracks = Tracks::of(merge(entries));
        (footage, tracks)
    }

    fn write(&mut self, id: StreamId, film: &Film, target: &Path) -> Result<(), CliError> {
        let file = OutputFile::create(target, self.args.force)?;
        let Film {
            footage,
            plan,
            init,
        } = film;
        let (bytes, chunks) = write(|entry| footage.read(entry), plan, init.clone(), file)?;
        self.done.files.push(Written {
            file: target.to_owned(),
            bytes,
            camera: id.camera,
            name: self.name(id.camera),
            start: plan.base,
            end: plan
                .chunks
                .iter()
                .map(|entry| entry.meta.end())
                .max()
                .unwrap_or(plan.base),
            chunks,
            damaged_ms: plan.damaged_micros / 1000,
        });
        Ok(())
    }

    fn note_gaps(&mut self, id: StreamId, range: Range, lost: Vec<Interval>, shown: &[Interval]) {
        let ledger: Vec<_> = self.shelf.gaps(id, (range.from, range.to)).collect();
        let holes = holes(id.camera, shown, range, &ledger, lost);
        self.done.gap_ms += holes
            .iter()
            .map(|hole| hole.end.micros_since(hole.start) / 1000)
            .sum::<i64>();
        self.done.gaps.extend(holes);
    }

    fn fail(&mut self, camera: CameraId, error: &CliError) {
        let hint = error
            .hint
            .as_ref()
            .map_or_else(String::new, |hint| format!(" ({hint})"));
        let error = format!("{}{hint}", error.message);
        self.done.failed.push(FailedCamera {
            camera,
            name: self.name(camera),
            error,
        });
    }

    fn nothing(&self, id: StreamId, range: Range, tracks: &Tracks) -> CliError {
        let camera = described(self.shelf, id.camera);
        let message = format!(
            "nothing of camera {camera} can be played from {} to {}",
            range.from, range.to
        );
        let keyframe = tracks
            .video
            .iter()
            .find_map(|entry| entry.meta.access_start());
        CliError::new(ExitKind::NotFound, message).hint(match keyframe {
            Some(at) => format!("its keyframe was recorded at {at}, and is not here, or damaged"),
            None => "`holdfast segment list` says what there is".to_owned(),
        })
    }
}

type Interval = (Timestamp, Timestamp);

/// The intervals of chunks that cannot be read.
fn lost(footage: &ShelfFootage) -> Vec<Interval> {
    footage
        .lost()
        .iter()
        .flat_map(|lost| &lost.chunks)
        .map(|meta| (meta.start, meta.end()))
        .collect()
}

/// The intervals in which a file shows video.
fn shown(plan: &ExportPlan) -> Vec<Interval> {
    let video = plan
        .chunks
        .iter()
        .filter(|entry| entry.meta.track == TrackKind::Video);
    video
        .map(|entry| (entry.meta.start, entry.meta.end()))
        .collect()
}

/// Number, name and beginning, in characters that every filesystem accepts.
fn file_name(camera: CameraId, name: Option<&str>, start: Timestamp) -> String {
    let plain = |c: char| {
        if c.is_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = name
        .unwrap_or_default()
        .chars()
        .take(NAME_CHARS_MAX)
        .map(plain)
        .collect();
    let name = if name.is_empty() {
        name
    } else {
        format!("-{name}")
    };
    let start: String = start
        .to_string()
        .chars()
        .map(|c| if c == ':' { '-' } else { c })
        .collect();
    format!("camera-{camera}{name}_{start}.mp4")
}

impl Extraction {
    fn verdict(&self) -> Result<(), CliError> {
        if let Some(failed) = self.failed.first().filter(|_| self.files.is_empty()) {
            return Err(CliError::failed(format!(
                "nothing was written; camera {}: {}",
                failed.camera, failed.error
            )));
        }
        if !self.failed.is_empty() {
            return Err(CliError::failed(format!(
                "{} cameras could not be written, or not all of them",
                self.failed.len()
            )));
        }
        let bad = self.damaged.len() + self.not_read.len();
        if bad > 0 {
            return Err(CliError::failed(format!(
                "{bad} segments are damaged or could not be read"
            ))
            .hint(
                "what is sound was written; `holdfast segment verify` says what is lost in each",
            ));
        }
        Ok(())
    }
}

fn describe(done: &Extraction) -> String {
    let mut text: String = done.files.iter().map(written).collect();
    if !done.gaps.is_empty() {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "MISSING {} s of what you asked for:",
            seconds(done.gap_ms * 1000)
        );
    }
    some(&mut text, done.gaps.iter().map(gap).collect());
    some(&mut text, done.damaged.iter().map(damaged).collect());
    some(
        &mut text,
        done.not_read
            .iter()
            .map(|failed| format!("not read: {}", printable(&failed.error)))
            .collect(),
    );
    some(
        &mut text,
        done.failed
            .iter()
            .map(|failed| format!("camera {}: {}", failed.camera, printable(&failed.error)))
            .collect(),
    );
    text
}

/// A file, in whole lines.
fn written(file: &Written) -> String {
    let length = seconds(file.end.micros_since(file.start));
    let camera = file.name.as_ref().map_or_else(
        || file.camera.to_string(),
        |name| format!("{} ({name})", file.camera),
    );
    let mut text = format!(
        "wrote {} ({} bytes): camera {}, {length} s from {}\n",
        file.file.display(),
        file.bytes,
        printable(&camera),
        file.start
    );
    if file.damaged_ms > 0 {
        let damaged = seconds(file.damaged_ms * 1000);
        text += &format!(
            "{damaged} s of it refer to lost frames, and players conceal what is missing; \
             --strict leaves them out\n"
        );
    }
    text
}

fn gap(gap: &Hole) -> String {
    let length = seconds(gap.end.micros_since(gap.start));
    format!(
        "  camera {}  {}  {length} s  {}",
        gap.camera,
        gap.start,
        gap.cause.name()
    )
}

fn damaged(part: &DamagedPart) -> String {
    let places = match part.damaged_batches {
        0 => String::new(),
        count => format!(", and {count} places at which it is not known what was there"),
    };
    format!(
        "damaged: {}: {} chunks of camera {}{places}",
        part.segment.display(),
        part.chunks,
        part.camera
    )
}

fn some(text: &mut String, lines: Vec<String>) {
    lines
        .iter()
        .take(LINES_MAX)
        .for_each(|line| _ = writeln!(text, "{line}"));
    if let Some(more @ 1..) = lines.len().checked_sub(LINES_MAX) {
        let _ = writeln!(text, "  and {more} more; --json has all");
    }
}

#[cfg(test)]
mod tests;
