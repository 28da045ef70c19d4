//! The JSON of all resources.

pub use crate::resources::backup::{
    NewBackup, NewRestore, RestoreOutcome, Restored, RestoredItem, RestoredKind,
};
pub use crate::resources::cameras::{
    AdoptCamera, AdoptCameras, Assignment, Camera, CameraNumber, CameraOrigin, CameraPatch,
    DeletedCamera, FootageExtent, HeldAs, HeldBack, NewCamera, NewSource, Recording, RestoreCamera,
    Source, SourcePatch,
};
pub use crate::resources::cluster::{
    Cluster, FailoverHeadroom, InitCluster, JoinCluster, WorstLoss,
};
pub use crate::resources::drills::{CameraDrill, Drill, DrillPhase, NewDrill};
pub use crate::resources::exports::{
    Export, ExportFile, ExportGap, ExportManifest, ExportState, ExportStatus, NewExport,
};
pub use crate::resources::gaps::{CameraGap, GapLedger, GapSum};
pub use crate::resources::holds::{Hold, NewHold};
pub use crate::resources::invites::{Invite, MadeInvite, NewInvite};
pub use crate::resources::nodes::{Node, NodeRef, Volume};
pub use crate::resources::parts::{Part, PartState};
pub use crate::resources::retention::{
    AnnouncedDeletion, FutureFootage, RetentionPause, RetentionTarget, VolumeRetention,
};
pub use crate::resources::scrub::{DamagedChunk, ScrubPass, VolumeScrub};
pub use crate::resources::settings::{Settings, SettingsPatch};
pub use crate::resources::status::{
    Disk, Finding, Mode, NextFailure, Severity, Status, StatusState,
};
pub use crate::resources::timeline::{Gap, Span, Timeline};
