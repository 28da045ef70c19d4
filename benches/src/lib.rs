//! What the measurements share: figures with their targets, what a process costs, fio as the disk's
//! yardstick, nodes with cameras, and what they recorded.
//!
//! Each program in `src/bin` measures one set of figures against its peer or its bound in one run,
//! prints them (`--json`: one object on the last line), and ends with exit code 1 where a figure is
//! missed. `RESULTS.md` keeps what they said.

pub mod cameras;
pub mod clock;
pub mod figure;
pub mod fio;
pub mod footage;
pub mod machine;
pub mod numbers;
pub mod process;
pub mod rig;

/// A measurement that could not be made; the text says why. Nobody handles it but by printing it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
