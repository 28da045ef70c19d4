//! The commands, their arguments and their help.

mod backup;
mod camera;
mod export;
mod retention;

pub(super) use backup::{BackupArgs, PassphraseArgs, RestoreArgs};
pub(super) use camera::{
    AudioArg, CameraAddArgs, CameraCommand, CameraEditArgs, CameraFields, ProtectionArg,
    TransportArg,
};
pub(super) use export::{ExportArgs, ExportsCommand, ExportsDownloadArgs};
pub(super) use retention::{RetentionCommand, RetentionOf};

use crate::client::ApiOptions;
use crate::demo::DemoArgs;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use holdfast_storage::chunk::GapCause;
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  not found (camera, node, hold, footage)
  4  unavailable: the node cannot be reached, or the cluster has no leader";

/// High-availability recording server for IP cameras.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Args {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) api: ApiOptions,
    #[command(subcommand)]
    pub(super) command: Command,
}

const STATUS_EXIT_CODES: &str = "\
Exit codes:
  0   well
  1   failed
  2   wrong usage
  4   unavailable: the node that was asked cannot be reached
  10  degraded: nothing is lost now, but something is not as it should be, or nothing is recorded
  20  footage is being lost: a camera that should be recorded is not";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a node
    Serve(ServeArgs),
    /// Run a whole cluster with cameras on this machine and watch a node die
    Demo(DemoArgs),
    /// Show how the cluster does: what is wrong, since when, and the command that mends it
    #[command(after_help = STATUS_EXIT_CODES)]
    Status,
    /// Found a cluster, join one, show its members
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Invite a node, list the members, take one out of service and back
    #[command(subcommand, visible_alias = "node")]
    Nodes(NodesCommand),
    /// Add, change, list, show and remove cameras
    #[command(subcommand)]
    Camera(CameraCommand),
    /// Show and change what holds for the whole cluster: headroom, failback, drills
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Keep footage from being deleted, as evidence
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Try failover out on cameras that are well, without losing a frame: how long would they not
    /// be recorded?
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Show deletions that are announced, begin them now or drop them
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Show what of a camera was recorded, by whom, and every gap
    Timeline(TimelineArgs),
    /// Show every interval that was not recorded, of all cameras, with its cause and the sums by
    /// cause
    Gaps(GapsArgs),
    /// Write footage of a camera to one MP4 file
    Export(ExportArgs),
    /// Write the cluster's configuration, cameras' passwords included, to a file sealed with a
    /// passphrase
    #[command(after_help = backup::BACKUP_HELP)]
    Backup(BackupArgs),
    /// Put a configuration back that `backup` wrote
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(RestoreArgs),
    /// List, show, download and remove what `holdfast export --job` had the cluster keep
    #[command(subcommand)]
    Exports(ExportsCommand),
    /// Look into a segment file, without a running node
    #[command(subcommand)]
    Segment(SegmentCommand),
    /// Verify a whole data directory or rebuild its list, without a running node; have nodes read
    /// theirs again
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Check a configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, ClapArgs)]
pub(super) struct ServeArgs {
    /// Configuration file (an annotated example is in deploy/config/node.toml)
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// End when this process, which started us, ends
    #[arg(long, hide = true, value_name = "PID")]
    pub(super) parent_pid: Option<i32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Make this node the first member of a new cluster
    Init,
    /// Make this node a member of the cluster that invited it (`holdfast node invite`)
    Join {
        /// The token of the invitation; `-`: the first line of standard input, which other users
        /// of this machine do not see
        token: String,
    },
    /// Show members, leader, how many cameras are recorded, and what the next failure would cost
    Status,
    /// Spread cameras evenly over the nodes again, and bring them to the nodes that they prefer,
    /// without losing a frame
    Rebalance,
    /// End an upgrade: use what the new version brings. Every node runs it by then; there is no way
    /// back
    Finalize,
    /// Move all cameras of a node to others, without losing a frame, and give it none
    #[command(after_help = DRAIN_EXIT_CODES)]
    Drain(DrainArgs),
    /// Let a drained node record again
    Undrain {
        /// Name or number
        node: String,
    },
    /// Where the majority of the voters is lost for good: make this node, which must not run, the
    /// only voter of a new generation of the cluster
    #[command(after_help = RECOVER_HELP)]
    Recover(RecoverArgs),
}

const RECOVER_HELP: &str = "\
It keeps all cameras, holds and settings that this node knows, and all of its footage. Every other
member is dropped: it is refused from then on, and can join again with its footage. What the lost
members acknowledged without this node is gone. docs/disaster.md has the whole way.

Exit codes:
  0  recovered; start the node
  1  refused, not confirmed, or failed: nothing was changed
  2  wrong usage";

#[derive(Debug, ClapArgs)]
pub(super) struct RecoverArgs {
    /// The node's configuration file
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Do not ask for the node's name before
    #[arg(long)]
    pub(super) yes: bool,
    /// Also where a majority seems to live, or this data_dir is older than what its node has
    /// confirmed
    #[arg(long)]
    pub(super) force: bool,
}

const DRAIN_EXIT_CODES: &str = "\
Exit codes:
  0  the node records no camera; without --wait: the drain has begun
  1  it still recorded cameras when the time was over (the drain continues), or failed
  2  wrong usage
  3  there is no such node
  4  unavailable: the node that was asked cannot be reached, or the cluster has no leader";

#[derive(Debug, ClapArgs)]
pub(super) struct DrainArgs {
    /// Name or number
    pub(super) node: String,
    /// Return only when the node records no camera; says how many are left
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    pub(super) timeout: u64,
}

const DRILL_EXIT_CODES: &str = "\
Exit codes:
  0  passed; without --wait: the drill has begun
  1  failed, aborted, or not ended when the time was over (it continues)
  2  wrong usage
  3  there is no such camera or node
  4  unavailable: the node that was asked cannot be reached, or the cluster has no leader";

#[derive(Debug, Subcommand)]
pub(super) enum DrillCommand {
    /// Have a camera's successor take it over, and hand it back
    #[command(after_help = DRILL_EXIT_CODES)]
    Camera {
        /// Name or number
        camera: String,
        #[command(flatten)]
        wait: DrillWait,
    },
    /// The same with all cameras that a node owns, together, as its death would be
    #[command(after_help = DRILL_EXIT_CODES)]
    Node {
        /// Name or number
        node: String,
        #[command(flatten)]
        wait: DrillWait,
    },
    /// Show the newest drills and what came of them
    List {
        /// Name or number; all cameras, if not given
        #[arg(long)]
        camera: Option<String>,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct DrillWait {
    /// Return only when the drill has ended; shows how far it is until then
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    pub(super) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(super) enum SettingsCommand {
    /// Show what holds for the whole cluster
    Show,
    /// Change some of it
    Set(SettingsArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum HeadroomArg {
    /// Take cameras that would be lost with a node, and say so
    Warn,
    /// Refuse them
    Strict,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FailbackArg {
    /// Cameras stay where they are when a node comes back
    Stay,
    /// Cameras go back to the node that they prefer
    Prefer,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = true)]
pub(super) struct SettingsArgs {
    /// What happens to a camera that would not be recorded any more if a node died
    #[arg(long, value_enum)]
    pub(super) headroom: Option<HeadroomArg>,
    /// Whether any failure domain may die, not only any node
    #[arg(long, value_name = "BOOL")]
    pub(super) headroom_over_domains: Option<bool>,
    /// Whether cameras go back by themselves
    #[arg(long, value_enum)]
    pub(super) failback: Option<FailbackArg>,
    /// How long the preferred node must have been well, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(super) failback_after_s: Option<u32>,
    /// Drill each camera's failover once within this time, in seconds (3600 to a year); 0: never
    /// by itself
    #[arg(long, value_name = "SECONDS")]
    pub(super) drill_every_s: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum NodesCommand {
    /// Show every member
    List,
    /// Move all cameras of a node to others and give it none
    Drain {
        /// Name or number
        node: String,
    },
    /// Take a node out of the cluster for good: drained, or lost
    Remove {
        /// Name or number
        node: String,
        /// Also where it still owns cameras: others record them from then on, with a gap
        #[arg(long)]
        force: bool,
    },
    /// Let a drained node record again
    Undrain {
        /// Name or number
        node: String,
    },
    /// Make a token with which a new node joins: once, under this name
    Invite(InviteArgs),
    /// Show the invitations that have not expired
    Invites,
    /// Make an invitation's token useless
    Revoke {
        /// Number of the invitation
        invite: u64,
    },
    /// Show how a node's volumes stand. They are added, retired and taken out in its configuration
    /// file, which SIGHUP makes it read
    Volumes {
        /// Name or number
        node: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct InviteArgs {
    /// The name in the new node's configuration
    pub(super) name: String,
    /// The node may become a voter; it then also holds the key with which nodes are admitted
    #[arg(long)]
    pub(super) voter: bool,
    /// The node is a witness: it votes and records nothing
    #[arg(long)]
    pub(super) witness: bool,
    /// How long the token is valid, at most a day
    #[arg(
        long,
        value_name = "MINUTES",
        default_value_t = 15,
        value_parser = clap::value_parser!(u32).range(1..=1440)
    )]
    pub(super) valid_minutes: u32,
}

#[derive(Debug, Subcommand)]
pub(super) enum HoldCommand {
    /// Hold footage of a camera: no retention deletes it until the hold is removed
    Add(HoldAddArgs),
    /// Show all holds
    List,
    /// End a hold; what no other hold covers is deleted as its class's limits say, and copies of it
    /// at once
    Remove {
        /// Number of the hold
        hold: u64,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct HoldAddArgs {
    /// Name or number, also of a deleted camera
    pub(super) camera: String,
    /// RFC 3339, `now`, or back from now: -90s, -10m, -2h, -1d
    #[arg(long, allow_hyphen_values = true)]
    pub(super) from: String,
    /// As --from, may be in the future; without it all that comes is held
    #[arg(long, allow_hyphen_values = true)]
    pub(super) to: Option<String>,
    /// Whose wish it is, and why
    #[arg(long)]
    pub(super) reason: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct TimelineArgs {
    /// Name or number, also of a deleted camera
    pub(super) camera: String,
    /// RFC 3339, `now`, or back from now: -90s, -10m, -2h, -1d
    #[arg(long, default_value = "-1h", allow_hyphen_values = true)]
    pub(super) from: String,
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    pub(super) to: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct GapsArgs {
    /// RFC 3339, `now`, or back from now: -90s, -10m, -2h, -1d
    #[arg(long, default_value = "-1d", allow_hyphen_values = true)]
    pub(super) from: String,
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    pub(super) to: String,
    /// Name or number; all cameras, if not given
    #[arg(long)]
    pub(super) camera: Option<String>,
    /// As the table names it: camera_unreachable, camera_protocol, camera_stalled, packets_lost,
    /// awaits_keyframe, over_budget, quarantined, node_down, volume_failed, overload,
    /// recorder_stopped, damaged, unknown
    #[arg(long, value_parser = parse_cause)]
    pub(super) cause: Option<GapCause>,
    /// Name or number of the node that did not record
    #[arg(long)]
    pub(super) node: Option<String>,
}

const SEGMENT_EXIT_CODES: &str = "\
Exit codes:
  0  sound
  1  damaged (extract: what is sound was written), or failed
  2  wrong usage
  3  not found: the file, or the camera in it";

#[derive(Debug, Subcommand)]
#[command(after_help = SEGMENT_EXIT_CODES)]
pub(super) enum SegmentCommand {
    /// Say what a segment holds: cameras, times, chunks
    #[command(after_help = SEGMENT_EXIT_CODES)]
    Inspect { file: PathBuf },
    /// Read everything and check every checksum
    #[command(after_help = SEGMENT_EXIT_CODES)]
    Verify { file: PathBuf },
    /// Write a camera's footage in a segment, or in all segments of whole volumes, to an MP4 file
    #[command(after_help = SEGMENT_EXIT_CODES)]
    Extract(ExtractArgs),
    /// Say what whole volumes hold: cameras by number and name, from when to when, how much
    #[command(after_help = SEGMENT_EXIT_CODES)]
    List {
        /// Folders of volumes: each one of [[storage.volume]], or `volume0` in a node's data_dir
        #[arg(required = true, value_name = "DIR")]
        dirs: Vec<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum StreamArg {
    Main,
    Sub,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ExtractArgs {
    /// A segment file, or folders of volumes, whose footage is merged as the node's exports are
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(super) sources: Vec<PathBuf>,
    /// Number of the camera, or its name: of a volume as it was kept there, of a segment file
    /// where a node can be asked (--api); not needed where there is one camera only
    #[arg(long)]
    pub(super) camera: Option<String>,
    /// All cameras of the volumes; `-o` names a folder
    #[arg(long, conflicts_with = "camera")]
    pub(super) all: bool,
    #[arg(long, value_enum, default_value = "main")]
    pub(super) stream: StreamArg,
    /// RFC 3339; from where the footage begins, if not given
    #[arg(long, allow_hyphen_values = true)]
    pub(super) from: Option<String>,
    /// RFC 3339; to where the footage ends, if not given
    #[arg(long, allow_hyphen_values = true)]
    pub(super) to: Option<String>,
    /// Leave out what refers to lost frames, up to the next keyframe, instead of having players
    /// conceal what is missing
    #[arg(long)]
    pub(super) strict: bool,
    /// The MP4 file, which appears when it is complete; `-`: standard output. Of volumes also a
    /// folder, which is made: one file for each camera, day, and kind of video
    #[arg(long, short, value_name = "FILE|DIR/")]
    pub(super) output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(super) force: bool,
}

const VOLUME_EXIT_CODES: &str = "\
Exit codes:
  0  sound (rebuild-catalogue: everything is listed)
  1  damaged, or failed
  2  wrong usage
  3  not found: the folder is no volume";

#[derive(Debug, Subcommand)]
pub(super) enum VolumeCommand {
    /// Read every segment and check every checksum; changes nothing, and works while the node runs
    #[command(after_help = VOLUME_EXIT_CODES)]
    Verify {
        /// The volume's folder: one of [[storage.volume]], or `volume0` in data_dir
        dir: PathBuf,
    },
    /// Delete the catalogue and list every sealed segment in a new one; the node must not run
    #[command(after_help = VOLUME_EXIT_CODES)]
    RebuildCatalogue {
        /// The volume's folder: one of [[storage.volume]], or `volume0` in data_dir
        dir: PathBuf,
    },
    /// Have a folder that held a volume, and holds none now, used as a new one: its disk was
    /// replaced. Works while the node runs
    Init {
        /// The volume's folder, with the new disk mounted there
        dir: PathBuf,
    },
    /// Take over the footage of another cluster: show what is on its disks, give its cameras
    /// numbers here, and have a node serve it. No node may have them open
    #[command(after_help = ADOPT_EXIT_CODES)]
    Adopt(AdoptArgs),
    /// How far nodes are in reading again what they stored, and what they found damaged
    #[command(subcommand)]
    Scrub(ScrubCommand),
}

const ADOPT_EXIT_CODES: &str = "\
Exit codes:
  0  taken over
  1  failed; run again, it does the rest
  2  wrong usage, or not confirmed
  3  not found: a folder is no volume, or there is no such camera
  4  unavailable: the node that was asked cannot be reached, or the cluster has no leader";

#[derive(Debug, ClapArgs)]
pub(super) struct AdoptArgs {
    /// Folders of volumes of one other cluster, mounted on this machine
    #[arg(required = true, value_name = "DIR")]
    pub(super) dirs: Vec<PathBuf>,
    /// Their camera by name or number, and the camera here that its footage belongs to; may be
    /// given several times. All others become deleted cameras here, listed and playable
    #[arg(long = "map", value_name = "THEIRS=OURS", value_parser = parse_pair)]
    pub(super) maps: Vec<(String, String)>,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty() => {
            Ok((theirs.to_owned(), ours.to_owned()))
        }
        _ => Err(format!("`{text}` is not THEIRS=OURS, such as yard=12")),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ScrubCommand {
    /// Show it
    Status,
    /// Have a node read all of its volumes again from now on
    Start {
        /// Name or number
        node: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether a node would start here with this file, and all that is to be changed if not
    Check {
        file: PathBuf,
        /// Look at data_dir and the volumes instead, and name each file that this user cannot use,
        /// or that belongs to another one
        #[arg(long)]
        data: bool,
    },
}

fn parse_cause(text: &str) -> Result<GapCause, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn relative_times_and_labels_parse() {
        let args =
            Args::try_parse_from(["holdfast", "timeline", "gate", "--from", "-10m", "--json"])
                .unwrap();
        assert!(
            args.json
                && matches!(
                    args.command,
                    Command::Timeline(TimelineArgs { from, .. }) if from == "-10m"
                )
        );
        let add = |label| {
            Args::try_parse_from([
                "holdfast", "camera", "add", "--name", "a", "--url", "b", "--label", label,
            ])
        };
        assert!(add("site=north").is_ok());
        assert!(
            add("north")
                .unwrap_err()
                .to_string()
                .contains("is not KEY=VALUE")
        );
    }

    #[test]
    fn a_cause_is_one_of_those_that_there_are() {
        let gaps = |cause| Args::try_parse_from(["holdfast", "gaps", "--cause", cause]);
        let args = gaps("node_down").unwrap();
        assert!(matches!(
            args.command,
            Command::Gaps(GapsArgs {
                cause: Some(GapCause::NodeDown),
                ..
            })
        ));
        assert!(
            gaps("weather")
                .unwrap_err()
                .to_string()
                .contains("camera_unreachable")
        );
    }

    #[test]
    fn a_password_is_never_an_argument() {
        let args = [
            "holdfast",
            "camera",
            "add",
            "--name",
            "a",
            "--url",
            "b",
            "--password",
            "secret",
        ];
        assert!(Args::try_parse_from(args).is_err());
    }
}
