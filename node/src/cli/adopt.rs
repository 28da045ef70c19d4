//! `holdfast volume adopt`: takes over the footage of another cluster. Its cameras first get
//! numbers here, and a repeated request gets the same numbers; then each volume gets the list of
//! them, in one step. So an adoption that was interrupted is run again, and does the rest.

mod plan;

use super::args::AdoptArgs;
use super::segment::shelf;
use super::table::{Table, printable};
use crate::client::{Api, ApiOptions};
use crate::terminal::clock::wall_now;
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_control_api::wire::{
    AdoptCamera, AdoptCameras, Camera, CameraNumber, Cluster, DeletedCamera, Node, Volume,
};
use holdfast_storage::ids::CameraId;
use holdfast_storage::offline::Shelf;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{AdoptedNumber, Adoption, Error, adopt, adoption_in, open_root};
use plan::{Becomes, Known, Planned, Theirs};
use reqwest::Method;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Adopted {
    from_cluster: Uuid,
    into_cluster: Uuid,
    volumes: Vec<PathBuf>,
    cameras: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    theirs: CameraId,
    name: String,
    from: Timestamp,
    to: Timestamp,
    bytes: u64,
    /// `None` until it has a number here.
    ours: Option<CameraId>,
    /// The name of the camera here that its footage goes to.
    mapped_onto: Option<String>,
}

/// Volumes that may be taken over.
struct Found {
    shelf: Shelf,
    /// In the order of the shelf's volumes.
    volumes: Vec<Uuid>,
    from: Uuid,
    into: Uuid,
}

pub(super) async fn run(args: AdoptArgs, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let shelf = shelf::open(&args.dirs)?;
    let api = Api::new(&options)?;
    let found = check(shelf, &api).await?;
    let known = known(&api).await?;
    let theirs = theirs(&found.shelf);
    let plan = plan::plan(&theirs, &args.maps, &known)?;
    show(&found, &plan);
    confirm(args.yes)?;
    let numbered = number(&api, found.from, &plan).await?;
    let numbers: Vec<AdoptedNumber> = numbered
        .iter()
        .map(|(planned, ours)| AdoptedNumber {
            theirs: planned.theirs.camera,
            ours: *ours,
        })
        .collect();
    for (volume, id) in found.shelf.volumes().iter().zip(&found.volumes) {
        let adoption = Adoption::new(*id, (found.from, found.into), wall_now(), numbers.clone());
        let adoption = adoption.map_err(CliError::usage)?;
        adopt(&volume.path, &adoption).map_err(|error| volume_error(&error))?;
    }
    let adopted = Adopted {
        from_cluster: found.from,
        into_cluster: found.into,
        volumes: found
            .shelf
            .volumes()
            .iter()
            .map(|volume| volume.path.clone())
            .collect(),
        cameras: numbered
            .iter()
            .map(|(planned, ours)| line(planned, Some(*ours)))
            .collect(),
    };
    out.print(&adopted, describe)
}

/// # Errors
/// Why the volumes may not be taken over.
async fn check(shelf: Shelf, api: &Api) -> Result<Found, CliError> {
    let cluster: Cluster = api.get(&["cluster"], &[]).await?;
    let into = cluster.id.as_deref().and_then(|id| id.parse::<Uuid>().ok());
    let into = into.ok_or_else(|| {
        CliError::new(
            ExitKind::Unavailable,
            "the node that was asked belongs to no cluster",
        )
        .hint("found one with `holdfast cluster init`, or join one, and then take the volumes over")
    })?;
    let open = open_volumes(api).await?;
    let mut ids = Vec::new();
    let mut from = None;
    for volume in shelf.volumes() {
        let path = volume.path.display();
        if let Some(pid) = &volume.in_use_by {
            return Err(
                CliError::failed(format!("{path} is in use by process {pid}"))
                    .hint("take it out of that node's configuration, or stop the node"),
            );
        }
        let (id, cluster) = volume.identity.ok_or_else(|| {
            CliError::failed(format!(
                "whose volume {path} is cannot be read: volume.json and all segments' headers are \
                 damaged"
            ))
            .hint("`holdfast segment extract` saves what is sound of it")
        })?;
        if cluster == into {
            return Err(CliError::failed(format!("{path} belongs to this cluster already")).hint(
                "it needs no taking over: name it in a [[storage.volume]] of a node here, and its \
                 footage is served",
            ));
        }
        if let Some((node, volume)) = open
            .iter()
            .find(|(_, volume)| volume.id.as_deref() == Some(&id.to_string()))
        {
            return Err(CliError::failed(format!(
                "{path} is a copy of volume {} of {}, which has it open at {}",
                volume.index, node.name, volume.path
            ))
            .hint("the same footage is served already"));
        }
        from = Some(cluster);
        ids.push(id);
    }
    let from = from.ok_or_else(|| CliError::usage("no volume was named"))?;
    if let Some(failed) = shelf.failed().first() {
        eprintln!(
            "warning: {} segments cannot be read, and cameras that are in no other one are not \
             taken over; the first: {}",
            shelf.failed().len(),
            printable(&failed.error)
        );
    }
    Ok(Found {
        shelf,
        volumes: ids,
        from,
        into,
    })
}

/// The open volumes of all members that are alive.
async fn open_volumes(api: &Api) -> Result<Vec<(Node, Volume)>, CliError> {
    let nodes: Vec<Node> = api.get(&["nodes"], &[]).await?;
    let mut open = Vec::new();
    for node in nodes.into_iter().filter(|node| node.alive) {
        let volumes: Vec<Volume> = api
            .get(&["nodes", &node.id.to_string(), "volumes"], &[])
            .await?;
        open.extend(volumes.into_iter().map(|volume| (node.clone(), volume)));
    }
    Ok(open)
}

async fn known(api: &Api) -> Result<Vec<Known>, CliError> {
    let recorded: Vec<Camera> = api.get(&["cameras"], &[]).await?;
    let deleted: Vec<DeletedCamera> = api.get(&["cameras", "deleted"], &[]).await?;
    let recorded = recorded.into_iter().map(|camera| Known {
        id: camera.id,
        name: camera.name,
        is_recorded: true,
    });
    let deleted = deleted.into_iter().map(|camera| Known {
        id: camera.id,
        name: camera.name,
        is_recorded: false,
    });
    Ok(recorded.chain(deleted).collect())
}

/// Merges all streams of a camera.
fn theirs(shelf: &Shelf) -> Vec<Theirs> {
    let mut all: Vec<Theirs> = Vec::new();
    for (id, held) in shelf.streams() {
        match all.last_mut().filter(|last| last.camera == id.camera) {
            Some(last) => {
                (last.from, last.to) = (last.from.min(held.from), last.to.max(held.to));
                last.bytes += held.payload_bytes;
            }
            None => all.push(Theirs {
                camera: id.camera,
                names: shelf::names(shelf, id.camera),
                from: held.from,
                to: held.to,
                bytes: held.payload_bytes,
            }),
        }
    }
    all
}

/// On standard error: standard output is for the result.
fn show(found: &Found, plan: &[Planned]) {
    for volume in found.shelf.volumes() {
        let nodes: Vec<String> = volume.nodes.iter().map(ToString::to_string).collect();
        let before = adopted_before(&volume.path, found.into);
        eprintln!(
            "{}: recorded by node {} of cluster {}, {} segments, {} bytes{before}",
            volume.path.display(),
            nodes.join(", "),
            found.from,
            volume.segments,
            volume.bytes
        );
    }
    let mut table = Table::new(&["CAMERA", "NAME", "FROM", "TO", "BYTES", "BECOMES"]);
    for planned in plan {
        let Theirs {
            camera,
            from,
            to,
            bytes,
            ..
        } = &planned.theirs;
        table.row(vec![
            camera.to_string(),
            planned.name.clone(),
            from.to_string(),
            to.to_string(),
            bytes.to_string(),
            planned.becomes.to_string(),
        ]);
    }
    eprint!("{table}");
    plan.iter()
        .filter_map(|planned| planned.hint.as_ref())
        .for_each(|hint| eprintln!("hint: {}", printable(hint)));
}

/// A damaged list counts as none: it is written again.
fn adopted_before(path: &Path, into: Uuid) -> String {
    let adoption = open_root(path, false)
        .ok()
        .flatten()
        .and_then(|root| adoption_in(&root).ok().flatten());
    match adoption {
        Some(adoption) if adoption.into == into => {
            format!(", taken over before, at {}", adoption.at)
        }
        Some(adoption) => format!(
            ", taken over by cluster {} at {}",
            adoption.into, adoption.at
        ),
        None => String::new(),
    }
}

fn confirm(is_confirmed: bool) -> Result<(), CliError> {
    if is_confirmed {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage(
            "nothing was changed: this asks before it takes anything over",
        )
        .hint("--yes answers"));
    }
    eprint!("Take this footage over into the cluster? [y/N] ");
    // If the question cannot be written, it is not seen, and the answer is no.
    std::io::stderr().flush().ok();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) => Err(CliError::usage("nothing was changed")),
        Err(error) => Err(CliError::failed(format!(
            "the answer cannot be read: {error}"
        ))),
    }
}

/// Each camera with its number here.
async fn number<'a>(
    api: &Api,
    from: Uuid,
    plan: &'a [Planned],
) -> Result<Vec<(&'a Planned, CameraId)>, CliError> {
    let own = |planned: &&Planned| matches!(planned.becomes, Becomes::OfItsOwn);
    let cameras: Vec<AdoptCamera> = plan
        .iter()
        .filter(own)
        .map(|planned| AdoptCamera {
            camera: planned.theirs.camera,
            name: planned.name.clone(),
        })
        .collect();
    let mut given: Vec<CameraNumber> = Vec::new();
    if !cameras.is_empty() {
        let body = AdoptCameras {
            cluster: from.to_string(),
            cameras,
        };
        let answer = api
            .call(Method::POST, &["cameras", "adopt"], Some(&body))
            .await?;
        given = serde_json::from_value(answer).map_err(|error| {
            CliError::failed(format!("the cluster's numbers cannot be read: {error}"))
        })?;
    }
    let ours = |planned: &'a Planned| {
        let id = match &planned.becomes {
            Becomes::Ours { id, .. } => Some(*id),
            Becomes::OfItsOwn => given
                .iter()
                .find(|given| given.camera == planned.theirs.camera)
                .map(|given| given.id),
        };
        let missing = || {
            CliError::failed(format!(
                "the cluster gave no number for camera {}",
                planned.theirs.camera
            ))
        };
        id.map(|id| (planned, id)).ok_or_else(missing)
    };
    plan.iter().map(ours).collect()
}

fn volume_error(error: &Error) -> CliError {
    CliError::failed(error.to_string())
        .hint("run the same command again: what is done already stays as it is")
}

fn line(planned: &Planned, ours: Option<CameraId>) -> Line {
    let Theirs {
        camera,
        from,
        to,
        bytes,
        ..
    } = planned.theirs;
    let mapped_onto = match &planned.becomes {
        Becomes::Ours { name, .. } => Some(name.clone()),
        Becomes::OfItsOwn => None,
    };
    Line {
        theirs: camera,
        name: planned.name.clone(),
        from,
        to,
        bytes,
        ours,
        mapped_onto,
    }
}

fn describe(adopted: &Adopted) -> String {
    let mut table = Table::new(&["THEIRS", "NAME", "OURS", ""]);
    for line in &adopted.cameras {
        let note = line.mapped_onto.as_ref().map_or_else(
            || "deleted camera".to_owned(),
            |name| format!("camera {name}"),
        );
        table.row(vec![
            line.theirs.to_string(),
            line.name.clone(),
            line.ours.map_or_else(String::new, |id| id.to_string()),
            note,
        ]);
    }
    let config: String = adopted
        .volumes
        .iter()
        .map(|path| {
            format!(
                "[[storage.volume]]\npath = {:?}\n",
                path.display().to_string()
            )
        })
        .collect();
    format!(
        "{table}taken over. To have a node serve it, add to its configuration, and send it SIGHUP \
         (systemctl reload holdfast):\n\n{config}"
    )
}
