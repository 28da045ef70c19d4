//! The network between nodes and cameras, and its faults.

use super::attached::Attach;
use super::namespaces::Namespaces;
use super::proxies::Proxies;
use super::rules::{Active, rules_of};
use crate::scenario::Action;
use crate::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct Wires {
    pub(super) kind: Kind,
    active: Active,
    nodes: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A direct network, without faults.
    Plain,
    Proxies(Proxies),
    Namespaces(Arc<Mutex<Namespaces>>),
    /// The commands of an attached cluster, which affect whole nodes.
    Attached(Attach, Vec<(usize, Vec<usize>)>),
}

impl Wires {
    pub(super) fn new(kind: Kind, nodes: usize) -> Self {
        Self {
            kind,
            active: Active::default(),
            nodes,
        }
    }

    /// The node's process has started, or has ended.
    pub(super) fn set_process(&self, node: usize, pid: Option<u32>) {
        if let Kind::Proxies(proxies) = &self.kind {
            proxies.set_process(node, pid);
        }
    }

    /// # Errors
    /// [`Error::CannotRun`] if this kind of network does not support the fault.
    pub(super) fn begin(
        &mut self,
        fault: usize,
        action: &Action,
        hit: &[usize],
        to: &[usize],
    ) -> Result<()> {
        if let Kind::Attached(attach, isolated) = &mut self.kind {
            if *action != Action::Isolate {
                return Err(Error::CannotRun(
                    "an attached cluster's network can only be cut by `isolate`".to_owned(),
                ));
            }
            hit.iter()
                .try_for_each(|&index| attach.command("isolate", index))?;
            isolated.push((fault, hit.to_vec()));
            return Ok(());
        }
        if let Action::SlowLink { kbps } = action {
            let Kind::Namespaces(namespaces) = &self.kind else {
                return Err(Error::CannotRun(
                    "`slow-link` needs namespaces: --on netns".to_owned(),
                ));
            };
            return namespaces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .slow_down(fault, hit, *kbps);
        }
        if matches!(
            (action, &self.kind),
            (Action::Loss { .. }, Kind::Proxies(_))
        ) {
            return Err(Error::CannotRun(
                "`loss` needs namespaces: --on netns".to_owned(),
            ));
        }
        self.active
            .begin(fault, rules_of(action, hit, to, self.nodes));
        self.apply()
    }

    /// # Errors
    /// If the rule cannot be removed.
    pub(super) fn end(&mut self, fault: usize) -> Result<()> {
        self.active.end(fault);
        match &mut self.kind {
            Kind::Namespaces(namespaces) => namespaces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .speed_up(fault)?,
            Kind::Attached(attach, isolated) => {
                for (_, nodes) in isolated.extract_if(.., |(of, _)| *of == fault) {
                    nodes
                        .iter()
                        .try_for_each(|&index| attach.command("rejoin", index))?;
                }
            }
            Kind::Plain | Kind::Proxies(_) => {}
        }
        self.apply()
    }

    fn apply(&self) -> Result<()> {
        let rules = self.active.rules();
        match &self.kind {
            Kind::Proxies(proxies) => proxies.set_rules(rules),
            Kind::Namespaces(namespaces) => {
                namespaces
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .set_rules(&rules)?;
            }
            Kind::Plain if rules.is_empty() => {}
            Kind::Plain => {
                return Err(Error::CannotRun(
                    "nothing lies between these nodes that could be spoiled".into(),
                ));
            }
            Kind::Attached(..) => {}
        }
        Ok(())
    }
}
