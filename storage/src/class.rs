//! Retention classes of a volume. Each class has its own segments.

use crate::format::CLASS_NAME_BYTES_MAX;
use std::time::Duration;

/// The most retention classes of one volume; each has a segment open.
pub const CLASSES_MAX: usize = 16;

/// A retention class of one volume, as [`crate::VolumeHandle::class`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub(crate) u16);

/// How long one class of recordings is kept on a volume. The first limit to be reached deletes the
/// oldest segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionClass {
    /// 1 to 64 of `a-z 0-9 - _`: it names a directory.
    pub name: String,
    /// Counted from the last write of a segment.
    pub age_max: Option<Duration>,
    pub bytes_max: Option<u64>,
}

pub(crate) fn is_class_name(name: &str) -> bool {
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    (1..=CLASS_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}
