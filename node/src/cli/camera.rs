//! `holdfast camera`: add, edit, list, show, release, remove, restore.

mod former;

use super::args::{
    AudioArg, CameraAddArgs, CameraCommand, CameraEditArgs, CameraFields, ProtectionArg,
    TransportArg,
};
use super::resolve;
use super::table::{Table, or_dash, printable};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_consensus::decide::placement::Lack;
use holdfast_consensus::model::{Audio, Invalid, Protection, RtspUrl, Transport};
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::{
    Camera, CameraPatch, HeldAs, NewCamera, NewSource, Node, NodeRef, SourcePatch,
};
use holdfast_storage::ids::NodeId;
use reqwest::Method;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Environment variable with the password of the camera that is added.
const PASSWORD_ENV: &str = "HOLDFAST_CAMERA_PASSWORD";

/// The longest password that is read, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

pub(super) async fn run(
    command: CameraCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    match command {
        CameraCommand::Add(args) => add(&api, args, out).await,
        CameraCommand::Edit(args) => edit(&api, args, out).await,
        CameraCommand::List { deleted: false } => list(&api, out).await,
        CameraCommand::List { deleted: true } => former::list(&api, out).await,
        CameraCommand::Restore { camera, name } => former::restore(&api, &camera, name, out).await,
        CameraCommand::Show { camera } => {
            let camera = resolve::camera(&api, &camera).await?;
            let names = node_names(&api).await?;
            out.print(&camera, |camera| describe(camera, &names))
        }
        CameraCommand::Release { camera } => {
            let camera = resolve::camera(&api, &camera).await?;
            api.call(
                Method::POST,
                &["cameras", &camera.id.to_string(), "release"],
                None::<&()>,
            )
            .await?;
            out.print(&camera, |camera| {
                format!(
                    "released camera {} ({})",
                    camera.id,
                    printable(&camera.name)
                )
            })
        }
        CameraCommand::Remove { camera } => {
            let camera = resolve::camera(&api, &camera).await?;
            api.call(
                Method::DELETE,
                &["cameras", &camera.id.to_string()],
                None::<&()>,
            )
            .await?;
            out.print(&camera, |camera| {
                let (id, name) = (camera.id, printable(&camera.name));
                format!(
                    "removed camera {id} ({name}); its footage stays as long as its class keeps \
                     it, and `holdfast camera restore {id}` brings it back"
                )
            })
        }
    }
}

async fn add(api: &Api, args: CameraAddArgs, out: Output) -> Result<(), CliError> {
    let camera = new_camera(args)?;
    let answer = api.call(Method::POST, &["cameras"], Some(&camera)).await?;
    let created: Camera = serde_json::from_value(answer).map_err(|error| {
        CliError::failed(format!(
            "the camera was added, but the answer cannot be read: {error}"
        ))
    })?;
    out.print(&created, |camera| said_of("added", camera))
}

async fn edit(api: &Api, args: CameraEditArgs, out: Output) -> Result<(), CliError> {
    let camera = resolve::camera(api, &args.camera).await?;
    let path = ["cameras", &camera.id.to_string()];
    let answer = api.call(Method::PATCH, &path, Some(&patch(args)?)).await?;
    let changed: Camera = serde_json::from_value(answer).map_err(|error| {
        CliError::failed(format!(
            "the camera was changed, but the answer cannot be read: {error}"
        ))
    })?;
    out.print(&changed, |camera| said_of("changed", camera))
}

fn said_of(what: &str, camera: &Camera) -> String {
    let warnings = camera
        .warnings
        .iter()
        .map(|warning| format!("\nwarning: {}", printable(warning)));
    format!(
        "{what} camera {} ({}){}",
        camera.id,
        printable(&camera.name),
        warnings.collect::<String>()
    )
}

fn new_camera(CameraAddArgs { name, url, fields }: CameraAddArgs) -> Result<NewCamera, CliError> {
    check_url(&url)?;
    let CameraPatch {
        source,
        protection,
        priority,
        retention_class,
        labels,
        node_labels,
        preferred_node,
        ..
    } = changes(fields)?;
    let plain = NewCamera::new(name, NewSource::new(url));
    let source = source.unwrap_or_default();
    Ok(NewCamera {
        source: NewSource {
            username: source.username,
            password: source.password,
            transport: source.transport.unwrap_or_default(),
            audio: source.audio.unwrap_or_default(),
            stall_after_ms: source.stall_after_ms,
            tls: source.tls.unwrap_or_default(),
            budget_bps: source.budget_bps,
            ..plain.source
        },
        protection: protection.unwrap_or(plain.protection),
        priority: priority.unwrap_or(plain.priority),
        retention_class: retention_class.unwrap_or(plain.retention_class),
        labels: labels.unwrap_or_default(),
        node_labels: node_labels.unwrap_or_default(),
        preferred_node,
        name: plain.name,
    })
}

fn patch(
    CameraEditArgs {
        name, url, fields, ..
    }: CameraEditArgs,
) -> Result<CameraPatch, CliError> {
    url.as_deref().map_or(Ok(()), check_url)?;
    let changes = changes(fields)?;
    let source = match (url, changes.source) {
        (None, source) => source,
        (url, source) => Some(SourcePatch {
            url,
            ..source.unwrap_or_default()
        }),
    };
    Ok(CameraPatch {
        name,
        source,
        ..changes
    })
}

/// The fields that were given.
fn changes(fields: CameraFields) -> Result<CameraPatch, CliError> {
    let password = match (&fields.username, &fields.password_file) {
        (None, None) => None,
        (_, file) => password(file.as_deref())?,
    };
    let source = SourcePatch {
        url: None,
        username: fields.username,
        password,
        transport: fields.transport.map(|transport| match transport {
            TransportArg::Auto => Transport::Auto,
            TransportArg::Tcp => Transport::Tcp,
            TransportArg::Udp => Transport::Udp,
        }),
        audio: fields.audio.map(|audio| match audio {
            AudioArg::Auto => Audio::Auto,
            AudioArg::Off => Audio::Off,
        }),
        stall_after_ms: fields.stall_after_ms,
        tls: fields.tls,
        budget_bps: fields.budget_bps,
    };
    Ok(CameraPatch {
        name: None,
        source: (source != SourcePatch::default()).then_some(source),
        protection: fields.protection.map(|protection| match protection {
            ProtectionArg::Standard => Protection::Standard,
            ProtectionArg::Gapless => Protection::Gapless,
        }),
        priority: fields.priority,
        retention_class: fields.retention_class,
        labels: given(fields.labels),
        node_labels: given(fields.node_labels),
        preferred_node: fields.preferred_node.map(node_ref),
    })
}

fn given(labels: Vec<(String, String)>) -> Option<BTreeMap<String, String>> {
    (!labels.is_empty()).then(|| labels.into_iter().collect())
}

/// A number takes precedence over a name that looks like one, as everywhere.
fn node_ref(text: String) -> NodeRef {
    text.parse().map_or(NodeRef::Name(text), NodeRef::Id)
}

/// Checked before the password prompt, by the cluster's own rule.
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
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.map_err(|error| {
            CliError::failed(format!(
                "cannot read the password from {}: {error}",
                file.display()
            ))
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
        return Err(CliError::failed(format!(
            "the password is longer than {PASSWORD_BYTES_MAX} bytes"
        )));
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
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "STATE",
        "OWNER",
        "SUCCESSOR",
        "EPOCH",
        "DURABLE UNTIL",
        "ERROR",
    ]);
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
    match (
        camera.held_back.map(|held| held.standing),
        camera.recording.state,
    ) {
        (Some(HeldAs::Suspect), Some(RecorderState::Recording)) => return "recording (suspect)",
        (Some(HeldAs::Suspect), _) => return "SUSPECT",
        (Some(HeldAs::Quarantined), _) => return "QUARANTINED",
        (None, _) => {}
    }
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
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        or_dash((!labels.is_empty()).then(|| labels.join(" ")))
    };
    let lines = [
        ("camera", format!("{} {}", camera.id, camera.name)),
        ("url", camera.source.url.clone()),
        ("user", or_dash(camera.source.username.clone())),
        (
            "password",
            if camera.source.has_password {
                "set"
            } else {
                "none"
            }
            .to_owned(),
        ),
        (
            "transport",
            format!("{:?}", camera.source.transport).to_lowercase(),
        ),
        ("audio", format!("{:?}", camera.source.audio).to_lowercase()),
        (
            "stall after",
            camera
                .source
                .stall_after_ms
                .map_or("automatic".to_owned(), |ms| format!("{ms} ms")),
        ),
        ("tls", camera.source.tls.to_string()),
        (
            "budget",
            camera
                .source
                .budget_bps
                .map_or("automatic".to_owned(), |bps| format!("{bps} bit/s")),
        ),
        (
            "protection",
            format!("{:?}", camera.protection).to_lowercase(),
        ),
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
        (
            "held until",
            or_dash(camera.held_back.and_then(|held| held.until)),
        ),
        ("error", or_dash(camera.recording.error.clone())),
    ];
    lines
        .map(|(key, value)| format!("{key:<14}{}\n", printable(&value)))
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::model::Tls;

    #[test]
    fn a_url_that_the_cluster_would_refuse_is_refused() {
        assert!(check_url("rtsp://cam/1").is_ok());
        assert!(
            check_url("rtsp://u:p@cam/1")
                .unwrap_err()
                .hint
                .unwrap()
                .contains("--password-file")
        );
        assert!(
            check_url("rtsps://cam/1").is_ok()
                && check_url("http://cam/1").is_err()
                && check_url("cam").is_err()
        );
    }

    #[test]
    fn what_is_given_is_added_or_changed_and_nothing_else() {
        let fields = || CameraFields {
            transport: Some(TransportArg::Udp),
            stall_after_ms: Some(20_000),
            tls: Some(Tls::Insecure),
            labels: vec![("site".to_owned(), "north".to_owned())],
            ..CameraFields::default()
        };
        let (name, url) = ("gate".to_owned(), "rtsps://cam/1".to_owned());
        let added = new_camera(CameraAddArgs {
            name,
            url: url.clone(),
            fields: fields(),
        })
        .unwrap();
        assert_eq!(
            (added.source.transport, added.source.tls, added.priority),
            (Transport::Udp, Tls::Insecure, 100)
        );
        let args = CameraEditArgs {
            camera: "1".to_owned(),
            name: None,
            url: Some(url),
            fields: fields(),
        };
        let changed = patch(args).unwrap();
        assert_eq!(
            changed.source.as_ref().unwrap().stall_after_ms,
            Some(20_000)
        );
        let json = serde_json::to_value(&changed).unwrap();
        assert_eq!(
            json.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["labels", "source"],
            "{json}"
        );
        let nothing = CameraEditArgs {
            camera: "1".to_owned(),
            name: None,
            url: None,
            fields: CameraFields::default(),
        };
        assert_eq!(patch(nothing).unwrap(), CameraPatch::default());
    }

    #[test]
    fn a_password_loses_its_line_end_only_and_is_bounded() {
        assert_eq!(read_password(&b" p w \r\n"[..]).unwrap(), " p w ");
        assert!(
            read_password(&[b'x'; 2000][..])
                .unwrap_err()
                .message
                .contains("longer than")
        );
    }
}
