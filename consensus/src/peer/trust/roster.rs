//! Whom a node believes, and as whom. Pure.

use super::keys::hash_of;
use super::names::NodeUri;
use super::provider;
use crate::model::KeyHash;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::collections::BTreeMap;
use uuid::Uuid;
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert,
};

/// What a node knows of who may speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    pub cluster: Uuid,
    /// The members' keys.
    pub members: BTreeMap<NodeId, KeyHash>,
    /// The newest id that was given to a member, as far as this node knows.
    pub newest: NodeId,
    /// Keys of invitations, and when each expires.
    pub invited: BTreeMap<KeyHash, Timestamp>,
    /// The roots of the cluster's authority.
    pub roots: Vec<CertificateDer<'static>>,
    /// The fingerprint of a root that is trusted for now, because a token names it: for a newcomer.
    pub pinned_root: Option<KeyHash>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Member(NodeId),
    /// A node that has joined after what this one has heard of: it may introduce itself, and send
    /// Raft's messages, which bring this node up to date.
    Newer(NodeId),
    /// A node that was a member: it may only ask why it is none any more.
    Former(NodeId),
    /// A newcomer with the key of an invitation.
    Invited(KeyHash),
}

/// Why a certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("it presented no certificate")]
    NoCertificate,
    #[error("its certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("its certificate names no node")]
    Nameless,
    #[error("its certificate is of cluster {0}")]
    OtherCluster(Uuid),
    #[error("node {0} is no member")]
    NoMember(NodeId),
    #[error("the key is not that of node {0}")]
    OtherKey(NodeId),
    #[error("node {found} answers where node {dialled} was dialled")]
    Misdirected { dialled: NodeId, found: NodeId },
    #[error("the certificate of node {node} is not valid: {why}")]
    Invalid { node: NodeId, why: String },
}

impl Roster {
    /// Of a node that has not read its state yet.
    #[must_use]
    pub fn of(cluster: Uuid, roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            cluster,
            roots,
            ..Self::default()
        }
    }

    /// Who presents `certificate`, with `others` that lead to a root.
    ///
    /// A member is recognised by its key. A node that this one has not heard of yet has just
    /// joined: only its certificate shows that. No certificate's date counts: clocks may be wrong,
    /// and a cluster must not fall apart by a date.
    ///
    /// # Errors
    /// It may not speak.
    pub fn caller(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Caller, Untrusted> {
        let parsed = EndEntityCert::try_from(certificate)
            .map_err(|error| Untrusted::Unreadable(error.to_string()))?;
        let key = hash_of(&parsed.subject_public_key_info());
        let now_us = i64::try_from(now.as_secs()).map_or(i64::MAX, |s| s.saturating_mul(1_000_000));
        let is_valid = |expires: &Timestamp| expires.micros() > now_us;
        if self.invited.get(&key).is_some_and(is_valid) {
            return Ok(Caller::Invited(key));
        }
        let NodeUri { cluster, node } = parsed
            .valid_uri_names()
            .find_map(|uri| uri.parse().ok())
            .ok_or(Untrusted::Nameless)?;
        let any_cluster = self.pinned_root.is_some();
        if cluster != self.cluster && !any_cluster {
            return Err(Untrusted::OtherCluster(cluster));
        }
        match self.members.get(&node) {
            Some(pinned) if *pinned == key => Ok(Caller::Member(node)),
            Some(_) => Err(Untrusted::OtherKey(node)),
            None => {
                self.check_chain(&parsed, node, others, now)?;
                let has_joined = node > self.newest;
                Ok(if has_joined {
                    Caller::Newer(node)
                } else {
                    Caller::Former(node)
                })
            }
        }
    }

    /// What the caller of an open connection is now.
    #[must_use]
    pub fn now(&self, caller: Caller) -> Option<Caller> {
        match caller {
            Caller::Member(node) | Caller::Newer(node) if self.members.contains_key(&node) => {
                Some(Caller::Member(node))
            }
            Caller::Member(node) | Caller::Newer(node) if node <= self.newest => {
                Some(Caller::Former(node))
            }
            Caller::Invited(key) if !self.invited.contains_key(&key) => None,
            caller => Some(caller),
        }
    }

    fn check_chain(
        &self,
        parsed: &EndEntityCert<'_>,
        node: NodeId,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let is_pinned = |root: &&CertificateDer<'_>| {
            self.pinned_root == Some(super::authority::fingerprint(root))
        };
        let roots = self.roots.iter().map(|root| root as &CertificateDer<'_>);
        let roots: Vec<_> = roots.chain(others.iter().filter(is_pinned)).collect();
        let anchors = roots
            .iter()
            .filter_map(|root| anchor_from_trusted_cert(root).ok());
        let anchors: Vec<_> = anchors.collect();
        let provider = provider();
        let verify = |time: UnixTime| {
            parsed
                .verify_for_usage(
                    provider.signature_verification_algorithms.all,
                    &anchors,
                    &[],
                    time,
                    AnyUsage,
                    None,
                    None,
                )
                .map(drop)
        };
        let verified = match verify(now) {
            Err(webpki::Error::CertExpired { not_after, .. }) => verify(not_after),
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => verify(not_before),
            other => other,
        };
        verified.map_err(|error| Untrusted::Invalid {
            node,
            why: error.to_string(),
        })
    }
}

/// Members are clients and servers with one certificate.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
