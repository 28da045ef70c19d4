//! The volume's path, and the place of its catalogue while the volume cannot be written.

use super::Keeper;
use crate::catalogue::Catalogue;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

impl Keeper {
    /// Gives up a volume whose path leads elsewhere.
    pub(super) fn look_at_place(&self) {
        let shared = &self.shared;
        if shared.is_left.load(Ordering::Relaxed) || shared.is_reading {
            return;
        }
        if let Err(error) = shared.disk.check_place() {
            shared.leave(&error);
        }
    }

    /// Opens a catalogue elsewhere if the volume's own may not be written.
    pub(super) fn open_spare_catalogue(&mut self) {
        let dir = self
            .shared
            .options
            .spare_dir
            .clone()
            .unwrap_or_else(std::env::temp_dir);
        let path = dir.join(format!("catalogue-{}", uuid::Uuid::new_v4()));
        match Catalogue::temporary(&path, self.shared.volume) {
            Ok(catalogue) => {
                tracing::info!(
                    volume = %self.shared.layout.root.display(), catalogue = %path.display(),
                    "the catalogue cannot be written on the volume: listing its segments elsewhere"
                );
                self.use_catalogue(catalogue, BTreeMap::new());
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the catalogue cannot be opened")
            }
        }
    }
}
