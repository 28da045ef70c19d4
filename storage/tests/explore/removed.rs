//! Files that the store removed: whether it was allowed to, and what may be missing from now on.

use crate::mistyped::written;
use crate::oracle::{Key, Oracle};
use crate::plan::Plan;
use holdfast_storage::format::BLOCK_BYTES;
use holdfast_storage::simulation::{SimulatedDisk, scan, segment_of};
use holdfast_storage::{Range, Scan, VolumeHandle};
use std::path::PathBuf;

/// A removed segment that was not empty.
pub(crate) struct Gone {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// Checks what was removed since the last call, and adds it to `gone`. `handle` is that of a
/// running volume.
pub(crate) fn take_removed(
    plan: &Plan,
    disk: &SimulatedDisk,
    oracle: &mut Oracle,
    handle: Option<&VolumeHandle>,
    gone: &mut Vec<Gone>,
) -> Result<(), String> {
    let removed = disk.take_removed();
    for (path, contents) in removed {
        // Opened ahead, or nothing was written to it: nothing follows its header.
        let is_blank = contents.iter().skip(BLOCK_BYTES).all(|byte| *byte == 0);
        if !is_blank && !plan.may_delete() {
            return Err(format!("{} was deleted without a reason", path.display()));
        }
        gone.push(Gone {
            path: path.clone(),
            bytes: if is_blank { 0 } else { written(&contents) },
        });
        let id = segment_of(&path).ok_or_else(|| format!("{} was deleted", path.display()))?;
        let scan = scan(contents, id).map_err(|error| error.to_string())?;
        if let Some(handle) = handle {
            check_held(&scan, oracle, handle)
                .map_err(|problem| format!("{}: {problem}", path.display()))?;
        }
        oracle.excuse_all(&scan);
    }
    Ok(())
}

/// Held footage is stored and listed in another segment.
fn check_held(scan: &Scan, oracle: &Oracle, handle: &VolumeHandle) -> Result<(), String> {
    for row in scan.index.tracks().values().flatten() {
        let meta = &row.meta;
        let key = Key::of(meta);
        if !oracle
            .chunks
            .get(&key)
            .is_some_and(|accepted| oracle.is_kept(accepted))
        {
            continue;
        }
        let to = meta.end().max(meta.start.plus_micros(1));
        // The catalogue may not be open.
        let Ok(listed) = handle.entries(Range {
            camera: meta.camera,
            stream: meta.stream,
            from: meta.start,
            to,
        }) else {
            continue;
        };
        if !listed.iter().any(|entry| Key::of(&entry.meta) == key) {
            return Err(format!(
                "deleted, though held and listed nowhere else: {meta:?}"
            ));
        }
    }
    Ok(())
}
