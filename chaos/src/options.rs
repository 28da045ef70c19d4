//! The options of a run.

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
    /// Printed before each line of progress, if several runs are in progress at once.
    pub label: Option<String>,
    pub namespaces: Option<Arc<Mutex<Namespaces>>>,
    pub attach: Option<Attach>,
    /// Folder for history, report and logs; created if it does not exist.
    pub out: PathBuf,
    /// The command line that repeats the run.
    pub repeat: String,
    /// The machine, as text.
    pub machine: String,
    /// Also keeps configurations and recordings.
    pub keep: bool,
}
