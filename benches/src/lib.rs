//! Shared by the measurements: figures with their targets, the cost of a process, fio as the disk's
//! yardstick, nodes with cameras, and their recordings.
//!
//! Each program in `src/bin` measures one set of figures against its peer or its bound in one run,
//! prints them (`--json`: one object on the last line), and ends with exit code 1 if a figure
//! misses its target. `RESULTS.md` keeps the results.

pub mod cameras;
pub mod clock;
pub mod figure;
pub mod fio;
pub mod footage;
pub mod machine;
pub mod numbers;
pub mod process;
pub mod rig;

/// A measurement that could not be made; the text says why. Programs only print it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
