//! `holdfast segment extract FILE`: one camera's footage in a segment as an MP4 file, made as the
//! API makes its exports.

use super::{damaged, readable, storage_error};
use crate::cli::args::{ExtractArgs, StreamArg};
use crate::cli::output_file::OutputFile;
use crate::cli::progress::bytes_bar;
use crate::cli::timeline::seconds;
use crate::cli::{resolve, when, with_runtime};
use crate::client::{Api, ApiOptions};
use crate::terminal::clock::wall_now;
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_control_api::playback::Tracks;
use holdfast_control_api::playback::export::{ExportPlan, plan_export};
use holdfast_control_api::playback::rebase::Rebaser;
use holdfast_control_api::range::Range;
use holdfast_storage::chunk::{ChunkEntry, InitId};
use holdfast_storage::cmaf::merge::{MergeError, MergedInit, merge_inits_from};
use holdfast_storage::ids::{CameraId, StreamKind, TrackKind};
use holdfast_storage::offline::{self, Footage};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What was written, and what was not.
#[derive(Debug, Serialize)]
pub(super) struct Extracted {
    file: PathBuf,
    bytes: u64,
    camera: CameraId,
    /// Wall time of the file's time 0, and where it ends.
    start: Timestamp,
    end: Timestamp,
    chunks: usize,
    /// Intact chunks that are not in the file; not determined if a range was requested.
    left_out: LeftOut,
    /// How long the picture lacks frames that players conceal.
    damaged_ms: i64,
    /// Places where the segment is damaged; footage of this camera may be lost there.
    damaged_batches: u32,
    /// Interruptions of 200 ms or more within the file, and their sum.
    gaps: usize,
    gap_ms: i64,
}

/// Chunks of video, by the reason why they were left out.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct LeftOut {
    /// The keyframe that they are decoded from is not in this segment.
    pub(super) before_keyframe: usize,
    /// When the keyframe of the first of them was recorded.
    pub(super) keyframe_at: Option<Timestamp>,
    /// No keyframe came since their session began.
    pub(super) without_keyframe: usize,
    /// They refer to lost frames, and `--strict` was given.
    pub(super) after_loss: usize,
    /// Their parameters are not in this segment: it is damaged.
    pub(super) without_parameters: usize,
}

pub(super) fn run(
    path: &Path,
    args: &ExtractArgs,
    api: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    readable(path)?;
    let camera = chosen(path, args, api)?;
    let footage = open(path, args, camera)?;
    let inits = footage.inits().map_err(|error| storage_error(&error))?;
    let plan = plan(path, args, camera, &footage, &inits)?;
    let init = merged(&plan, &inits).map_err(|error| unmergeable(&error, &plan))?;
    let file = OutputFile::create(&args.output, args.force)?;
    let (bytes, chunks) = write(|entry| footage.read(entry), &plan, init, file)?;
    let is_whole = args.from.is_none() && args.to.is_none();
    let extracted = Extracted {
        file: args.output.clone(),
        bytes,
        camera,
        start: plan.base,
        end: plan
            .chunks
            .iter()
            .map(|entry| entry.meta.end())
            .max()
            .unwrap_or(plan.base),
        chunks,
        left_out: if is_whole {
            left_out(footage.entries(), &plan.chunks, &inits)
        } else {
            LeftOut::default()
        },
        damaged_ms: plan.damaged_micros / 1000,
        damaged_batches: footage.damaged_batches(),
        gaps: plan.gaps,
        gap_ms: plan.gap_micros / 1000,
    };
    if OutputFile::is_stdout(&args.output) {
        out.print_aside(&extracted, describe)?;
    } else {
        out.print(&extracted, describe)?;
    }
    match extracted.damaged_batches {
        0 => Ok(()),
        _ => Err(damaged(path)
            .hint("what is sound was written; `holdfast segment verify` says what is lost")),
    }
}

/// The camera by number, by name if a node can be asked, or the only one in the segment.
fn chosen(path: &Path, args: &ExtractArgs, api: ApiOptions) -> Result<CameraId, CliError> {
    match args
        .camera
        .as_deref()
        .map(|text| (text, text.parse::<u32>()))
    {
        Some((_, Ok(number))) => Ok(CameraId(number)),
        Some((name, Err(_))) => named(name, api).map_err(|error| {
            error.hint(
                "a segment knows cameras by their numbers only: `holdfast segment inspect` lists \
                 them",
            )
        }),
        None => only(path),
    }
}

fn named(name: &str, api: ApiOptions) -> Result<CameraId, CliError> {
    let found = async {
        let api = Api::new(&api)?;
        resolve::footage(&api, name).await
    };
    with_runtime(found)
}

fn only(file: &Path) -> Result<CameraId, CliError> {
    let summary = offline::inspect(file).map_err(|error| storage_error(&error))?;
    let cameras: BTreeSet<CameraId> = summary.streams.iter().map(|stream| stream.camera).collect();
    let listed = cameras
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    match cameras.first() {
        Some(camera) if cameras.len() == 1 => Ok(*camera),
        Some(_) => Err(CliError::usage(format!(
            "{} holds cameras {listed}; choose one with --camera",
            file.display()
        ))
        .hint("`holdfast segment inspect` says what it holds of each")),
        None => Err(CliError::new(
            ExitKind::NotFound,
            format!("{} holds no camera's footage", file.display()),
        )),
    }
}

fn open(path: &Path, args: &ExtractArgs, camera: CameraId) -> Result<Footage, CliError> {
    let stream = stream(args.stream);
    let bar = bytes_bar(0);
    let footage = offline::footage(path, camera, stream, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let footage = footage.map_err(|error| storage_error(&error))?;
    if footage.entries().is_empty() {
        let message = format!("{} holds nothing of camera {camera}", path.display());
        return Err(CliError::new(ExitKind::NotFound, message)
            .hint("`holdfast segment inspect` lists the cameras and streams in it"));
    }
    Ok(footage)
}

pub(super) fn stream(arg: StreamArg) -> StreamKind {
    match arg {
        StreamArg::Main => StreamKind::Main,
        StreamArg::Sub => StreamKind::Sub,
    }
}

fn plan(
    path: &Path,
    args: &ExtractArgs,
    camera: CameraId,
    footage: &Footage,
    inits: &[(InitId, bytes::Bytes)],
) -> Result<ExportPlan, CliError> {
    let is_decodable = |entry: &&ChunkEntry| inits.iter().any(|(id, _)| *id == entry.meta.init);
    let entries: Vec<ChunkEntry> = footage
        .entries()
        .iter()
        .filter(is_decodable)
        .copied()
        .collect();
    let entries = timeline::merge(entries);
    let range = range(args, &entries)?;
    let wanted = |entry: &ChunkEntry| entry.meta.start < range.to;
    let tracks = Tracks::of(entries.into_iter().filter(wanted).collect());
    plan_export(&tracks, range, args.strict).ok_or_else(|| {
        let keyframe = tracks
            .video
            .iter()
            .find_map(|entry| entry.meta.access_start());
        CliError::failed(format!(
            "nothing of camera {camera} in {} can be played: no keyframe",
            path.display()
        ))
        .hint(match keyframe {
            Some(at) => {
                format!("it was recorded at {at}, in a segment before, which has a lower number")
            }
            None => "none came since the camera's session began".to_owned(),
        })
    })
}

/// Intact chunks that are not in the file.
pub(super) fn left_out(
    found: &[ChunkEntry],
    played: &[ChunkEntry],
    inits: &[(InitId, bytes::Bytes)],
) -> LeftOut {
    let played: BTreeSet<u64> = played.iter().map(|entry| entry.location.offset).collect();
    let video = || {
        found
            .iter()
            .filter(|entry| entry.meta.track == TrackKind::Video)
    };
    let mut out = LeftOut::default();
    for entry in video().filter(|entry| !played.contains(&entry.location.offset)) {
        let meta = &entry.meta;
        let is_led_to = |other: &&ChunkEntry| {
            (other.meta.session, other.meta.is_access_point()) == (meta.session, true)
                && other.meta.sequence <= meta.sequence
        };
        match meta.access_start() {
            _ if inits.iter().all(|(id, _)| *id != meta.init) => out.without_parameters += 1,
            None => out.without_keyframe += 1,
            Some(_) if video().any(|other| is_led_to(&other)) => out.after_loss += 1,
            Some(keyframe) => {
                out.before_keyframe += 1;
                out.keyframe_at = Some(
                    out.keyframe_at
                        .map_or(keyframe, |first| first.min(keyframe)),
                );
            }
        }
    }
    out
}

fn range(args: &ExtractArgs, entries: &[ChunkEntry]) -> Result<Range, CliError> {
    let given = |name: &str, text: &Option<String>| {
        let parsed = text
            .as_deref()
            .map(|text| when::parse(text, wall_now()))
            .transpose();
        parsed.map_err(|error| CliError::usage(format!("--{name}: {error}")))
    };
    // Audio may begin earlier and end later, and cannot be shown without video.
    let video = || {
        entries
            .iter()
            .filter(|entry| entry.meta.track == TrackKind::Video)
    };
    let first = video()
        .map(|entry| entry.meta.start)
        .min()
        .unwrap_or_default();
    let last = video()
        .map(|entry| entry.meta.end())
        .max()
        .unwrap_or(first.plus_micros(1));
    let from = given("from", &args.from)?.unwrap_or(first);
    let to = given("to", &args.to)?.unwrap_or(last);
    if from >= to {
        return Err(
            CliError::usage(format!("from {from} to {to} is no range")).hint(format!(
                "the segment holds footage of the camera from {first} to {last}"
            )),
        );
    }
    Ok(Range { from, to })
}

/// The header of the file.
pub(super) fn merged(
    plan: &ExportPlan,
    inits: &[(InitId, bytes::Bytes)],
) -> Result<MergedInit, MergeError> {
    let of = |ids: &[InitId]| -> Vec<(InitId, bytes::Bytes)> {
        ids.iter()
            .filter_map(|id| inits.iter().find(|(known, _)| known == id).cloned())
            .collect()
    };
    merge_inits_from(
        &of(&plan.video_inits),
        &of(&plan.audio_inits),
        plan.shown_from_us(),
    )
}

/// From when on another file is needed.
pub(super) fn changes_at(error: &MergeError, plan: &ExportPlan) -> Option<Timestamp> {
    let MergeError::CodecChanged { init, .. } = error else {
        return None;
    };
    plan.chunks
        .iter()
        .find(|entry| entry.meta.init == *init)
        .map(|entry| entry.meta.start)
}

pub(super) fn unmergeable(error: &MergeError, plan: &ExportPlan) -> CliError {
    let failed = CliError::failed(error.to_string());
    if !matches!(error, MergeError::CodecChanged { .. }) {
        return failed;
    }
    failed.hint(match changes_at(error, plan) {
        Some(at) => {
            format!("one file cannot hold both: extract with --to {at}, then with --from {at}")
        }
        None => "one file cannot hold both: extract with --from and --to".to_owned(),
    })
}

/// Returns the bytes and chunks written. A chunk that does not match its checksum is a bug of its
/// writer, not of this disk: it ends the extraction.
pub(super) fn write(
    read: impl Fn(&ChunkEntry) -> Result<bytes::Bytes, holdfast_storage::Error>,
    plan: &ExportPlan,
    init: MergedInit,
    mut file: OutputFile,
) -> Result<(u64, usize), CliError> {
    let bar = bytes_bar(
        plan.chunks
            .iter()
            .map(|entry| u64::from(entry.location.payload_bytes))
            .sum(),
    );
    file.write(&init.bytes)?;
    let mut rebaser = Rebaser::in_frames(plan.base, init, plan.frame_interval_ns);
    for entry in &plan.chunks {
        let bytes = read(entry).map_err(|error| storage_error(&error))?;
        let placed = rebaser.place(&entry.meta, bytes).map_err(|error| {
            CliError::failed(format!(
                "the chunk of {} cannot be placed: {error}",
                entry.meta.start
            ))
            .hint("leave it out with --from and --to")
        })?;
        file.write(&placed)?;
        bar.inc(u64::from(entry.location.payload_bytes));
    }
    bar.finish_and_clear();
    Ok((file.finish()?, plan.chunks.len()))
}

fn describe(done: &Extracted) -> String {
    let millis = done.end.micros_since(done.start) / 1000;
    let mut text = format!(
        "wrote {} ({} bytes): camera {}, {}.{:03} s from {}\n",
        done.file.display(),
        done.bytes,
        done.camera,
        millis / 1000,
        millis % 1000,
        done.start
    );
    let LeftOut {
        before_keyframe,
        keyframe_at,
        without_keyframe,
        after_loss,
        without_parameters,
    } = &done.left_out;
    let mut explain = |chunks: usize, why: &str| {
        if chunks > 0 {
            text.push_str(&format!("left out {chunks} chunks {why}\n"));
        }
    };
    if let Some(at) = keyframe_at {
        let why =
            format!("before the first keyframe: theirs was recorded at {at}, in a segment before");
        explain(*before_keyframe, &why);
    }
    explain(
        *without_keyframe,
        "that no keyframe came before since the camera's session began",
    );
    explain(
        *after_loss,
        "that refer to lost frames, up to the next keyframe (--strict)",
    );
    explain(
        *without_parameters,
        "whose parameters are not in this segment: it is damaged",
    );
    if done.damaged_ms > 0 {
        let damaged = seconds(done.damaged_ms * 1000);
        text.push_str(&format!(
            "{damaged} s of it refer to lost frames, and players conceal what is missing; --strict \
             leaves them out\n"
        ));
    }
    text
}
