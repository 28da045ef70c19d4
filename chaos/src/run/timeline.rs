//! When each fault begins and ends: the order of a run's steps. Pure.

use crate::scenario::Fault;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Seconds after the start of the scenario.
    pub(super) at: f64,
    /// Its index in the scenario, from 0.
    pub(super) fault: usize,
    pub(super) begins: bool,
}

/// In order of time; at the same time, ends come before beginnings. Faults without an end have no
/// step for it.
pub(super) fn steps(faults: &[Fault]) -> Vec<Step> {
    let begins = faults.iter().enumerate().map(|(fault, of)| Step {
        at: of.at,
        fault,
        begins: true,
    });
    let ends = faults.iter().enumerate().filter_map(|(fault, of)| {
        Some(Step {
            at: of.ends_at()?,
            fault,
            begins: false,
        })
    });
    let mut steps: Vec<Step> = begins.chain(ends).collect();
    steps.sort_by(|a, b| {
        a.at.total_cmp(&b.at)
            .then(a.begins.cmp(&b.begins))
            .then(a.fault.cmp(&b.fault))
    });
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use std::path::Path;

    #[test]
    fn ends_come_before_beginnings_at_the_same_time() {
        let fault = |at: u32, lasts: u32| {
            format!("[[fault]]\nat = {at}\ndo = \"kill\"\ntarget = \"any\"\nfor = {lasts}\n")
        };
        let text = format!(
            "about = \"x\"\nseconds = 40\n{}{}[[cameras]]\ncount = 1\n",
            fault(10, 5),
            fault(15, 5)
        );
        let scenario = Scenario::parse(Path::new("x.toml"), &text).unwrap();
        let order: Vec<(f64, usize, bool)> = steps(&scenario.faults)
            .iter()
            .map(|step| (step.at, step.fault, step.begins))
            .collect();
        assert_eq!(
            order,
            [
                (10.0, 0, true),
                (15.0, 0, false),
                (15.0, 1, true),
                (20.0, 1, false)
            ]
        );
    }
}
