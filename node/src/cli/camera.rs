//! `holdfast camera`: add, list, show, remove.

use super::args::{CameraAddArgs, CameraCommand, ProtectionArg, TransportArg};
use super::client::{Api, ApiOptions};
use super::error::CliError;
use super::output::Output;
use super::resolve;
use super::table::{Table, or_dash, printable};
use holdfast_consensus::heartbeat::RecorderState;
use holdfast_consensus::model::{Invalid, Protection, RtspUrl, Transport};
use holdfast_consensus::placement::Lack;
use holdfast_control_api::wire::{Camera, NewCamera, NewSource, Node, NodeRef};
use holdfast_storage::ids::NodeId;
use reqwest::Method;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Environment variable with the password of the camera that is added.
const PASSWORD_ENV: &str = "HOLDFAST_CAMERA_PASSWORD";

/// The longest password that is read, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

pub(super) async fn run(command: CameraCommand, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    match command {
        CameraCommand::Add(args) => add(&api, args, out).await,
        CameraCommand::List => list(&api, out).await,
        CameraCommand::Show { camera } => {
            let camera = resolve::camera(&api, &camera).await?;
            let names = node_names(&api).await?;
            out.print(&camera, |camera| describe(camera, &names))
        }
        CameraCommand::Remove { camera } => {
            let camera = resolve::camera(&api, &camera).await?;
            api.call(Method::DELETE, &["cameras", &camera.id.to_string()], None::<&()>).await?;
            out.print(&camera, |camera| format!("removed camera {} ({})", camera.id, printable(&camera.name)))
        }
    }
}

async fn add(api: &Api, args: CameraAddArgs, out: Output) -> Result<(), CliError> {
    let camera = new_camera(args)?;
    let answer = api.call(Method::POST, &["cameras"], Some(&camera)).await?;
    let created: Camera = serde_json::from_value(answer)
        .map_err(|error| CliError::failed(format!("the camera was added, but the answer cannot be read: {error}")))?;
    out.print(&created, |camera| {
        let warnings = camera.warnings.iter().map(|warning| format!("\nwarning: {}", printable(warning)));
        format!("added camera {} ({}){}", camera.id, printable(&camera.name), warnings.collect::<String>())
    })
}

fn new_camera(args: CameraAddArgs) -> Result<NewCamera, CliError> {
    check_url(&args.url)?;
    let password = match &args.username {
        Some(_) => password(args.password_file.as_deref())?,
        None => None,
    };
    Ok(NewCamera {
        name: args.name,
        source: NewSource {
            url: args.url,
            username: args.username,
            password,
            transport: match args.transport {
                TransportArg::Tcp => Transport::Tcp,
                TransportArg::Udp => Transport::Udp,
            },
        },
        protection: match args.protection {
            ProtectionArg::Standard => Protection::Standard,
            ProtectionArg::Gapless => Protection::Gapless,
        },
        priority: args.priority,
        retention_class: args.retention_class,
        labels: args.labels.into_iter().collect(),
        node_labels: args.node_labels.into_iter().collect(),
        preferred_node: args.preferred_node.map(node_ref),
    })
}

/// A number goes before a name that looks like one, as everywhere.
fn node_ref(text: String) -> NodeRef {
    text.parse().map_or(NodeRef::Name(text), NodeRef::Id)
}

/// Before the password is asked for: the rule is the cluster's.
fn check_url(text: &str) -> Result<(), CliError> {
    let wrong = |error: Invalid| CliError::usage(format!("--url {}", error.why));
    text.parse::<RtspUrl>()
        .map(drop)
        .map_err(|error| wrong(error).hint("logins go into --username and --password-file"))
}

fn password(file: Option<&Path>) -> Result<Option<String>, CliError> {
    let Some(file) = file else {
        return Ok(std::env::var(PASSWORD_ENV).ok());
    };
    let source: Box<dyn Read> =
        if file == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            let opened = std::fs::File::open(file);
            Box::new(opened.map_err(|error| {
                CliError::failed(format!("cannot read the password from {}: {error}", file.display()))
            })?)
        };
    read_password(source).map(Some)
}

fn read_password(source: impl Read) -> Result<String, CliError> {
    let mut text = String::new();
    source
        .take(PASSWORD_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| CliError::failed(format!("cannot read the password: {error}")))?;
    if text.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(CliError::failed(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn list(api: &Api, out: Output) -> Result<(), CliError> {
    let cameras: Vec<Camera> = api.get(&["cameras"], &[]).await?;
    let names = node_names(api).await?;
    out.print(&cameras, |cameras| table(cameras, &names))
}

type NodeNames = BTreeMap<NodeId, String>;

async fn node_names(api: &Api) -> Result<NodeNames, CliError> {
    let nodes: Vec<Node> = api.get(&["nodes"], &[]).await?;
    Ok(nodes.into_iter().map(|node| (node.id, node.name)).collect())
}

fn name_of(names: &NodeNames, id: Option<NodeId>) -> String {
    or_dash(id.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string())))
}

fn table(cameras: &[Camera], names: &NodeNames) -> String {
    let mut table = Table::new(&["ID", "NAME", "STATE", "OWNER", "SUCCESSOR", "EPOCH", "DURABLE UNTIL", "ERROR"]);
    for camera in cameras {
        table.row(vec![
            camera.id.to_string(),
            camera.name.clone(),
            state(camera).to_owned(),
            name_of(names, camera.assignment.owner),
            name_of(names, camera.assignment.successor),
            camera.assignment.epoch.to_string(),
            or_dash(camera.recording.watermark),
            camera.recording.error.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn state(camera: &Camera) -> &'static str {
    match (camera.recording.state, camera.recording.waits_for) {
        (None, Some(Lack::Capacity)) => "WAITS FOR CAPACITY",
        (None, Some(Lack::Node)) => "WAITS FOR A NODE",
        (None, None) => "NOT RECORDED",
        (Some(RecorderState::Starting), _) => "starting",
        (Some(RecorderState::Recording), _) => "recording",
        (Some(RecorderState::Failing), _) => "FAILING",
    }
}

fn describe(camera: &Camera, names: &NodeNames) -> String {
    let listed = |labels: &BTreeMap<String, String>| {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        or_dash((!labels.is_empty()).then(|| labels.join(" ")))
    };
    let lines = [
        ("camera", format!("{} {}", camera.id, camera.name)),
        ("url", camera.source.url.clone()),
        ("user", or_dash(camera.source.username.clone())),
        ("password", if camera.source.has_password { "set" } else { "none" }.to_owned()),
        ("transport", format!("{:?}", camera.source.transport).to_lowercase()),
        ("protection", format!("{:?}", camera.protection).to_lowercase()),
        ("priority", camera.priority.to_string()),
        ("retention", camera.retention_class.clone()),
        ("labels", listed(&camera.labels)),
        ("node labels", listed(&camera.node_labels)),
        ("preferred", name_of(names, camera.preferred_node)),
        ("epoch", camera.assignment.epoch.to_string()),
        ("owner", name_of(names, camera.assignment.owner)),
        ("mirror", name_of(names, camera.assignment.mirror)),
        ("successor", name_of(names, camera.assignment.successor)),
        ("moving to", name_of(names, camera.assignment.moving_to)),
        ("state", state(camera).to_owned()),
        ("recorded by", name_of(names, camera.recording.node)),
        ("durable until", or_dash(camera.recording.watermark)),
        ("error", or_dash(camera.recording.error.clone())),
    ];
    lines.map(|(key, value)| format!("{key:<14}{}\n", printable(&value))).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_the_cluster_would_refuse_is_refused() {
        assert!(check_url("rtsp://cam/1").is_ok());
        assert!(check_url("rtsp://u:p@cam/1").unwrap_err().hint.unwrap().contains("--password-file"));
        assert!(check_url("rtsps://cam/1").is_ok() && check_url("http://cam/1").is_err() && check_url("cam").is_err());
    }

    #[test]
    fn a_password_loses_its_line_end_only_and_is_bounded() {
        assert_eq!(read_password(&b" p w \r\n"[..]).unwrap(), " p w ");
        assert!(read_password(&[b'x'; 2000][..]).unwrap_err().message.contains("longer than"));
    }
}
