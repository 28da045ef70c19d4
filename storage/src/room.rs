//! Space that is reserved ahead of writing.

/// Space is reserved in steps of this size, so that writes need not extend the file.
pub const ALLOCATE_STEP_BYTES: u64 = 64 << 20;

/// The step is halved down to this when the disk is nearly full.
pub(crate) const ALLOCATE_BYTES_MIN: u64 = 2 << 20;

/// The step in which space is reserved on a volume of `total_bytes` with this many classes, each of
/// which has one open segment and one opened ahead. On a small volume the step is smaller, so that
/// they take no more than a quarter of it.
pub(crate) fn allocate_step(total_bytes: u64, classes: usize) -> u64 {
    (total_bytes / RESERVED_SHARE / (2 * classes.max(1) as u64))
        .clamp(ALLOCATE_BYTES_MIN, ALLOCATE_STEP_BYTES)
}

/// The inverse of the share of a volume that open segments and those opened ahead may reserve.
pub(crate) const RESERVED_SHARE: u64 = 4;
