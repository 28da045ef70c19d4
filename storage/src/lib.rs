//! The segment store: ids and times, the chunk/batch/segment format, writer, reader, recovery, catalogue and retention.
//!
//! `ids`, `time`, `chunk` and `timeline` are the vocabulary that every other crate shares; nothing in them reads a clock or does I/O.

pub mod chunk;
pub mod ids;
pub mod time;
pub mod timeline;
