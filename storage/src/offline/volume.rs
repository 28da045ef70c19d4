//! A whole data directory without its node: verify every segment, or list them in a new catalogue.

use super::{LostChunk, Report, verify};
use crate::Error;
use crate::catalogue::Catalogue;
use crate::disk::{Disk, IoChoice, RealDisk};
use crate::format::FormatError;
use crate::identity::{self, Lock};
use crate::ids::{CameraId, SegmentId, StreamKind};
use crate::layout::{Layout, parse_file_name};
use crate::seal::{Sealed, read_sealed};
use crate::time::Timestamp;
use crate::verify::read_header;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Progress of an operation on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeProgress<'a> {
    pub path: &'a Path,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub done_segments: u64,
    pub total_segments: u64,
}

/// The result of [`verify_volume`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeReport {
    /// The process that has the volume open, if any: what it is writing is left out.
    pub in_use_by: Option<String>,
    pub sound_segments: u64,
    /// Not sealed: left out while a process writes them, else read as far as they go.
    pub unsealed_segments: u64,
    /// Deleted by the running node during verification.
    pub deleted_segments: u64,
    pub read_bytes: u64,
    pub sound_chunks: u64,
    pub lost_chunks: u64,
    pub damaged: Vec<DamagedSegment>,
    /// Segments that could not be verified: unreadable, or of a newer version.
    pub failed: Vec<FailedSegment>,
    /// By camera and stream.
    pub losses: Vec<Loss>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedSegment {
    pub path: PathBuf,
    pub report: Report,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedSegment {
    pub path: PathBuf,
    pub error: String,
}

/// The losses of one stream, and the interval that they lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub chunks: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl VolumeReport {
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.failed.is_empty()
    }
}

/// The result of [`rebuild_catalogue`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildReport {
    pub listed_segments: u64,
    /// To be closed and listed by the node when it starts.
    pub unsealed_segments: u64,
    pub failed: Vec<FailedSegment>,
}

pub(super) struct Segment {
    pub(super) id: SegmentId,
    class: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

pub(super) struct Opened {
    pub(super) disk: RealDisk,
    pub(super) layout: Layout,
    /// By id.
    pub(super) segments: Vec<Segment>,
}

/// Reads everything and checks every checksum. Changes nothing, and can run while a node has the
/// volume open.
///
/// # Errors
/// The directory is no volume, or cannot be listed. Damage is no error.
pub fn verify_volume(
    dir: &Path,
    mut progress: impl FnMut(&VolumeProgress<'_>),
) -> Result<VolumeReport, Error> {
    let opened = open(dir)?;
    let mut report = VolumeReport {
        in_use_by: Lock::holder(opened.disk.root())?,
        ..VolumeReport::default()
    };
    let mut losses = BTreeMap::new();
    let mut current = opened.progress();
    for segment in &opened.segments {
        let before = current.done_bytes;
        current.path = &segment.path;
        if report.in_use_by.is_some() && !opened.is_sealed(segment) {
            report.unsealed_segments += 1;
        } else {
            let verified = verify(&segment.path, |done, _| {
                current.done_bytes = before + done;
                progress(&current);
            });
            report.take(segment, verified, &mut losses);
        }
        current.done_bytes = before + segment.bytes;
        current.done_segments += 1;
        progress(&current);
    }
    report.losses = losses.into_values().collect();
    Ok(report)
}

impl VolumeReport {
    fn take(
        &mut self,
        segment: &Segment,
        verified: Result<Report, Error>,
        losses: &mut BTreeMap<(CameraId, StreamKind), Loss>,
    ) {
        let path = segment.path.clone();
        let report = match verified {
            Ok(report) => report,
            Err(_) if self.in_use_by.is_some() && !path.exists() => {
                return self.deleted_segments += 1;
            }
            Err(error) => {
                return self.failed.push(FailedSegment {
                    path,
                    error: error.to_string(),
                });
            }
        };
        self.read_bytes += segment.bytes;
        self.unsealed_segments += u64::from(report.is_footer_sound.is_none());
        self.sound_chunks += report.chunks_sound;
        self.lost_chunks += report.chunks_lost;
        report.lost.iter().for_each(|lost| add_loss(losses, lost));
        if report.is_sound() {
            self.sound_segments += 1;
        } else {
            self.damaged.push(DamagedSegment { path, report });
        }
    }
}

fn add_loss(losses: &mut BTreeMap<(CameraId, StreamKind), Loss>, lost: &LostChunk) {
    let LostChunk {
        camera,
        stream,
        start,
        end,
        ..
    } = *lost;
    let none = Loss {
        camera,
        stream,
        chunks: 0,
        first: start,
        last: end,
    };
    let loss = losses.entry((camera, stream)).or_insert(none);
    loss.chunks += 1;
    (loss.first, loss.last) = (loss.first.min(start), loss.last.max(end));
}

/// Deletes the catalogue and lists every sealed segment in a new one. Takes the volume's lock;
/// touches nothing but the catalogue.
///
/// # Errors
/// The directory is no volume, a process has it open, or the catalogue cannot be written.
pub fn rebuild_catalogue(
    dir: &Path,
    mut progress: impl FnMut(&VolumeProgress<'_>),
) -> Result<RebuildReport, Error> {
    let opened = open(dir)?;
    let _lock = Lock::take(opened.disk.root())?;
    let volume = opened.volume()?;
    let path = opened.layout.catalogue();
    let failed = |problem: String| Error::Catalogue {
        path: path.clone(),
        problem,
    };
    crate::keeper::delete_dir(&path).map_err(|error| failed(error.to_string()))?;
    let catalogue = Catalogue::open(&path, volume).map_err(|error| failed(error.to_string()))?;
    let mut report = RebuildReport::default();
    let mut current = opened.progress();
    for segment in &opened.segments {
        current.path = &segment.path;
        match opened.sealed(segment) {
            Ok(Some((trailer, head))) => {
                catalogue
                    .insert(&segment.class, &trailer, &head, true)
                    .map_err(|error| failed(error.to_string()))?;
                report.listed_segments += 1;
            }
            Ok(None) => report.unsealed_segments += 1,
            Err(error) => {
                report.failed.push(FailedSegment {
                    path: segment.path.clone(),
                    error: error.to_string(),
                });
            }
        }
        current.done_bytes += segment.bytes;
        current.done_segments += 1;
        progress(&current);
    }
    catalogue
        .flush()
        .map_err(|error| failed(error.to_string()))?;
    Ok(report)
}

pub(super) fn open(dir: &Path) -> Result<Opened, Error> {
    let layout = Layout {
        root: dir.to_owned(),
    };
    let disk = match RealDisk::new(IoChoice::Plain, dir) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(Error::NoVolume {
                path: dir.to_owned(),
            });
        }
        other => other.map_err(Error::io("open", dir))?,
    };
    let root = layout.segments();
    let classes = match disk.list(&root) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(Error::NoVolume {
                path: dir.to_owned(),
            });
        }
        other => other.map_err(Error::io("list", &root))?,
    };
    let mut segments = Vec::new();
    for class in classes
        .into_iter()
        .filter(|entry| entry.is_dir)
        .map(|entry| entry.name)
    {
        let path = layout.class(&class);
        for file in disk.list(&path).map_err(Error::io("list", &path))? {
            let Some(id) = parse_file_name(&file.name) else {
                continue;
            };
            segments.push(Segment {
                id,
                class: class.clone(),
                path: path.join(&file.name),
                bytes: file.bytes,
            });
        }
    }
    segments.sort_by_key(|segment| segment.id);
    Ok(Opened {
        disk,
        layout,
        segments,
    })
}

impl Opened {
    fn progress(&self) -> VolumeProgress<'_> {
        VolumeProgress {
            path: &self.layout.root,
            done_bytes: 0,
            total_bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
            done_segments: 0,
            total_segments: self.segments.len() as u64,
        }
    }

    /// Footer and trailer, `None` if there are none that can be trusted.
    fn sealed(
        &self,
        segment: &Segment,
    ) -> Result<Option<(crate::format::Trailer, crate::format::FooterHead)>, Error> {
        let path = &segment.path;
        let file = self.disk.open_read(path).map_err(Error::io("open", path))?;
        match read_sealed(&*file, path)? {
            Sealed::Yes(trailer, _) if trailer.segment != segment.id => {
                Err(Error::format(path)(FormatError::Invalid {
                    what: "segment's number",
                }))
            }
            Sealed::Yes(trailer, head) => Ok(Some((trailer, head))),
            Sealed::No(_) => Ok(None),
        }
    }

    /// A segment that cannot be read is not assumed to be open.
    fn is_sealed(&self, segment: &Segment) -> bool {
        !matches!(self.sealed(segment), Ok(None))
    }

    /// The volume's id, from its own file or the newest segment whose header can be read.
    fn volume(&self) -> Result<Uuid, Error> {
        if let Some(identity) = identity::read(&self.disk, &self.layout)? {
            return Ok(identity.volume);
        }
        let of_segment = |segment: &Segment| {
            let file = self.disk.open_read(&segment.path).ok()?;
            read_header(&*file, &segment.path)
                .ok()?
                .map(|header| header.volume)
        };
        let found = self.segments.iter().rev().find_map(of_segment);
        found.ok_or_else(|| Error::NoVolume {
            path: self.layout.root.clone(),
        })
    }
}
