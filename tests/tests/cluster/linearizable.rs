//! The API's promises for configuration while leaders are paused and killed: changes, and reads
//! that ask the leader, are linearizable; values from one process of one node never go back.
//! Changes that were answered with "unknown", or not at all, may or may not count.
//!
//! Each camera is a register: its label is the value. An empty change is a read that asks the
//! leader.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of test functions"
)]

use holdfast_chaos::site::{Site, SiteOptions};
use holdfast_chaos::web::{self, Answer};
use holdfast_chaos::{Error, Result};
use holdfast_control_api::wire::{Camera, CameraPatch};
use holdfast_storage::ids::CameraId;
use reqwest::Method;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::register::{RegisterOperation as Operation, RegisterSpecification};
use tokio::time::sleep;

const NODES: usize = 3;
const CAMERAS: u32 = 2;
/// Number of clients for each node and camera.
const CLIENTS: usize = 2;
const PAUSE_BETWEEN: Duration = Duration::from_millis(30);
const LABEL: &str = "value";

/// A call's number, and its beginning or end.
type Event = (usize, Action<Operation<u64>>);

/// What became of a client's request.
#[derive(Debug)]
enum Fate {
    Done(Operation<u64>),
    /// Certainly nothing was changed or read.
    Refused,
    Unknown,
}

/// The events of one camera, in order of time.
#[derive(Debug, Default)]
struct Register {
    actions: Mutex<Vec<Event>>,
    /// Calls of unknown fate.
    unknown: Mutex<Vec<(usize, Operation<u64>)>>,
    refused: Mutex<BTreeSet<usize>>,
}

/// State that all clients share.
struct Play {
    registers: BTreeMap<CameraId, Register>,
    values: AtomicU64,
    /// Every call is a process of its own in the history: one of unknown fate never ends.
    calls: AtomicUsize,
    over: AtomicBool,
    token: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_linearizable_while_leaders_pause_and_die() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(NODES, CAMERAS)).await?;
    let registers = site
        .cameras()
        .iter()
        .map(|camera| (camera.id, Register::default()))
        .collect();
    let token = site.cluster.token().0.clone();
    let play = Arc::new(Play {
        registers,
        values: AtomicU64::new(1),
        calls: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        token,
    });
    let mut clients = Vec::new();
    for index in 0..NODES {
        for camera in play.registers.keys().flat_map(|camera| [*camera; CLIENTS]) {
            clients.push(tokio::spawn(client(
                Arc::clone(&play),
                site.cluster.api_url(index),
                camera,
            )));
        }
    }
    disturb(&mut site).await?;
    play.over.store(true, SeqCst);
    for client in clients {
        client
            .await
            .unwrap_or_else(|error| panic!("a client failed: {error}"));
    }
    for (camera, register) in &play.registers {
        register.check(*camera);
    }
    site.pass();
    Ok(())
}

async fn disturb(site: &mut Site) -> Result<()> {
    for _ in 0..2 {
        sleep(Duration::from_secs(2)).await;
        let leader = site.leader().await?;
        site.cluster.signal(leader, Signal::STOP)?;
        sleep(Duration::from_secs(3)).await;
        site.cluster.signal(leader, Signal::CONT)?;
        sleep(Duration::from_secs(1)).await;
        let leader = site.leader().await?;
        site.cluster.kill(leader).await?;
        sleep(Duration::from_secs(2)).await;
        site.cluster.start(leader)?;
        site.cluster.wait_ready(leader).await?;
    }
    Ok(())
}

/// Alternates between writes, reads through the leader, and reads of its node's own state.
async fn client(play: Arc<Play>, node: String, camera: CameraId) {
    let url = format!("{node}/api/v1/cameras/{camera}");
    let mut returned = Returned::default();
    for turn in 0.. {
        if play.over.load(SeqCst) {
            return;
        }
        match turn % 3 {
            0 => {
                play.call(
                    &url,
                    camera,
                    Operation::Write(play.values.fetch_add(1, SeqCst)),
                    &mut returned,
                )
                .await
            }
            1 => {
                play.call(&url, camera, Operation::Read(None), &mut returned)
                    .await
            }
            _ => {
                if let Ok(answer) =
                    web::send(Method::GET, &url, Some(&play.token), None::<&()>).await
                    && answer.status == 200
                {
                    returned.note(value_of(&answer));
                }
            }
        }
        sleep(PAUSE_BETWEEN).await;
    }
}

impl Play {
    async fn call(
        &self,
        url: &str,
        camera: CameraId,
        operation: Operation<u64>,
        returned: &mut Returned,
    ) {
        let register = &self.registers[&camera];
        let call = self.calls.fetch_add(1, SeqCst);
        let labels = match operation {
            Operation::Write(value) => {
                Some(BTreeMap::from([(LABEL.to_owned(), value.to_string())]))
            }
            Operation::Read(_) => None,
        };
        let patch = CameraPatch {
            labels,
            ..CameraPatch::default()
        };
        register.push(call, Action::Call(operation));
        let answer = web::send(Method::PATCH, url, Some(&self.token), Some(&patch)).await;
        match fate(&operation, &answer) {
            Fate::Done(done) => register.push(call, Action::Response(done)),
            Fate::Refused => _ = register.refused.lock().unwrap().insert(call),
            Fate::Unknown => register.unknown.lock().unwrap().push((call, operation)),
        }
        match answer {
            Ok(answer) if answer.status == 200 => returned.note(value_of(&answer)),
            Ok(_) => {}
            // After an error, another process of the node may answer.
            Err(_) => *returned = Returned::default(),
        }
    }
}

/// The promises of the API's status codes (`docs/api.md`).
fn fate(operation: &Operation<u64>, answer: &Result<Answer>) -> Fate {
    match answer {
        Ok(answer) if answer.status == 200 => Fate::Done(match operation {
            Operation::Write(value) => Operation::Write(*value),
            Operation::Read(_) => Operation::Read(Some(value_of(answer))),
        }),
        Ok(answer) if answer.status == 504 => Fate::Unknown,
        Ok(answer) => {
            let problem = answer
                .problem()
                .unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()));
            assert!(
                [
                    "stale-revision",
                    "no-leader",
                    "not-ready",
                    "consensus-stopped"
                ]
                .contains(&problem.code.as_str()),
                "{problem:?}"
            );
            Fate::Refused
        }
        Err(Error::Http(error)) if error.is_connect() => Fate::Refused,
        Err(_) => Fate::Unknown,
    }
}

fn value_of(answer: &Answer) -> u64 {
    let camera: Camera = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()));
    camera.labels.get(LABEL).map_or(0, |value| {
        value.parse().expect("a value that a client wrote")
    })
}

/// The values that one node returned to one client, in order. Each value is written once, so one
/// that comes back was reverted.
#[derive(Debug, Default)]
struct Returned {
    values: Vec<u64>,
}

impl Returned {
    fn note(&mut self, value: u64) {
        if self.values.last() != Some(&value) {
            assert!(
                !self.values.contains(&value),
                "a node returned {value} again, after {:?}",
                self.values
            );
            self.values.push(value);
        }
    }
}

impl Register {
    fn push(&self, call: usize, action: Action<Operation<u64>>) {
        self.actions.lock().unwrap().push((call, action));
    }

    fn check(&self, camera: CameraId) {
        let (refused, unknown) = (self.refused.lock().unwrap(), self.unknown.lock().unwrap());
        let actions = self.actions.lock().unwrap();
        // A read without an answer proves nothing; an unanswered change may take effect at any
        // time, even after everything else.
        let is_void = |call: &usize| {
            refused.contains(call)
                || unknown
                    .iter()
                    .any(|(id, operation)| id == call && matches!(operation, Operation::Read(_)))
        };
        let mut history: Vec<_> = actions
            .iter()
            .filter(|(call, _)| !is_void(call))
            .cloned()
            .collect();
        let open = unknown.iter().filter(|(call, _)| !is_void(call));
        history.extend(open.map(|(call, operation)| (*call, Action::Response(*operation))));
        let done = history
            .iter()
            .filter(|(_, action)| matches!(action, Action::Response(_)))
            .count();
        println!(
            "camera {camera}: {done} operations, {} unknown, {} refused",
            unknown.len(),
            refused.len()
        );
        assert!(done > 50, "too little happened to prove anything");
        assert!(
            is_linearizable(history.clone()),
            "camera {camera}: no order explains {history:?}"
        );
    }
}

fn is_linearizable(actions: Vec<Event>) -> bool {
    WGLChecker::<RegisterSpecification<u64>>::is_linearizable(History::from_actions(actions))
}

#[test]
fn a_lost_change_a_stale_read_and_one_that_goes_back_are_found() {
    use Action::{Call, Response};
    use Operation::{Read, Write};
    let written = [(0, Call(Write(1))), (0, Response(Write(1)))];
    let read = |call, value| {
        [
            (call, Call(Read(None))),
            (call, Response(Read(Some(value)))),
        ]
    };
    let unknown = [(9, Call(Write(2)))];
    let with = |rest: &[[Event; 2]]| {
        written
            .iter()
            .chain(rest.iter().flatten())
            .cloned()
            .collect()
    };
    assert!(is_linearizable(with(&[read(1, 1)])));
    assert!(
        !is_linearizable(with(&[read(1, 0)])),
        "a stale read, or a lost change"
    );
    for (seen, holds) in [
        (vec![1, 2, 2], true),
        (vec![1, 1], true),
        (vec![2, 1], false),
    ] {
        let reads: Vec<_> = seen
            .into_iter()
            .enumerate()
            .flat_map(|(at, value)| read(at + 1, value))
            .collect();
        let all = written
            .iter()
            .chain(&unknown)
            .chain(&reads)
            .cloned()
            .chain([(9, Response(Write(2)))]);
        assert_eq!(is_linearizable(all.collect()), holds);
    }
}

#[test]
#[should_panic(expected = "returned 1 again")]
fn a_node_that_goes_back_is_found() {
    let mut returned = Returned::default();
    [0, 1, 1, 2, 1]
        .into_iter()
        .for_each(|value| returned.note(value));
}
