//! Exports: footage that is kept for fetching.

use super::ClusterState;
use crate::command::{Rejection, Response};
use crate::model::{EXPORTS_MAX, Export, ExportSpec};
use holdfast_storage::ids::{CameraId, ExportId};
use holdfast_storage::time::Timestamp;

impl ClusterState {
    /// Expired exports are removed only if there are too many: while there are not, a clock that is
    /// ahead ends none.
    pub(super) fn create_export(
        &mut self,
        spec: ExportSpec,
        at: Timestamp,
    ) -> Result<Response, Rejection> {
        spec.check()?;
        let unknown = spec
            .cameras
            .iter()
            .find(|camera| **camera == CameraId(0) || **camera > self.camera_last);
        if let Some(camera) = unknown {
            return Err(Rejection::UnknownCamera(*camera));
        }
        if self.exports.len() >= EXPORTS_MAX {
            let expired: Vec<ExportId> = self
                .exports
                .iter()
                .filter(|(_, export)| export.expires_at() <= at)
                .map(|(id, _)| id)
                .collect();
            if expired.is_empty() {
                return Err(Rejection::too_many("exports", EXPORTS_MAX));
            }
            expired.into_iter().for_each(|id| {
                self.exports.remove(id);
            });
        }
        self.export_last = ExportId(self.export_last.0 + 1);
        let id = self.export_last;
        self.exports.insert(
            id,
            Export {
                id,
                spec,
                created_at: at,
            },
        );
        Ok(Response::Export(id))
    }

    pub(super) fn delete_export(&mut self, id: ExportId) -> Result<Response, Rejection> {
        if !self.exports.contains(id) {
            return Err(Rejection::UnknownExport(id));
        }
        self.exports.remove(id);
        Ok(Response::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::model::{Actor, EXPORT_KEPT, KeyHash, NodeSpec};
    use uuid::Uuid;

    const AT: Timestamp = Timestamp(1_795_341_600_000_000);

    fn founded() -> ClusterState {
        let mut state = ClusterState::default();
        let node = NodeSpec::new("one", "one.example:8481", "one.example:8480").unwrap();
        apply(
            &mut state,
            AT,
            Command::Initialize {
                cluster: Uuid::nil(),
                node,
                key: KeyHash::default(),
            },
        )
        .unwrap();
        apply(
            &mut state,
            AT,
            Command::ReserveCameras { upto: CameraId(2) },
        )
        .unwrap();
        state
    }

    fn apply(
        state: &mut ClusterState,
        at: Timestamp,
        command: Command,
    ) -> Result<Response, &'static str> {
        state
            .apply(command.by(Actor::System, at))
            .map_err(|rejection| rejection.code())
    }

    fn export(
        state: &mut ClusterState,
        at: Timestamp,
        camera: u32,
    ) -> Result<Response, &'static str> {
        let (from, to) = (AT.plus_micros(-2), AT.plus_micros(-1));
        let spec = ExportSpec {
            name: "x".parse().unwrap(),
            cameras: vec![CameraId(camera)],
            from,
            to,
            strict: false,
        };
        apply(state, at, Command::CreateExport { spec })
    }

    #[test]
    fn exports_stay_until_they_are_removed_and_numbers_are_not_given_twice() {
        let mut state = founded();
        assert_eq!(export(&mut state, AT, 3), Err("unknown-camera"));
        assert_eq!(export(&mut state, AT, 0), Err("unknown-camera"));
        assert_eq!(export(&mut state, AT, 1), Ok(Response::Export(ExportId(1))));
        let delete = Command::DeleteExport {
            export: ExportId(1),
        };
        assert_eq!(apply(&mut state, AT, delete.clone()), Ok(Response::Done));
        assert_eq!(apply(&mut state, AT, delete), Err("unknown-export"));
        assert_eq!(export(&mut state, AT, 2), Ok(Response::Export(ExportId(2))));
    }

    #[test]
    fn exports_are_bounded_and_make_room_when_they_expire() {
        let mut state = founded();
        for _ in 0..EXPORTS_MAX {
            export(&mut state, AT, 1).unwrap();
        }
        let expiry = AT.plus(EXPORT_KEPT);
        assert_eq!(
            export(&mut state, expiry.plus_micros(-1), 1),
            Err("too-many")
        );
        assert_eq!(
            export(&mut state, expiry, 1),
            Ok(Response::Export(ExportId(101)))
        );
        assert_eq!(state.exports.len(), 1);
    }
}
