//! The exchange between a volume's keeper and its observers: peers' clocks, operators' orders,
//! status.

use super::brake::Subject;
use super::status::RetentionStatus;
use super::trust::PeerClocks;
use crate::locks::lock;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Mutex;

/// The most orders that wait for the keeper; beyond that, the oldest are dropped.
const ORDERS_MAX: usize = 16;

/// An operator's order about announced deletions, of one class or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionOrder {
    pub action: RetentionAction,
    /// `None`: of everything, the clock included.
    pub subject: Option<Subject>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionAction {
    /// It begins now, and the clock is right.
    Release,
    /// The footage stays as long as the reason is the same, and a clock in doubt does not count by
    /// itself.
    Cancel,
    /// Footage with future times is deleted, of every class, if the time is certain.
    RemoveFuture,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    peers: Mutex<PeerClocks>,
    orders: Mutex<VecDeque<RetentionOrder>>,
    status: Mutex<RetentionStatus>,
}

impl Control {
    pub(crate) fn set_peers(&self, peers: PeerClocks) {
        *lock(&self.peers) = peers;
    }

    pub(crate) fn peers(&self) -> PeerClocks {
        *lock(&self.peers)
    }

    pub(crate) fn order(&self, order: RetentionOrder) {
        let mut orders = lock(&self.orders);
        if orders.len() >= ORDERS_MAX {
            orders.pop_front();
        }
        orders.push_back(order);
    }

    pub(crate) fn next_order(&self) -> Option<RetentionOrder> {
        lock(&self.orders).pop_front()
    }

    pub(crate) fn show(&self, status: RetentionStatus) {
        *lock(&self.status) = status;
    }

    pub(crate) fn status(&self) -> RetentionStatus {
        lock(&self.status).clone()
    }
}
