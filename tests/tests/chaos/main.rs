//! The program `holdfast-chaos` itself: its output, and that it leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod attach;
mod leftovers;
mod program;
mod usage;
