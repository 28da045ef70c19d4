//! Turns a session's frames into records for the volume writer.
//!
//! `chunker`, `gaps` and `reconcile` are deciding code: time is passed in. `pipeline` applies a
//! session's items to them without waiting for anything. `task` and `supervisor` run it.

pub mod accounts;
mod awaited;
pub mod chunker;
pub mod contact;
mod corrections;
pub mod gaps;
pub mod mux;

pub mod pipeline;
pub mod reconcile;
pub mod sink;
pub mod status;
pub mod supervisor;
pub mod task;
mod track;
