//! Raft's messages as they go over the wire.

use super::snapshot_file::SnapshotImage;
use super::{TypeConfig, Vote};
use crate::codec::first_version;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

pub(crate) const APPEND: &str = "/raft/append";
pub(crate) const VOTE: &str = "/raft/vote";
pub(crate) const PRE_VOTE: &str = "/raft/pre-vote";
pub(crate) const SNAPSHOT: &str = "/raft/snapshot";
pub(crate) const TRANSFER: &str = "/raft/transfer-leader";

#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotRequest {
    pub(crate) vote: Vote,
    pub(crate) image: SnapshotImage,
}

first_version!(
    AppendEntriesRequest<TypeConfig> => "Raft's entries",
    AppendEntriesResponse<TypeConfig> => "Raft's answer to entries",
    VoteRequest<TypeConfig> => "Raft's request for a vote",
    VoteResponse<TypeConfig> => "Raft's vote",
    SnapshotRequest => "Raft's snapshot",
    SnapshotResponse<TypeConfig> => "Raft's answer to a snapshot",
    TransferLeaderRequest<TypeConfig> => "Raft's handover",
    TransferLeaderResponse<TypeConfig> => "Raft's answer to a handover",
);
