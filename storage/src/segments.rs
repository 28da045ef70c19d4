//! The segment files of a volume, and what is known of them.

use crate::Error;
use crate::disk::Disk;
use crate::format::{BLOCK_BYTES, SegmentHeader};
use crate::ids::SegmentId;
use crate::layout::{Layout, parse_file_name};
use crate::time::Timestamp;
use std::sync::Arc;
use uuid::Uuid;

/// A segment file that existed when the volume was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: SegmentId,
    pub(crate) class: Arc<str>,
    /// 0 until the catalogue is opened.
    pub(crate) bytes: u64,
}

/// A sealed and indexed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) class: Arc<str>,
    pub(crate) bytes: u64,
    pub(crate) closed_at: Timestamp,
}

/// Every segment file of any class, not measured; files with other names are ignored.
pub(crate) fn find_segments(disk: &dyn Disk, layout: &Layout) -> Result<Vec<Found>, Error> {
    let root = layout.segments();
    let mut found = Vec::new();
    let mut classes: Vec<Arc<str>> = Vec::new();
    let mut add = |name: &str, is_dir: bool| classes.extend(is_dir.then(|| Arc::from(name)));
    disk.each_name(&root, &mut add)
        .map_err(Error::io("list", &root))?;
    for class in classes {
        let path = layout.class(&class);
        let of = |id| Found {
            id,
            class: Arc::clone(&class),
            bytes: 0,
        };
        let mut add = |name: &str, _| found.extend(parse_file_name(name).map(of));
        disk.each_name(&path, &mut add)
            .map_err(Error::io("list", &path))?;
    }
    Ok(found)
}

pub(crate) fn identity_of_segments(
    disk: &dyn Disk,
    layout: &Layout,
    found: &[Found],
) -> Option<(Uuid, Uuid)> {
    let mut newest_first: Vec<&Found> = found.iter().collect();
    newest_first.sort_by_key(|found| std::cmp::Reverse(found.id));
    newest_first.into_iter().find_map(|found| {
        let file = disk
            .open_read(&layout.segment(&found.class, found.id))
            .ok()?;
        let mut block = vec![0; BLOCK_BYTES];
        file.read_exact_at(&mut block, 0).ok()?;
        let header = SegmentHeader::decode(&block).ok()?;
        Some((header.volume, header.cluster))
    })
}
