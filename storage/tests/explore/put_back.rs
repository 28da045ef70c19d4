//! A volume's directory that is put back to what it was between two earlier lives, as from a
//! snapshot or a backup: what came later is gone, and all that was there then stays. The catalogue
//! is put back with it, or is the newer one, which knows of segments that are gone and takes their
//! numbers for those that are recorded in their place.

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

    /// What the volume's disk is from now on, and what the store is held to. Whether the catalogue
    /// is the newer one.
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
