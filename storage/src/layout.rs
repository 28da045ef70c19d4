//! File names and directories of a data directory.

use crate::ids::SegmentId;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".hfs";
const DIGITS: usize = 10;

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("volume.json")
    }

    pub(crate) fn catalogue(&self) -> PathBuf {
        self.root.join("catalogue")
    }

    pub(crate) fn scrub(&self) -> PathBuf {
        self.root.join("scrub.json")
    }

    pub(crate) fn retention(&self) -> PathBuf {
        self.root.join("retention.json")
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("cameras.json")
    }

    pub(crate) fn adoption(&self) -> PathBuf {
        self.root.join("adopted.json")
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(crate) fn class(&self, class: &str) -> PathBuf {
        self.segments().join(class)
    }

    pub(crate) fn segment(&self, class: &str, id: SegmentId) -> PathBuf {
        self.class(class).join(file_name(id))
    }
}

fn file_name(id: SegmentId) -> String {
    format!("{:0DIGITS$}{SUFFIX}", id.0)
}

/// The id of a segment file, from its name alone.
pub(crate) fn parse_file_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_canonical = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let id = SegmentId(digits.parse().ok().filter(|_| is_canonical)?);
    (file_name(id) == name).then_some(id)
}

/// Id and class of a segment file, from its path alone.
pub(crate) fn parse_path(path: &Path) -> Option<(SegmentId, &str)> {
    let id = parse_file_name(path.file_name()?.to_str()?)?;
    Some((id, path.parent()?.file_name()?.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_id_and_only_canonical_ones_count() {
        assert!(file_name(SegmentId(9)) < file_name(SegmentId(10)));
        assert_eq!(parse_file_name("0000000012.hfs"), Some(SegmentId(12)));
        assert_eq!(
            parse_file_name(&file_name(SegmentId(123_456_789_012))),
            Some(SegmentId(123_456_789_012))
        );
        for name in [
            "12.hfs",
            "000000000012.hfs",
            "0000000012.hfs.next",
            "+000000012.hfs",
            "lock",
        ] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
