//! Taking a segment off the catalogue, with what other segments still need of its rows.

use super::Keeper;
use crate::catalogue::{Broken, Catalogue, InitPlace};
use crate::chunk::InitId;
use crate::format::FooterHead;
use crate::ids::{CameraId, SegmentId};
use crate::seal::{Sealed, read_sealed};
use crate::shared::read;

impl Keeper {
    /// The catalogue knows one place of each init segment, the newest. Where that goes first, as when a camera was moved to a class that keeps less, an earlier
    /// segment has to take over, or what it holds could not be decoded.
    pub(super) fn unlist(&self, catalogue: &Catalogue, id: SegmentId, head: Option<&FooterHead>) -> Result<(), Broken> {
        for (camera, init) in catalogue.remove(id, head)? {
            let earlier = catalogue.segments_of(camera)?;
            let place = earlier.into_iter().rev().find_map(|segment| self.init_in(segment, camera, init));
            if let Some(place) = place {
                catalogue.place_init(camera, init, place)?;
            }
        }
        Ok(())
    }

    fn init_in(&self, segment: SegmentId, camera: CameraId, id: InitId) -> Option<InitPlace> {
        let class = read(&self.shared.known).get(&segment)?.class.clone();
        let path = self.shared.layout.segment(&class, segment);
        let file = self.shared.disk.open_read(&path).ok()?;
        let Ok(Sealed::Yes(_, head)) = read_sealed(&*file, &path) else { return None };
        let init = head.inits.iter().find(|init| init.key.camera == camera && init.id == id)?;
        Some(InitPlace { segment, offset: init.offset, bytes: init.bytes })
    }
}
