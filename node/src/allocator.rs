//! Settings of glibc's allocator, so that memory that one camera needed goes back to the system.
#![expect(unsafe_code, reason = "the allocator's settings have no safe wrapper")]

/// Larger blocks are mapped separately and unmapped when they are freed. glibc would otherwise
/// raise this to the largest block that was ever freed (up to 32 MiB), and keep all smaller ones.
const MAPPED_FROM_BYTES: i32 = 512 << 10;

/// The free memory that may stay at the end of a heap. glibc would raise it together with the
/// above.
const KEPT_BYTES: i32 = 256 << 10;

/// The number of heaps, for any number of threads: memory that one thread has freed is available to
/// the others.
const HEAPS: i32 = 2;

/// Applies the settings. To be called before other threads allocate.
///
/// # Errors
/// The name of the first setting that was refused.
#[cfg(target_env = "gnu")]
pub(crate) fn set_up() -> Result<(), &'static str> {
    let settings = [
        (
            "M_MMAP_THRESHOLD",
            libc::M_MMAP_THRESHOLD,
            MAPPED_FROM_BYTES,
        ),
        ("M_TRIM_THRESHOLD", libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        ("M_ARENA_MAX", libc::M_ARENA_MAX, HEAPS),
    ];
    for (name, setting, value) in settings {
        // SAFETY: `mallopt` takes two integers, changes the allocator's own state under its lock,
        // and refuses what it does not know.
        if unsafe { libc::mallopt(setting, value) } != 1 {
            return Err(name);
        }
    }
    Ok(())
}

/// Other C libraries have no such settings.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn set_up() -> Result<(), &'static str> {
    Ok(())
}
