//! Retention's state over a restart, in one small file. If it is lost or unreadable, the newest
//! footage shows what time it was, and announced deletions wait again.

use super::brake::{Announcement, Subject};
use super::marks::{MARKS_MAX, Marks};
use crate::Error;
use crate::class::CLASSES_MAX;
use crate::disk::Disk;
use crate::layout::Layout;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use uuid::Uuid;

/// Another version is not read.
const FILE_VERSION: u16 = 1;

/// A longer file is not one of these.
const FILE_BYTES_MAX: u64 = 128 * MARKS_MAX as u64 + 1024 * (CLASSES_MAX as u64 + 2);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// When the time was trusted last.
    pub(crate) trusted: Option<Timestamp>,
    /// An operator has refused the clock as it was then.
    pub(crate) is_refused: bool,
    pub(crate) marks: Marks,
    pub(crate) announced: Vec<(Subject, Announcement)>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u16,
    volume: Uuid,
    trusted: Option<Timestamp>,
    is_refused: bool,
    marks: Marks,
    announced: Vec<(Subject, Announcement)>,
}

impl Remembered {
    /// The content of the volume's file; empty if there is no usable one.
    pub(crate) fn load(disk: &dyn Disk, layout: &Layout, volume: Uuid) -> Self {
        match load(disk, layout, volume) {
            Ok(remembered) => remembered,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(
                    path = %layout.retention().display(), %error,
                    "what retention remembers cannot be used; announced deletions wait again"
                );
                Self::default()
            }
        }
    }

    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self, disk: &dyn Disk, layout: &Layout, volume: Uuid) -> Result<(), Error> {
        let Self {
            trusted,
            is_refused,
            marks,
            announced,
        } = self.clone();
        let path = layout.retention();
        let file = File {
            version: FILE_VERSION,
            volume,
            trusted,
            is_refused,
            marks,
            announced,
        };
        let text = serde_json::to_vec(&file)
            .map_err(|error| Error::io("encode", &path)(io::Error::other(error)))?;
        disk.replace(&path, &text)
            .map_err(Error::io("write", &path))
    }
}

fn load(disk: &dyn Disk, layout: &Layout, volume: Uuid) -> io::Result<Remembered> {
    let file = disk.open_read(&layout.retention())?;
    let bytes = file.bytes()?;
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is {bytes} bytes long")));
    }
    let mut text = vec![0; bytes as usize];
    file.read_exact_at(&mut text, 0)?;
    let file: File = serde_json::from_slice(&text).map_err(io::Error::other)?;
    if (file.version, file.volume) != (FILE_VERSION, volume) {
        return Err(io::Error::other(
            "it is of another version or another volume",
        ));
    }
    let File {
        trusted,
        is_refused,
        marks,
        announced,
        ..
    } = file;
    Ok(Remembered {
        trusted,
        is_refused,
        marks,
        announced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{IoChoice, RealDisk};
    use crate::ids::SegmentId;
    use crate::retention::brake::{Brake, Wish};
    use std::time::Duration;

    #[test]
    fn comes_back_and_anything_else_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, layout) = (
            RealDisk::new(IoChoice::Plain, dir.path()).unwrap(),
            Layout {
                root: dir.path().into(),
            },
        );
        let volume = Uuid::from_u128(1);
        assert_eq!(
            Remembered::load(&disk, &layout, volume),
            Remembered::default()
        );
        let mut brake = Brake::new(Duration::from_secs(60), Vec::new());
        let wish = Wish {
            bytes: 90,
            stored_bytes: 100,
            largest_bytes: 1,
            limits: 7,
        };
        brake.allow(&Subject::Class("a".to_owned()), wish, Duration::ZERO);
        let mut remembered = Remembered {
            trusted: Some(Timestamp(5)),
            is_refused: true,
            marks: Marks::default(),
            announced: brake
                .announced()
                .map(|(subject, announced)| (subject.clone(), *announced))
                .collect(),
        };
        for n in 0..MARKS_MAX as i64 {
            remembered.marks.begin(
                SegmentId(u64::MAX - 2_000 + n as u64),
                Timestamp(1_795_000_000_000_001 + n),
                true,
            );
        }
        remembered.save(&disk, &layout, volume).unwrap();
        assert_eq!(Remembered::load(&disk, &layout, volume), remembered);
        assert_eq!(
            Remembered::load(&disk, &layout, Uuid::from_u128(2)),
            Remembered::default()
        );
        let text = std::fs::read(layout.retention()).unwrap();
        std::fs::write(layout.retention(), &text[..text.len() / 2]).unwrap();
        assert_eq!(
            Remembered::load(&disk, &layout, volume),
            Remembered::default()
        );
    }
}
