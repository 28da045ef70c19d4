//! Runs a scenario: sets the stage, begins and ends faults on time, heals everything, collects the
//! evidence, and has it judged.
//!
//! `aim` and `timeline` are pure and decide; the rest touches the world.

mod aim;
mod collect;
mod deadly;
mod footage;
mod load;
mod look;
mod played;
mod resources;
mod timeline;
mod watch;

pub use footage::{Footage, fetch};

use crate::options::RunOptions;

use crate::evidence::Evidence;
use crate::history::{History, What};
use crate::invariants::{self};
use crate::report::Report;
use crate::scenario::{Action, ActionName, Scenario};
use crate::stage::{Gone, Hit, Stage, StageOptions, hostile_name};
use crate::{Error, Result, io_error};
use aim::View;
use holdfast_node::terminal::clock::{monotonic_now, wall_now};
use holdfast_storage::random::Random;
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The longest that a cluster may take at the start of a run until every camera is recorded.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest that it may take after the last fault; a scenario may set less.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(90);

/// After this time, frames that were sent are durable on any node that records.
const FLUSHED_AFTER: Duration = Duration::from_secs(5);

/// How often the run checks whether a step is due or a node ended by itself.
const TICK: Duration = Duration::from_millis(100);

/// How often memory and open files of the nodes are sampled.
const PROCESSES_INTERVAL: Duration = Duration::from_secs(5);

/// The same with hostile cameras, which may fill the memory within seconds.
const HOSTILE_INTERVAL: Duration = Duration::from_millis(250);

/// How long a fault that needs a leader waits for one; then it takes the cluster as it is.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);

/// Runs the scenario to its end. Dropped earlier, it leaves nothing behind.
///
/// # Errors
/// If it could not be run; violations are in the report.
pub async fn run(options: RunOptions) -> Result<Report> {
    fs::create_dir_all(&options.out)
        .map_err(io_error(format!("make {}", options.out.display())))?;
    let history = History::create(&options.out.join("history.jsonl"))?;
    let mut stage = Stage::prepare(&StageOptions {
        scenario: &options.scenario,
        place: options.place,
        seed: options.seed,
        namespaces: options.namespaces.clone(),
        attach: options.attach.clone(),
        keep_in: options.keep.then(|| options.out.join("site")),
    })
    .await?;
    let outcome = Run::new(&options, &mut stage, history.clone()).play().await;
    stage.save_to(&options.out).await?;
    if options.keep {
        eprintln!("kept: {}", stage.folder().display());
    }
    let removed = stage.remove_cameras().await;
    let evidence = outcome?;
    removed?;
    drop(stage);
    let checks = invariants::check_all(&evidence);
    for check in &checks {
        let (name, text) = (check.name.clone(), check.text.clone());
        history.add(What::Check {
            name,
            holds: check.verdict != crate::evidence::Verdict::Broken,
            text,
        });
    }
    let report = Report::new(&options, &evidence, checks);
    history.add(What::Ended {
        verdict: report.verdict().to_owned(),
    });
    history.events()?;
    report.write_to(&options.out)?;
    Ok(report)
}

struct Run<'a> {
    options: &'a RunOptions,
    scenario: &'a Scenario,
    stage: &'a mut Stage,
    history: History,
    random: Random,
    started: Instant,
    /// Faults that hold now, by their index in the scenario.
    holding: BTreeMap<usize, (Action, Hit)>,
    looked_at_processes: Option<Instant>,
    /// Nodes that a fault holds.
    held: Arc<Mutex<BTreeSet<usize>>>,
    last_hit: Hit,
    deadly: deadly::Deadly,
    /// Orders that were not carried out.
    trouble: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(options: &'a RunOptions, stage: &'a mut Stage, history: History) -> Self {
        Self {
            scenario: &options.scenario,
            random: Random::new(options.seed),
            options,
            stage,
            history,
            started: monotonic_now(),
            holding: BTreeMap::new(),
            looked_at_processes: None,
            held: Arc::default(),
            last_hit: Hit::default(),
            deadly: deadly::Deadly::default(),
            trouble: Vec::new(),
        }
    }

    async fn play(mut self) -> Result<Evidence> {
        self.raise().await?;
        let from = wall_now();
        let watchers = watch::watch(
            self.stage.clients()?,
            self.stage.camera_names(),
            from,
            &self.history,
        );
        let (load, sums) = self.start_load(from)?;
        let players = played::start(
            self.stage,
            self.options.seed,
            (from, self.scenario.seconds),
            &self.held,
        )?;
        self.act().await?;
        let to = wall_now();
        drop(load);
        sums.write(&self.history);
        let settled_after = self.heal(to).await;
        drop(watchers);
        self.progress(
            "everything that was recorded is fetched and compared with what the cameras sent",
        );
        collect::evidence(
            self.stage,
            self.scenario,
            &self.history,
            (from, to),
            (settled_after, players, self.trouble),
        )
        .await
    }

    /// Waits until every camera is recorded by exactly as many nodes as it should be.
    async fn raise(&mut self) -> Result<()> {
        let Scenario { name, .. } = self.scenario;
        let place = format!("{:?}", self.options.place).to_lowercase();
        let (nodes, cameras) = (self.stage.names().len(), self.scenario.cameras_total());
        self.progress(&format!(
            "{name}: {nodes} nodes ({place}), {cameras} cameras, seed {}",
            self.options.seed
        ));
        self.history.add(What::Began {
            scenario: name.clone(),
            seed: self.options.seed,
            place,
        });
        self.stage.form().await?;
        self.stage.add_cameras(self.scenario).await?;
        look::recorded_beyond(self.stage, wall_now(), START_TIMEOUT).await?;
        look::settled(self.stage, START_TIMEOUT).await?;
        self.progress("every camera is recorded: the scenario begins");
        self.started = monotonic_now();
        Ok(())
    }

    fn start_load(&self, began: Timestamp) -> Result<(JoinSet<()>, load::Sums)> {
        let asker = load::Asker {
            urls: self.stage.api_urls(),
            token: self.stage.token().to_owned(),
            cameras: self
                .stage
                .cameras()
                .iter()
                .map(|(camera, _)| camera.id)
                .collect(),
            began,
            held: Arc::clone(&self.held),
            sums: load::Sums::default(),
        };
        let sums = asker.sums.clone();
        let load = &self.scenario.load;
        Ok((
            load::start(&asker, load.players, load.api_per_second, self.options.seed)?,
            sums,
        ))
    }

    /// Executes every step at its time, then waits for the end of the scenario.
    async fn act(&mut self) -> Result<()> {
        for step in timeline::steps(&self.scenario.faults) {
            self.wait_until(step.at).await;
            if step.begins {
                self.begin(step.fault).await?;
            } else {
                self.end(step.fault).await?;
            }
        }
        self.wait_until(self.scenario.seconds).await;
        Ok(())
    }

    async fn wait_until(&mut self, seconds: f64) {
        let due = self.started + Duration::from_secs_f64(seconds);
        loop {
            for index in self.stage.ended_by_themselves() {
                let node = self.stage.names()[index].clone();
                self.progress(&format!("{node} ended by itself"));
                self.history.add(What::EndedByItself { node });
            }
            self.look_at_processes();
            self.see_to_deadly_cameras().await;
            let left = due.saturating_duration_since(monotonic_now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(TICK)).await;
        }
    }

    fn look_at_processes(&mut self) {
        let is_hostile = self
            .scenario
            .faults
            .iter()
            .any(|fault| fault.action == ActionName::HostileCamera);
        let interval = if is_hostile {
            HOSTILE_INTERVAL
        } else {
            PROCESSES_INTERVAL
        };
        if self
            .looked_at_processes
            .is_some_and(|at| at.elapsed() < interval)
        {
            return;
        }
        self.looked_at_processes = Some(monotonic_now());
        for (index, pid) in self.stage.pids() {
            if let Some(held) = resources::of(pid) {
                let node = self.stage.names()[index].clone();
                let resources::Held {
                    resident_kib,
                    descriptors,
                } = held;
                self.history.add(What::Process {
                    node,
                    resident_kib,
                    descriptors,
                });
            }
        }
    }

    async fn begin(&mut self, number: usize) -> Result<()> {
        let fault = &self.scenario.faults[number];
        let view = match tokio::time::timeout(LEADERLESS_MAX, look::view(self.stage)).await {
            Ok(view) => view,
            Err(_) => look::view_as_it_is(self.stage).await,
        };
        let aimed = view
            .map_err(|error| error.to_string())
            .and_then(|view: View| {
                let hit = view.aim(fault, &mut self.random, &self.last_hit)?;
                let affected = view.affected(fault.action, &hit);
                Ok((hit, affected))
            });
        let (hit, affected) = match aimed {
            Ok(aimed) => aimed,
            Err(why) if fault.optional => {
                self.progress(&format!("{} is left out: {why}", fault.action.as_str()));
                return Ok(());
            }
            Err(why) => {
                self.went_wrong(format!("{} could not begin: {why}", fault.action.as_str()));
                return Ok(());
            }
        };
        let nodes = self.names_of(&hit.nodes);
        let mut cameras: Vec<String> = hit
            .cameras
            .iter()
            .map(|number| format!("cam{number:02}"))
            .collect();
        if let Action::HostileCamera { gallery, .. } = fault.action() {
            cameras.extend(gallery.into_iter().map(hostile_name));
            // The baseline for later samples.
            self.looked_at_processes = None;
            self.look_at_processes();
        }
        let whom = [nodes.clone(), cameras.clone()].concat().join(" ");
        self.progress(&format!(
            "{} {whom} ({} cameras affected)",
            fault.action.as_str(),
            affected.len()
        ));
        let action = fault.action();
        if !matches!(action, Action::Drain) {
            self.hold(&hit.nodes, fault.action == ActionName::RollingRestart);
        }
        let name = describe(&action);
        self.history.add(What::FaultOn {
            fault: number,
            action: name.clone(),
            nodes,
            cameras,
            affected,
        });
        if !hit.nodes.is_empty() {
            self.last_hit = hit.clone();
        }
        let begun = self.stage.begin(number, &action, &hit).await;
        self.went(begun)?;
        if fault.action == ActionName::RollingRestart || fault.action == ActionName::CameraGarbage {
            self.history.add(What::FaultOff {
                fault: number,
                action: name,
            });
            self.release();
        } else {
            self.holding.insert(number, (action, hit));
        }
        Ok(())
    }

    async fn end(&mut self, number: usize) -> Result<()> {
        let Some((action, hit)) = self.holding.remove(&number) else {
            return Ok(());
        };
        let name = describe(&action);
        self.progress(&format!("{name} ends"));
        let ended = self.stage.end(number, &action, &hit).await;
        self.history.add(What::FaultOff {
            fault: number,
            action: name,
        });
        for Gone {
            camera,
            closed_after,
            accepted,
            sent_bytes,
            strayed,
        } in self.stage.taken_down()
        {
            let closed_after_ms =
                closed_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            self.history.add(What::HostileGone {
                camera,
                closed_after_ms,
                accepted,
                sent_bytes,
                strayed,
            });
        }
        self.went(ended)?;
        self.release();
        Ok(())
    }

    /// Takes back all faults, and waits until the cluster has recovered and is durable beyond `to`.
    /// Returns how long that took, or `None` if it did not happen in time.
    async fn heal(&mut self, to: Timestamp) -> Option<Duration> {
        let began = monotonic_now();
        // A deadly camera can be released only once there is a leader again.
        let mut holding: Vec<(bool, usize)> = self
            .holding
            .iter()
            .map(|(number, (action, _))| (*action == Action::DeadlyCamera, *number))
            .collect();
        holding.sort_unstable();
        for (_, number) in holding {
            if let Err(error) = self.end(number).await {
                self.went_wrong(error.to_string());
            }
        }
        self.progress("all faults are over: waiting for the cluster to recover");
        for index in self.stage.ended_by_themselves() {
            let node = self.stage.names()[index].clone();
            self.history.add(What::EndedByItself { node });
        }
        let healed = async {
            self.stage.wait_all_ready().await?;
            look::settled(self.stage, SETTLE_TIMEOUT).await?;
            Ok(began.elapsed())
        };
        let healed: Result<Duration> = healed.await;
        let recorded =
            look::recorded_beyond(self.stage, to.plus(crate::oracle::MARGIN), SETTLE_TIMEOUT).await;
        if let Err(error) = recorded {
            self.went_wrong(error.to_string());
        }
        if self
            .scenario
            .faults
            .iter()
            .any(|fault| fault.action == ActionName::ClockStep)
        {
            // With a clock that was ahead, a watermark says nothing about the last seconds.
            sleep(FLUSHED_AFTER).await;
        }
        match healed {
            Ok(took) => Some(took),
            Err(error) => {
                self.went_wrong(error.to_string());
                None
            }
        }
    }

    fn went(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error @ Error::CannotRun(_)) => Err(error),
            Err(error) => {
                self.went_wrong(error.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn went_wrong(&mut self, what: String) {
        self.progress(&format!("WRONG: {what}"));
        self.trouble.push(what);
    }

    fn hold(&self, nodes: &[usize], all: bool) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(nodes.iter().copied());
        if all {
            held.extend(0..self.stage.names().len());
        }
    }

    /// Nodes that no fault holds any more get requests again.
    fn release(&self) {
        let holding = self
            .holding
            .values()
            .filter(|(action, _)| *action != Action::Drain);
        let nodes = holding
            .flat_map(|(_, hit)| hit.nodes.iter().copied())
            .collect();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    fn names_of(&self, indices: &[usize]) -> Vec<String> {
        let names = self.stage.names();
        indices
            .iter()
            .filter_map(|&index| names.get(index).cloned())
            .collect()
    }

    /// Reports progress on standard error and in the history.
    fn progress(&self, text: &str) {
        let label = self
            .options
            .label
            .as_ref()
            .map(|label| format!("{label} "))
            .unwrap_or_default();
        eprintln!(
            "{label}{:>7.1} s  {text}",
            self.started.elapsed().as_secs_f64()
        );
        self.history.say(text);
    }
}

/// The action as a report shows it.
fn describe(action: &Action) -> String {
    match action {
        Action::OneWay { to } => format!("one-way to {to}"),
        Action::Loss { percent } => format!("loss {percent} %"),
        Action::Delay { ms, jitter_ms: 0 } => format!("delay {ms} ms"),
        Action::Delay { ms, jitter_ms } => format!("delay {ms} ms \u{b1} {jitter_ms} ms"),
        Action::SlowLink { kbps } => format!("slow-link {kbps} kbit/s"),
        Action::DiskSlow { kbps } => format!("disk-slow {kbps} kbit/s"),
        Action::ClockStep { seconds } => format!("clock-step {seconds:+} s"),
        Action::CameraGarbage { frames } => format!("camera-garbage {frames} frames"),
        Action::HostileCamera { gallery, .. } => match gallery.as_slice() {
            [one] => format!("hostile-camera {one}"),
            all => format!("hostile-camera, {} at once", all.len()),
        },
        other => format!("{other:?}")
            .chars()
            .fold(String::new(), |mut name, c| {
                if c.is_ascii_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.push(c.to_ascii_lowercase());
                name
            }),
    }
}
