//! Invitations: who may join.

use super::ClusterState;
use crate::command::{Rejection, Response};
use crate::model::{INVITES_MAX, Invite, InviteSpec, KeyHash, NodeSpec};
use holdfast_storage::ids::{InviteId, NodeId};
use holdfast_storage::time::Timestamp;

impl ClusterState {
    pub(super) fn create_invite(
        &mut self,
        spec: InviteSpec,
        at: Timestamp,
    ) -> Result<Response, Rejection> {
        spec.check(at)?;
        self.check_node_name(&spec.name, None)?;
        self.forget_invites(|invite| invite.spec.expires <= at);
        if self.invites.len() >= INVITES_MAX {
            return Err(Rejection::too_many("invitations", INVITES_MAX));
        }
        self.invite_last = InviteId(self.invite_last.0 + 1);
        let id = self.invite_last;
        let invite = Invite {
            id,
            spec,
            created_at: at,
            used_by: None,
        };
        self.invites.insert(id, invite);
        Ok(Response::Invite(id))
    }

    pub(super) fn delete_invite(&mut self, id: InviteId) -> Result<Response, Rejection> {
        if !self.invites.contains(id) {
            return Err(Rejection::UnknownInvite(id));
        }
        self.invites.remove(id);
        Ok(Response::Done)
    }

    /// The unused invitation with this key that a node with `spec` may join with.
    pub(super) fn invited(
        &self,
        key: KeyHash,
        spec: &NodeSpec,
        at: Timestamp,
    ) -> Result<&Invite, Rejection> {
        let invite = self
            .invites
            .values()
            .find(|invite| invite.spec.key == key)
            .filter(|invite| invite.spec.expires > at)
            .ok_or(Rejection::NotInvited)?;
        if let Some(node) = invite.used_by {
            return Err(Rejection::InviteUsed(node));
        }
        if !invite.spec.is_for(spec) {
            return Err(Rejection::InvitedAs {
                name: invite.spec.name.clone(),
                role: invite.spec.role,
            });
        }
        Ok(invite)
    }

    /// Whether `node` has joined with the invitation of this key, which is still valid.
    pub(super) fn has_used(&self, key: KeyHash, node: NodeId, at: Timestamp) -> bool {
        self.invites.values().any(|invite| {
            invite.spec.key == key && invite.used_by == Some(node) && invite.spec.expires > at
        })
    }

    /// A used invitation stays until it expires: its node may have to ask again.
    pub(super) fn use_invite(&mut self, id: InviteId, node: NodeId) {
        if let Some(invite) = self.invites.get_mut(id) {
            invite.used_by = Some(node);
        }
    }

    pub(super) fn forget_invites(&mut self, is_over: impl Fn(&Invite) -> bool) {
        let over: Vec<InviteId> = self
            .invites
            .iter()
            .filter(|(_, invite)| is_over(invite))
            .map(|(id, _)| id)
            .collect();
        over.into_iter().for_each(|id| self.invites.remove(id));
    }
}
