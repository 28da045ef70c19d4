//! What a run is given.

use crate::scenario::Place;
use crate::scenario::Scenario;
use crate::stage::{Attach, Namespaces};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct RunOptions {
    pub scenario: Scenario,
    pub place: Place,
    pub seed: u64,
    /// Before each line of progress, where several runs are beside each other.
    pub label: Option<String>,
    pub namespaces: Option<Arc<Mutex<Namespaces>>>,
    pub attach: Option<Attach>,
    /// Where history, report and logs go; made where it is not.
    pub out: PathBuf,
    /// The line that repeats the run.
    pub repeat: String,
    /// What it runs on, in words.
    pub machine: String,
    /// Keeps configurations and recordings too.
    pub keep: bool,
}
