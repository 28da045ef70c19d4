//! Runs scenarios, each on a thread and a runtime of its own.

use super::Ending;
use super::args::{OutputArgs, RunArgs, SoakArgs};
use super::jobs::{self, Entry};
use crate::options::RunOptions;
use crate::report::Report;
use crate::run::run as run_scenario;
use crate::scenario::{Place, SHIPPED, Scenario};
use crate::stage::{Attach, Namespaces, namespaces};
use crate::{Error, Result, io_error, soak};
use holdfast_node::demo::spawn;
use holdfast_node::terminal::clock::wall_now;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// Worker threads of a run's own runtime: the nodes need the machine more.
const WORKER_THREADS: usize = 2;

pub(super) fn run(args: &RunArgs) -> Result<Ending> {
    let attach = args.attach.as_deref().map(Attach::load).transpose()?;
    let names: Vec<String> = if args.all {
        SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect()
    } else {
        args.scenarios.clone()
    };
    // Read all of them before the first one runs.
    let mut scenarios = Vec::new();
    for name in names {
        let scenario = Scenario::load(&name)?;
        let as_it_is = args.cameras.is_empty().then_some(None);
        let sizes = args.cameras.iter().copied().map(Some).chain(as_it_is);
        scenarios.extend(sizes.map(|cameras| {
            (
                name.clone(),
                cameras,
                adapted(scenario.clone(), cameras, args),
            )
        }));
    }
    let seed = args.seed.unwrap_or_else(random_seed);
    let entry = |(name, cameras, scenario): (String, Option<u32>, Scenario)| {
        let run = |number: u32| {
            let seed = seed.wrapping_add(u64::from(number));
            let place = args.on.unwrap_or(scenario.on);
            let mut scenario = scenario.clone();
            scenario.choose_faults(seed, place);
            let repeat = repeat(args, &name, cameras, seed);
            Plan {
                scenario,
                place,
                seed,
                attach: attach.clone(),
                repeat,
                output: args.output.clone(),
            }
        };
        let plans = (0..args.runs).map(run).collect();
        Entry { name, plans }
    };
    jobs::work(
        scenarios.into_iter().map(entry).collect(),
        args,
        command_line(),
    )
}

pub(super) fn soak(args: &SoakArgs) -> Result<Ending> {
    let first = args.seed.unwrap_or_else(random_seed);
    let mut ending = Ending::Holds;
    let mut round = 0;
    while args.rounds == 0 || round < args.rounds {
        let seed = first.wrapping_add(u64::from(round));
        round += 1;
        let text = soak::scenario(
            seed,
            args.on,
            args.nodes as usize,
            args.cameras,
            args.seconds,
        )?;
        let scenario = Scenario::parse(Path::new("soak.toml"), &text)?;
        let SoakArgs {
            nodes,
            cameras,
            seconds,
            ..
        } = args;
        let place = if args.on == Place::Netns {
            "netns"
        } else {
            "processes"
        };
        let repeat = format!(
            "holdfast-chaos soak --rounds 1 --seed {seed} --on {place} --nodes {nodes} --cameras \
             {cameras} --seconds {seconds}"
        );
        let plan = Plan {
            scenario,
            place: args.on,
            seed,
            attach: None,
            repeat,
            output: args.output.clone(),
        };
        std::fs::create_dir_all(plan.folder()).map_err(io_error("make the run's folder"))?;
        std::fs::write(plan.folder().join("scenario.toml"), &text)
            .map_err(io_error("write the scenario"))?;
        if !plan.run(None)?.holds() {
            ending = Ending::Broken;
            if !args.keep_going {
                break;
            }
        }
    }
    Ok(ending)
}

/// One run that is about to start.
pub(super) struct Plan {
    scenario: Scenario,
    place: Place,
    seed: u64,
    attach: Option<Attach>,
    repeat: String,
    output: OutputArgs,
}

impl Plan {
    /// Short, and distinct for each run of a series.
    pub(super) fn label(&self) -> String {
        format!(
            "{}-{}cam-{}",
            self.scenario.name,
            self.scenario.cameras_total(),
            self.seed
        )
    }

    fn folder(&self) -> PathBuf {
        self.output.out.join(self.label())
    }

    /// With a label before its lines of progress, if other runs are in progress at the same time.
    pub(super) fn run(&self, label: Option<String>) -> Result<Report> {
        eprintln!(
            "\n{}: {}\nseed {}; repeat it: {}",
            self.scenario.name, self.scenario.about, self.seed, self.repeat
        );
        spawn::prepare().map_err(io_error("start a thread"))?;
        // Before any thread that has to enter one of them.
        let namespaces = match self.place {
            Place::Netns => Some(Arc::new(Mutex::new(Namespaces::create(
                self.scenario.nodes_total(),
            )?))),
            Place::Processes | Place::Attach => None,
        };
        let inside = namespaces.as_ref().map(|made| locked(made).runner_path());
        let options = RunOptions {
            scenario: self.scenario.clone(),
            place: self.place,
            seed: self.seed,
            label,
            namespaces,
            attach: self.attach.clone(),
            out: self.folder(),
            repeat: self.repeat.clone(),
            machine: machine(),
            keep: self.output.keep,
        };
        let report = on_a_thread(inside, options)?;
        // Printed at once: other runs may print at the same time.
        let json = if self.output.json {
            format!("{}\n", report.json_line())
        } else {
            String::new()
        };
        let page = self.folder().join("report.html");
        print!("{}report: {}\n{json}", report.summary(), page.display());
        Ok(report)
    }
}

/// A socket belongs to the network namespace of the thread that makes it, so the runner gets
/// threads of its own.
fn on_a_thread(inside: Option<PathBuf>, options: RunOptions) -> Result<Report> {
    let work = move || {
        if let Some(path) = &inside {
            namespaces::enter(path)?;
        }
        let runtime = runtime(inside)?;
        runtime.block_on(until_interrupted(run_scenario(options)))
    };
    let thread = std::thread::Builder::new()
        .name("runner".to_owned())
        .spawn(work)
        .map_err(io_error("start a thread"))?;
    thread.join().unwrap_or_else(|_| {
        Err(Error::Wrong(
            "the runner panicked, which is a bug".to_owned(),
        ))
    })
}

fn runtime(inside: Option<PathBuf>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKER_THREADS).enable_all();
    if let Some(path) = inside {
        builder.on_thread_start(move || {
            if let Err(error) = namespaces::enter(&path) {
                eprintln!("{error}");
            }
        });
    }
    builder.build().map_err(io_error("start a runtime"))
}

/// Runs `run` until it is interrupted; dropped then, the run cleans up everything that it made.
async fn until_interrupted(run: impl Future<Output = Result<Report>>) -> Result<Report> {
    let mut terminate = signal(SignalKind::terminate()).map_err(io_error("listen for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io_error("listen for SIGINT"))?;
    tokio::select! {
        report = run => report,
        _ = interrupt.recv() => Err(Error::Interrupted),
        _ = terminate.recv() => Err(Error::Interrupted),
    }
}

fn locked(namespaces: &Mutex<Namespaces>) -> std::sync::MutexGuard<'_, Namespaces> {
    namespaces
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn adapted(mut scenario: Scenario, cameras: Option<u32>, args: &RunArgs) -> Scenario {
    if let Some(cameras) = cameras {
        scenario.resize(cameras);
    }
    if args.without_timing {
        scenario.expect = scenario.expect.without_timing();
    }
    scenario
}

fn random_seed() -> u64 {
    // Short enough to type.
    RandomState::new().hash_one(wall_now().micros()) % 1_000_000
}

fn repeat(args: &RunArgs, name: &str, cameras: Option<u32>, seed: u64) -> String {
    let mut line = format!("holdfast-chaos run {name} --seed {seed}");
    if let Some(cameras) = cameras {
        line += &format!(" --cameras {cameras}");
    }
    if args.without_timing {
        line += " --without-timing";
    }
    if let Some(place) = args.on {
        line += &format!(" --on {}", format!("{place:?}").to_lowercase());
    }
    if let Some(attach) = &args.attach {
        line += &format!(" --attach {}", attach.display());
    }
    line
}

pub(super) fn command_line() -> String {
    let words = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    format!("holdfast-chaos {words}")
}

/// Kernel and number of cores, as text.
fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) {
        "debug build"
    } else {
        "release build"
    };
    format!("Linux {}, {cores} cores, {build}", kernel.trim())
}
