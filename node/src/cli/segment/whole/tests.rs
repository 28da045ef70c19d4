//! Whole volumes: over all segments, of several disks, with damage.

use super::super::tests::{CHUNK_US, FRAME_BYTES, T0, append, chunk, exit, extracted, frame, init};
use super::*;
use crate::cli::args::StreamArg;
use crate::cli::segment::list::Listing;
use holdfast_storage::chunk::{Chunk, ChunkMeta, Gap, GapCause, Init, Record};
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::{Epoch, NodeId, StreamKind};
use holdfast_storage::{CurrentName, Volume, VolumeOptions};
use std::ops::Range as Sequences;
use tempfile::TempDir;
use uuid::Uuid;

/// So many chunks of two cameras fill several segments.
const MANY: u32 = 60;

struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Cameras 1 (`gate`) and 2 (`yard`) as node `node` recorded them, in the epoch of its number.
    fn of(node: u64, cluster: u128, sequences: Sequences<u32>, gaps: &[Gap]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options =
            VolumeOptions::new(dir.path().join("v"), NodeId(node), Uuid::from_u128(cluster));
        (
            options.io,
            options.free_bytes_min,
            options.segment_bytes_max,
        ) = (IoChoice::Plain, 0, 2 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (volume, handle) = Volume::open(options).unwrap();
            for camera in [1, 2] {
                let (stream, track) = (StreamKind::Main, TrackKind::Video);
                append(
                    &handle,
                    Record::Init(Init {
                        camera: CameraId(camera),
                        stream,
                        track,
                        bytes: init(),
                    }),
                );
            }
            for sequence in sequences {
                for camera in [1, 2] {
                    let Chunk { meta, parts } = chunk(camera, sequence);
                    let meta = ChunkMeta {
                        node: NodeId(node),
                        epoch: Epoch(node),
                        ..meta
                    };
                    append(&handle, Record::Chunk(Chunk { meta, parts }));
                }
                handle.flush().await.unwrap();
            }
            gaps.iter()
                .for_each(|gap| append(&handle, Record::Gap(*gap)));
            let names = [(1, "gate"), (2, "yard")].map(|(camera, name)| CurrentName {
                camera: CameraId(camera),
                name: name.to_owned(),
                deleted: None,
            });
            assert!(handle.keep_names(&names, T0).unwrap());
            handle.close().await.unwrap();
            volume.run().await.unwrap();
        });
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("v")
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.path().join("segments/default")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Flips a bit of camera 1's chunk `sequence`, wherever it is.
    fn flip(&self, sequence: u32) {
        let frame = frame(1, sequence);
        for path in self.segments() {
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(at) = bytes
                .windows(FRAME_BYTES)
                .position(|window| window == frame)
            {
                bytes[at + FRAME_BYTES / 2] ^= 4;
                return std::fs::write(&path, bytes).unwrap();
            }
        }
        panic!("there is no chunk {sequence}");
    }
}

fn args(output: &Path, camera: Option<&str>) -> ExtractArgs {
    ExtractArgs {
        sources: Vec::new(),
        all: false,
        camera: camera.map(str::to_owned),
        stream: StreamArg::Main,
        from: None,
        to: None,
        strict: false,
        output: output.to_owned(),
        force: true,
    }
}

fn at(sequence: u32) -> Timestamp {
    T0.plus_micros(i64::from(sequence) * i64::from(CHUNK_US))
}

fn extract_to(disks: &[&Disk], args: &ExtractArgs) -> Result<Extraction, CliError> {
    extract(
        &disks.iter().map(|disk| disk.path()).collect::<Vec<_>>(),
        args,
    )
}

#[test]
fn a_camera_is_written_over_all_segments_by_its_name() {
    let disk = Disk::of(1, 1, 0..MANY, &[]);
    assert!(disk.segments().len() > 1, "one segment proves nothing");
    let out = disk.dir.path().join("out.mp4");
    let done = extract_to(&[&disk], &args(&out, Some("gate"))).unwrap();
    assert!(
        done.gaps.is_empty() && exit(done.verdict()) == 0,
        "{done:?}"
    );
    assert_eq!(done.files[0].name.as_deref(), Some("gate"));
    assert_eq!(
        extracted(&out),
        (0..MANY)
            .map(|n| (u64::from(n), n as u8))
            .collect::<Vec<_>>()
    );
    let ranged = ExtractArgs {
        from: Some(at(31).to_string()),
        to: Some(at(33).to_string()),
        ..args(&out, Some("1"))
    };
    assert!(extract_to(&[&disk], &ranged).unwrap().gaps.is_empty());
    assert_eq!(
        extracted(&out),
        [(0, 30), (1, 31), (2, 32)],
        "from the keyframe before"
    );
}

#[test]
fn what_there_is_is_listed_with_names() {
    let disk = Disk::of(3, 1, 0..MANY, &[]);
    let listing = Listing::of(&shelf::open(&[disk.path()]).unwrap());
    let yard = &listing.streams[1];
    assert_eq!(
        (yard.camera, yard.names.as_slice()),
        (CameraId(2), &["yard".to_owned()][..])
    );
    assert_eq!(
        (yard.from, yard.to, yard.chunks),
        (at(0), at(MANY), u64::from(MANY))
    );
    let text = crate::cli::segment::list::describe(&listing);
    assert!(
        text.contains("recorded by node 3") && text.contains("yard"),
        "{text}"
    );
}

#[test]
fn several_disks_are_merged_and_what_none_has_is_named_with_its_cause() {
    let node_down = Gap {
        camera: CameraId(1),
        stream: StreamKind::Main,
        node: NodeId(1),
        epoch: Epoch(1),
        start: at(40),
        end: at(50),
        cause: GapCause::NodeDown,
        frames_missing: None,
    };
    let (one, two) = (
        Disk::of(1, 1, 0..40, &[]),
        Disk::of(2, 1, 20..30, &[node_down]),
    );
    let three = Disk::of(2, 1, 50..60, &[]);
    let out = one.dir.path().join("out.mp4");
    let done = extract_to(&[&two, &one, &three], &args(&out, Some("gate"))).unwrap();
    let expected: Vec<_> = (0..40).chain(50..60).map(|n| (n, n as u8)).collect();
    assert_eq!(extracted(&out), expected, "each once, and none is missing");
    let hole = Hole {
        camera: CameraId(1),
        start: at(40),
        end: at(50),
        cause: GapCause::NodeDown,
    };
    assert_eq!((done.gaps.as_slice(), done.gap_ms), (&[hole][..], 5_000));
    assert!(
        describe(&done).contains("5.000 s  node_down"),
        "{}",
        describe(&done)
    );
}

#[test]
fn damage_costs_what_is_damaged_and_is_named() {
    let disk = Disk::of(1, 1, 0..MANY, &[]);
    disk.flip(4);
    let out = disk.dir.path().join("out.mp4");
    let done = extract_to(&[&disk], &args(&out, Some("gate"))).unwrap();
    assert_eq!(
        (
            done.damaged.len(),
            done.damaged[0].chunks,
            exit(done.verdict())
        ),
        (1, 1, 1)
    );
    assert_eq!(
        done.gaps,
        [Hole {
            camera: CameraId(1),
            start: at(4),
            end: at(5),
            cause: GapCause::Damaged
        }]
    );
    let kept: Vec<u8> = extracted(&out).into_iter().map(|(_, byte)| byte).collect();
    assert_eq!(
        kept,
        (0..MANY as u8)
            .filter(|byte| *byte != 4)
            .collect::<Vec<_>>()
    );
    // Its copy on another disk makes up for it.
    let whole = Disk::of(1, 1, 0..MANY, &[]);
    assert!(
        extract_to(&[&disk, &whole], &args(&out, Some("gate")))
            .unwrap()
            .gaps
            .is_empty()
    );
    assert_eq!(extracted(&out).len(), MANY as usize);
    // A file that is no valid segment any more.
    let first = disk.segments().into_iter().min().unwrap();
    std::fs::write(&first, vec![0; 10]).unwrap();
    let done = extract_to(&[&disk], &args(&out, Some("gate"))).unwrap();
    assert_eq!(
        (done.not_read.len(), exit(done.verdict())),
        (1, 1),
        "{done:?}"
    );
    assert!(!extracted(&out).is_empty());
}

#[test]
fn all_cameras_go_into_a_folder() {
    let disk = Disk::of(1, 1, 0..4, &[]);
    let folder = disk.dir.path().join("out/");
    assert_eq!(
        exit(
            extract_to(
                &[&disk],
                &ExtractArgs {
                    all: true,
                    ..args(&disk.dir.path().join("file"), None)
                }
            )
            .map(drop)
        ),
        2
    );
    let done = extract_to(
        &[&disk],
        &ExtractArgs {
            all: true,
            ..args(&PathBuf::from(format!("{}/", folder.display())), None)
        },
    )
    .unwrap();
    assert_eq!(done.files.len(), 2, "{done:?}");
    let name = done.files[1].file.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("camera-2-yard_2026-") && !name.contains(':'),
        "{name}"
    );
    assert_eq!(extracted(&done.files[1].file).len(), 4);
}

#[test]
fn what_cannot_be_chosen_says_what_there_is() {
    let (disk, other) = (Disk::of(1, 1, 0..4, &[]), Disk::of(1, 2, 0..4, &[]));
    let out = disk.dir.path().join("out.mp4");
    let refused =
        |disks: &[&Disk], camera: Option<&str>| extract_to(disks, &args(&out, camera)).unwrap_err();
    let ambiguous = refused(&[&disk], None);
    assert!(
        ambiguous.kind as u8 == 2 && ambiguous.message.contains("1 (gate), 2 (yard)"),
        "{ambiguous}"
    );
    let unknown = refused(&[&disk], Some("door"));
    assert!(
        unknown.kind as u8 == 3 && unknown.message.contains("2 (yard)"),
        "{unknown}"
    );
    let foreign = refused(&[&disk, &other], Some("gate"));
    assert!(
        foreign.kind as u8 == 2 && foreign.message.contains("different clusters"),
        "{foreign}"
    );
    let long = ExtractArgs {
        from: Some("2020-01-01T00:00:00Z".to_owned()),
        ..args(&out, Some("gate"))
    };
    assert!(
        extract_to(&[&disk], &long)
            .unwrap_err()
            .message
            .contains("24 h")
    );
    assert!(!out.exists());
}
