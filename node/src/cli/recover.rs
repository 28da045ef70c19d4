//! `holdfast cluster recover`: a way back if the majority of the voters is lost for good.

use super::args::RecoverArgs;
use super::table::printable;
use crate::config::Config;
use crate::host::recovery::{Recovered, RecoveryError, Survivor};
use crate::terminal::clock::wall_now;
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use futures::future::join_all;
use holdfast_consensus::model::{Node, Role};
use holdfast_consensus::recovery::{LogPosition, RecoveryError as RemainsError};
use holdfast_consensus::state::NUMBERS_LEAP;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a member may take to accept a connection.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest answer that confirms.
const ANSWER_BYTES_MAX: u64 = 1_024;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    node: String,
    cluster: String,
    /// The generation that the node belongs to now.
    generation: u64,
    /// The last entry of the log that the generation begins with; `changed_at`: when the last
    /// change before it was requested.
    position: LogPosition,
    changed_at: Option<Timestamp>,
    cameras: usize,
    holds: usize,
    dropped: Vec<Member>,
    is_witness: bool,
    /// The folder with the consensus of the former generation, as far as the node knew it.
    kept: PathBuf,
}

#[derive(Debug, Serialize)]
struct Member {
    id: NodeId,
    name: String,
    peer_addr: String,
    is_voter: bool,
    answers: bool,
}

pub(super) async fn run(args: &RecoverArgs, out: Output) -> Result<(), CliError> {
    let config = Config::load(&args.config).map_err(|error| CliError::failed(error.to_string()))?;
    let survivor = Survivor::find(&config.data_dir)
        .await
        .map_err(|error| recovery_error(&error))?;
    let members = members(&survivor).await;
    let name = own(&survivor).map_or_else(
        || survivor.node().to_string(),
        |node| node.spec.name.to_string(),
    );
    refuse_needless(args, &survivor, &members)?;
    eprintln!("{}", plan(&survivor, &members, &name));
    confirm(args, &name, &survivor)?;
    let recovered = survivor
        .recover(wall_now(), |_| Ok(()))
        .await
        .map_err(|error| recovery_error(&error))?;
    out.print(&report(&survivor, members, name, recovered), describe)
}

fn own(survivor: &Survivor) -> Option<&Node> {
    survivor.remains.state().nodes.get(survivor.node())
}

fn is_witness(survivor: &Survivor) -> bool {
    own(survivor).is_some_and(|node| node.spec.role == Role::Witness)
}

/// All others, and whether anything accepts connections at their last addresses.
async fn members(survivor: &Survivor) -> Vec<Member> {
    let voters = &survivor.remains.voters();
    let others = survivor
        .remains
        .state()
        .nodes
        .values()
        .filter(|node| node.id != survivor.node());
    let asked = others.map(|node| async move {
        let addr = node.spec.peer_addr.as_str();
        let answers = matches!(
            timeout(REACH_TIMEOUT, TcpStream::connect(addr)).await,
            Ok(Ok(_))
        );
        Member {
            id: node.id,
            name: node.spec.name.to_string(),
            peer_addr: addr.to_owned(),
            is_voter: voters.contains(&node.id),
            answers,
        }
    });
    join_all(asked).await
}

/// # Errors
/// Nothing is lost for good, as far as this machine can see.
fn refuse_needless(
    args: &RecoverArgs,
    survivor: &Survivor,
    members: &[Member],
) -> Result<(), CliError> {
    let alive: BTreeSet<NodeId> = members
        .iter()
        .filter(|member| member.answers)
        .map(|member| member.id)
        .collect();
    let is_majority = survivor.remains.is_majority(&alive);
    let fenced = survivor.remains.fenced();
    if args.force || (!is_majority && fenced.is_none()) {
        return Ok(());
    }
    let (message, hint) = match fenced {
        Some(why) if !is_majority => (
            printable(why),
            "where no newer data_dir is left, --force makes this one the beginning of a new \
             generation all the same",
        ),
        _ if alive.is_empty() => (
            "this node is the only voter: it needs no other to decide, and nothing is to be \
             recovered"
                .to_owned(),
            "start it, and look at `holdfast status`. --force begins a new generation all the same",
        ),
        _ => (
            format!(
                "{} still take connections: with this node they are a majority, so nothing is lost",
                names(members)
            ),
            "start this node, and look at `holdfast status`. If those are lost all the same \
             (another program answers there, or their data is gone), stop them, or use --force: \
             then they take no part any more",
        ),
    };
    Err(CliError::failed(message).hint(hint))
}

fn names(members: &[Member]) -> String {
    let alive = members.iter().filter(|member| member.answers);
    let named: Vec<String> = alive
        .map(|member| format!("{} ({})", member.name, member.peer_addr))
        .collect();
    named.join(", ")
}

/// What would happen, shown before the confirmation.
fn plan(survivor: &Survivor, members: &[Member], name: &str) -> String {
    let (remains, state) = (&survivor.remains, survivor.remains.state());
    let LogPosition { term, index } = remains.position();
    let changed = remains
        .changed_at()
        .map_or_else(String::new, |at| format!(", the last change is of {at}"));
    let mut lines = vec![
        format!(
            "{name} becomes the only voter of generation {} of cluster {}.",
            remains.generation().number + 1,
            survivor.identity.cluster
        ),
        format!("it stands at  entry {index} of term {term}{changed}"),
        "lost          every change that the others acknowledged after that".to_owned(),
        format!(
            "kept          {} cameras, {} holds, the settings, all footage",
            state.cameras.len(),
            state.holds.len()
        ),
    ];
    lines.extend(members.iter().map(|member| {
        let kind = if member.is_voter { "voter" } else { "no voter" };
        let answers = if member.answers {
            "TAKES CONNECTIONS"
        } else {
            "does not answer"
        };
        format!(
            "dropped       {} (node {}, {kind}, {}): {answers}",
            member.name, member.id, member.peer_addr
        )
    }));
    lines.push(
        "Nodes that are dropped are refused from then on, also where they still run and are a \
         majority. They can join again, and keep their footage."
            .to_owned(),
    );
    if is_witness(survivor) {
        lines.push(
            "WARNING: this node is a witness. It has no footage, and records none: cameras are \
             recorded again once a recorder has joined. If a recorder is left, recover that one \
             instead."
                .to_owned(),
        );
    }
    lines.extend(
        remains
            .fenced()
            .map(|why| format!("WARNING: {}", printable(why))),
    );
    lines.join("\n")
}

/// # Errors
/// The name was not typed.
fn confirm(args: &RecoverArgs, name: &str, survivor: &Survivor) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    eprintln!("There is no way back. Type the name of the node ({name}) to continue:");
    let mut answer = String::new();
    let read = std::io::stdin()
        .lock()
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut answer);
    read.map_err(|error| CliError::failed(format!("cannot read the answer: {error}")))?;
    let is_confirmed =
        answer.trim() == name || answer.trim() == survivor.identity.cluster.to_string();
    if is_confirmed {
        return Ok(());
    }
    Err(CliError::failed("not confirmed: nothing was changed").hint("--yes does it without asking"))
}

fn report(survivor: &Survivor, members: Vec<Member>, node: String, recovered: Recovered) -> Report {
    let state = survivor.remains.state();
    let Recovered {
        generation,
        dropped,
        kept,
    } = recovered;
    let is_dropped = |member: &Member| dropped.iter().any(|node| node.id == member.id);
    Report {
        node,
        cluster: survivor.identity.cluster.to_string(),
        generation: generation.number,
        position: survivor.remains.position(),
        changed_at: survivor.remains.changed_at(),
        cameras: state.cameras.len(),
        holds: state.holds.len(),
        dropped: members.into_iter().filter(is_dropped).collect(),
        is_witness: is_witness(survivor),
        kept,
    }
}

fn describe(report: &Report) -> String {
    let Report {
        node,
        generation,
        kept,
        ..
    } = report;
    let record = if report.is_witness {
        ""
    } else {
        ": it records all cameras that it has room for"
    };
    let kept = kept.display();
    format!(
        "{node} is the only voter of generation {generation} of cluster {}. Start it{record}.\n\
         New cameras get numbers that are {NUMBERS_LEAP} higher than before: the lost nodes may \
         have given out those between.\n\
         What it knew before is kept in {kept}; nothing needs it any more.\n\
         To have a node that was dropped join again: stop it, remove identity.json, raft* and \
         pki from its data_dir, leave its volumes as they are, start it, and `holdfast \
         cluster join` there.",
        report.cluster
    )
}

fn recovery_error(error: &RecoveryError) -> CliError {
    let failed = CliError::failed(error.to_string());
    match error {
        RecoveryError::Remains(RemainsError::InUse { .. }) => {
            failed.hint("stop it first: `systemctl stop holdfast`, or `kill` the process")
        }
        RecoveryError::Owner { owner, .. } => failed.hint(format!(
            "run this as that user: `sudo -u '#{owner}' holdfast cluster recover ...`"
        )),
        RecoveryError::NoIdentity(_) | RecoveryError::Remains(RemainsError::Nothing(_)) => failed
            .hint(
                "is this the configuration of the node that is left? `data_dir` in it says where \
                 its data is",
            ),
        _ => failed,
    }
}
