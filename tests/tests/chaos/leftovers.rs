//! An interrupted run removes everything that it made; the next run removes what a killed one left
//! behind.

use crate::program::Program;
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

const RUN: [&str; 4] = ["run", "leader-kill", "--cameras", "1"];

const BEGUN: &str = "the scenario begins";

/// How long the kernel may take to end nodes whose parent has ended.
const ENDED_MAX: Duration = Duration::from_secs(20);

/// Entries of `dir` that a run makes for itself.
fn folders(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("holdfast-chaos-") && name != "holdfast-chaos-runs")
        .collect()
}

/// Processes whose command line names `dir`.
fn processes(dir: &Path) -> usize {
    let name = dir.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(&name))
        .count()
}

fn wait_no_process(dir: &Path) {
    for _ in 0..ENDED_MAX.as_millis() / 100 {
        if processes(dir) == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{} processes still run", processes(dir));
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &RUN);
    program.wait_says(BEGUN);
    assert!(
        processes(dir.path()) >= 3 && folders(dir.path()).len() == 1,
        "its nodes run, in its folder"
    );
    program.signal(Signal::INT);
    assert_eq!(program.wait().code(), Some(3));
    assert_eq!(
        (processes(dir.path()), folders(dir.path())),
        (0, Vec::new())
    );
}

#[test]
fn what_a_killed_run_left_the_next_one_takes_away_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("holdfast-chaos-not-ours")).unwrap();
    let mut killed = Program::start(dir.path(), &RUN);
    killed.wait_says(BEGUN);
    let mut living = Program::start(dir.path(), &RUN);
    living.wait_says(BEGUN);
    killed.signal(Signal::KILL);
    killed.wait();
    assert_eq!(
        folders(dir.path()).len(),
        3,
        "the killed run's, the live run's, and not ours"
    );

    let next = Program::start(dir.path(), &RUN);
    next.wait_says("which a run that was killed had left");
    next.wait_says(BEGUN);
    assert_eq!(
        folders(dir.path()).len(),
        3,
        "the live run's, the next run's, and not ours"
    );
    drop(next);
    living.signal(Signal::TERM);
    assert_eq!(living.wait().code(), Some(3));
    assert!(dir.path().join("holdfast-chaos-not-ours").exists());
    wait_no_process(dir.path());
}
