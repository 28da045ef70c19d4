//! Files that the store removed: whether it might, and what need not be there any more.

use crate::mistyped::written;
use crate::oracle::{Key, Oracle};
use crate::plan::Plan;
use holdfast_storage::format::BLOCK_BYTES;
use holdfast_storage::simulation::{SimulatedDisk, scan, segment_of};
use holdfast_storage::{Range, Scan, VolumeHandle};
use std::path::PathBuf;

/// A segment with something in it that was removed.
pub(crate) struct Gone {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// Looks at what was removed since the last time, and adds it to `gone`. `handle` is that of a
/// volume that runs.
pub(crate) fn take_removed(
    plan: &Plan,
    disk: &SimulatedDisk,
    oracle: &mut Oracle,
    handle: Option<&VolumeHandle>,
    gone: &mut Vec<Gone>,
) -> Result<(), String> {
    let removed = disk.take_removed();
    for (path, contents) in removed {
        // Opened ahead, or nothing reached it: there is nothing behind its header.
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

/// What is held stands in another segment, and is listed there.
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
        // The catalogue may be away.
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
