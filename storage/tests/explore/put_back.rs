//! A volume's directory that is restored to its state between two earlier lives, as from a snapshot
//! or a backup: everything later is gone, and everything from then stays. The catalogue is restored
//! with it, or is the newer one, which lists segments that are gone and takes their numbers for
//! those that are recorded in their place.

use crate::catalogues::Dirs;
use crate::oracle::Oracle;
use holdfast_storage::Hold;
use holdfast_storage::simulation::{Random, SimulatedDisk};

/// The directory as it was.
pub(crate) struct Backup {
    disk: SimulatedDisk,
    oracle: Oracle,
}

impl Backup {
    /// # Errors
    /// The catalogue cannot be copied.
    pub(crate) fn make(disk: &SimulatedDisk, oracle: &Oracle, dirs: &Dirs) -> Result<Self, String> {
        dirs.back_up()?;
        Ok(Self {
            disk: disk.fork(),
            oracle: oracle.clone(),
        })
    }

    /// Restores the volume's disk and the oracle. Returns whether the catalogue is the newer one.
    ///
    /// # Errors
    /// The catalogue cannot be copied.
    pub(crate) fn put_back(
        &self,
        holds: &[Hold],
        dirs: &Dirs,
        random: &mut Random,
    ) -> Result<(SimulatedDisk, Oracle, bool), String> {
        let is_newer = random.one_in(2);
        if !is_newer {
            dirs.take_back()?;
        }
        let mut oracle = self.oracle.clone();
        oracle.hold(holds);
        Ok((self.disk.fork(), oracle, is_newer))
    }
}
