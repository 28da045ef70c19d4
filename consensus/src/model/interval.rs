//! Intervals of footage that users name.

use super::text::Invalid;
use holdfast_storage::time::Timestamp;

/// `hint`: an alternative for the user.
///
/// # Errors
/// The interval is empty or ends before it begins.
pub(super) fn check_order(from: Timestamp, to: Timestamp, hint: &str) -> Result<(), Invalid> {
    if to > from {
        return Ok(());
    }
    Err(Invalid::new(
        "to",
        format!("is {to}, which is not after `from` ({from}){hint}"),
    ))
}
