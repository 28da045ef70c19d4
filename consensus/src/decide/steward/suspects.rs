//! Cameras that may have ended nodes' processes: the leader records the ends in the log before it
//! moves the cameras, and clears cameras that have proved themselves.

use super::Input;
use crate::command::Command;
use crate::decide::suspects::survives;
use holdfast_storage::ids::CameraId;

pub(super) fn commands(input: &Input<'_>) -> Vec<Command> {
    let ends = input
        .ends
        .unnoted(input.state)
        .into_iter()
        .map(|(end, _)| Command::NoteEnd(end.clone()));
    let suspected = input.state.suspicions.keys();
    let proven: Vec<CameraId> = suspected
        .filter(|camera| survives(*camera, input.verdicts, input.progress))
        .collect();
    let clear = (!proven.is_empty()).then_some(Command::ClearCameras { cameras: proven });
    ends.chain(clear).collect()
}
