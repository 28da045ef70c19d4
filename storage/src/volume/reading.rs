//! Opens a volume that cannot be written, so that its footage can be read: without a lock file and
//! a writer, and with a catalogue elsewhere. Its node treats it as a failed volume.

use super::{Volume, VolumeHandle, now};
use crate::Error;
use crate::clock::SystemClock;
use crate::disk::{Disk, RealDisk, Root};
use crate::identity::{self, Lock};
use crate::ids::SegmentId;
use crate::intake::Intake;
use crate::keeper::{Keeper, keep};
use crate::layout::Layout;
use crate::locks::write;
use crate::options::VolumeOptions;
use crate::scrub::Remembered;
use crate::segments::find_segments;
use crate::state::Job;
use crate::state::Shared;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

impl Volume {
    /// Opens an existing volume for reading; `why`, the reason that it cannot be written, becomes
    /// the reason of its failure. [`Volume::run`] returns immediately: nothing is written here.
    ///
    /// # Errors
    /// Another process records there, it holds no volume or another cluster's, it cannot be read,
    /// or an option is wrong.
    pub fn open_reading(
        options: VolumeOptions,
        root: Arc<Root>,
        why: &Arc<str>,
    ) -> Result<(Self, VolumeHandle), Error> {
        options.check()?;
        if let Some(pid) = Lock::holder(&root)? {
            return Err(Error::Locked {
                path: options.path,
                pid,
            });
        }
        let layout = Layout {
            root: options.path.clone(),
        };
        let disk = RealDisk::reading(root);
        let found = match find_segments(&disk, &layout) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        let identity = identity::known(&disk, &layout)?.ok_or_else(|| Error::NoVolume {
            path: options.path.clone(),
        })?;
        let adoption = identity::admit(&disk, &layout, identity, options.cluster)?;
        let volume = identity.volume;
        let next = found.iter().map(|found| found.id.0).max().unwrap_or(0) + 1;
        let (intake, requests) = Intake::new(options.buffer_bytes_max);
        drop(requests);
        intake.budget.failure.get_or_init(|| Arc::clone(why));
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let remembered = Remembered::load(&*disk, &layout, volume);
        let mut shared = Shared::new(
            options,
            layout,
            volume,
            disk,
            Arc::new(SystemClock),
            SegmentId(next),
        );
        shared.is_reading = true;
        shared.take_over(adoption);
        shared.failed.send_replace(Some(Arc::clone(why)));
        *write(&shared.damage) = crate::damage::Damage::of(remembered.damaged);
        let shared = Arc::new(shared);
        let (sender, jobs) = mpsc::channel();
        let keeper = Keeper::new(Arc::clone(&shared), found, now());
        let root = shared.layout.root.clone();
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| keep(keeper, &jobs))).is_err() {
                tracing::error!(
                    volume = %root.display(),
                    "the keeper panicked: this is a bug; what is not listed yet cannot be read"
                );
            }
        };
        let spawned = std::thread::Builder::new()
            .name("holdfast-keeper".to_owned())
            .spawn(run);
        spawned.map_err(Error::io("start a thread for", &shared.layout.root))?;
        let handle = VolumeHandle::reading(Arc::clone(&shared), intake, ReadingKeeper(sender));
        Ok((
            Self {
                shared,
                ended: Vec::new(),
            },
            handle,
        ))
    }
}

/// Ends the keeper of a read-only volume when the last handle is dropped or releases the volume.
pub(super) struct ReadingKeeper(mpsc::Sender<Job>);

impl ReadingKeeper {
    pub(super) fn stop(&self) {
        // The keeper may have ended already.
        self.0.send(Job::Stop).ok();
    }
}

impl Drop for ReadingKeeper {
    fn drop(&mut self) {
        self.stop();
    }
}
