//! What commands and the demo share for the terminal: errors with exit codes, output, clocks.

pub mod clock;
pub mod error;
pub(crate) mod output;
