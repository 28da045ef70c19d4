//! Runs scripts about a site: the replicated state, its steward, and recorders that work properly
//! unless the script says otherwise.

mod suspects;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command as Write, Response};
use holdfast_consensus::decide::desired::{Provisionals, View, desired};
use holdfast_consensus::decide::drill::{self, Look};
use holdfast_consensus::decide::headroom::{Survival, headroom, survives_loss_of};
use holdfast_consensus::decide::placement::Planner;
use holdfast_consensus::decide::steward::{Input, Steward};
use holdfast_consensus::model::{
    Actor, Assignment, CameraSpec, Duty, Failback, HeadroomRule, HoldSpec, INVITE_VALID,
    InviteSpec, KeyHash, Labels, NodeSpec, Protection, Role, SettingsChange,
};
use holdfast_consensus::observe::bitrate::Bitrates;
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_consensus::observe::liveness::{Verdict, Why};
use holdfast_consensus::observe::reports::Reports;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, StreamId, StreamKind};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

type Anyhow<T> = Result<T, Box<dyn Error>>;

#[derive(Default)]
pub(crate) struct Site {
    state: ClusterState,
    steward: Steward,
    /// Monotonic time; wall time is `wall_ahead_ms` ahead of it.
    now: Duration,
    wall_ahead_ms: i64,
    verdicts: BTreeMap<NodeId, Verdict>,
    progress: Reports,
    provisionals: BTreeMap<NodeId, Provisionals>,
    /// Cameras that a node cannot record.
    broken: BTreeSet<(NodeId, CameraId)>,
    attempts: u8,
    /// Cameras whose sub stream cannot be recorded; other cameras have none.
    failing_subs: BTreeSet<CameraId>,
    /// Recorders that are running.
    running: BTreeSet<(NodeId, CameraId)>,
    /// Cameras of which a node has no keyframe yet.
    connecting: BTreeSet<(NodeId, CameraId)>,
    /// Nodes whose disks have failed.
    unfit: BTreeSet<NodeId>,
    /// Whether a camera that its owner fails to record answered a node.
    probes: BTreeMap<(NodeId, CameraId), bool>,
    /// All nodes if none are named.
    voters: Vec<NodeId>,
    /// What cameras send, in bits per second, if it is measured.
    bitrates: BTreeMap<CameraId, u64>,
    processes: suspects::Processes,
}

/// The report of a sub stream that its node cannot record, alongside that of the main stream.
fn failing_sub(main: &Progress) -> Progress {
    Progress {
        stream: StreamId {
            kind: StreamKind::Sub,
            ..main.stream
        },
        state: RecorderState::Failing,
        watermark: None,
        first_keyframe: None,
        error: Some("no such path".to_owned()),
        ..main.clone()
    }
}

fn take<T: FromStr>(args: &mut ArgumentConsumer<'_>, key: &str) -> Anyhow<Option<T>>
where
    T::Err: Error + 'static,
{
    Ok(args.take_key(key).map(str::parse).transpose()?)
}

fn need<T: FromStr>(args: &mut ArgumentConsumer<'_>, key: &str) -> Anyhow<T>
where
    T::Err: Error + 'static,
{
    take(args, key)?.ok_or_else(|| format!("{key}= is missing").into())
}

fn next<T: FromStr>(args: &mut ArgumentConsumer<'_>) -> Anyhow<T>
where
    T::Err: Error + 'static,
{
    Ok(args.next_pos().ok_or("an argument is missing")?.parse()?)
}

fn node_spec(args: &mut ArgumentConsumer<'_>) -> Anyhow<NodeSpec> {
    let name: String = next(args)?;
    let role = if args.take_key("role") == Some("witness") {
        Role::Witness
    } else {
        Role::Recorder
    };
    let peer = take(args, "addr")?.unwrap_or(format!("{name}:7001"));
    Ok(NodeSpec {
        role,
        failure_domain: take(args, "domain")?.unwrap_or_default(),
        camera_capacity: take(args, "capacity")?.unwrap_or(10),
        ..NodeSpec::new(&name, &peer, &format!("{name}:7000"))?
    })
}

fn camera_spec(name: String, args: &mut ArgumentConsumer<'_>) -> Anyhow<CameraSpec> {
    let url: String = take(args, "url")?.unwrap_or(format!("rtsp://cameras/{name}"));
    let protection = match args.take_key("protection") {
        Some("gapless") => Protection::Gapless,
        _ => Protection::Standard,
    };
    Ok(CameraSpec {
        protection,
        priority: take(args, "priority")?.unwrap_or(100),
        retention_class: take(args, "class")?.unwrap_or_default(),
        node_labels: labels(args.take_key("needs"))?,
        preferred_node: take(args, "prefers")?,
        ..CameraSpec::new(&name, &url)?
    })
}

/// Any number of `key=value`, separated by commas.
fn labels(text: Option<&str>) -> Anyhow<Labels> {
    let pairs = text.into_iter().flat_map(|text| text.split(','));
    let pair = |pair: &str| {
        pair.split_once(':')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    let pairs = pairs.map(|text| pair(text).ok_or_else(|| format!("{text} is not key:value")));
    Ok(Labels::try_from(
        pairs.collect::<Result<BTreeMap<_, _>, _>>()?,
    )?)
}

fn settings_change(args: &mut ArgumentConsumer<'_>) -> Anyhow<SettingsChange> {
    Ok(SettingsChange {
        headroom: args.take_key("headroom").map(|rule| match rule {
            "strict" => HeadroomRule::Strict,
            _ => HeadroomRule::Warn,
        }),
        headroom_over_domains: take(args, "domains")?,
        failback: args.take_key("failback").map(|failback| match failback {
            "prefer" => Failback::Prefer,
            _ => Failback::Stay,
        }),
        failback_after_s: take(args, "after")?,
        drill_every_s: take(args, "drill-every")?,
        retention_classes: None,
    })
}

fn hold_spec(args: &mut ArgumentConsumer<'_>) -> Anyhow<HoldSpec> {
    Ok(HoldSpec {
        camera: next(args)?,
        from: Timestamp(need(args, "from")?),
        to: take(args, "to")?.map(Timestamp),
        reason: args.take_key("reason").unwrap_or("case 7").parse()?,
    })
}

fn optional(node: Option<NodeId>) -> String {
    node.map_or("-".to_owned(), |node| node.to_string())
}

fn show(camera: CameraId, assignment: &Assignment) -> String {
    let Assignment {
        epoch,
        owner,
        mirror,
        successor,
        ..
    } = assignment;
    let mut line = format!("camera {camera}: epoch {epoch} owner {}", optional(*owner));
    if mirror.is_some() {
        write!(line, " mirror {}", optional(*mirror)).unwrap();
    }
    write!(line, " successor {}", optional(*successor)).unwrap();
    if let Some(handoff) = assignment.handoff {
        write!(line, " handoff to {} epoch {}", handoff.to, handoff.epoch).unwrap();
    }
    line
}

impl Site {
    fn wall(&self) -> Timestamp {
        Timestamp::default()
            .plus(self.now)
            .plus_micros(self.wall_ahead_ms * 1_000)
    }

    fn write(&mut self, write: Write) -> Anyhow<String> {
        let before = self.state.clone();
        match self.state.apply(write.by(Actor::System, self.wall())) {
            Ok(Response::Assigned {
                applied: _,
                skipped,
            }) => {
                let mut text = self.changed(&before);
                skipped.iter().for_each(|skipped| {
                    writeln!(text, "skipped [{}]: {}", skipped.why.code(), skipped.why).unwrap()
                });
                Ok(text)
            }
            Ok(response) => Ok(format!("{response:?}")),
            Err(rejection) => {
                assert_eq!(self.state, before, "a refused command changed the state");
                Err(format!("[{}] {rejection}", rejection.code()).into())
            }
        }
    }

    /// The assignments that have changed.
    fn changed(&self, before: &ClusterState) -> String {
        let new = self
            .state
            .assignments
            .iter()
            .filter(|(camera, now)| before.assignments.get(*camera) != Some(now));
        new.map(|(camera, now)| show(camera, now) + "\n").collect()
    }

    fn voters(&self) -> Vec<NodeId> {
        if self.voters.is_empty() {
            self.state.nodes.keys().collect()
        } else {
            self.voters.clone()
        }
    }

    fn input<'a>(&'a self, voters: &'a [NodeId]) -> Input<'a> {
        Input {
            voters,
            now: self.wall(),
            uptime: self.now,
            state: &self.state,
            verdicts: &self.verdicts,
            unfit: &self.unfit,
            probes: &self.probes,
            progress: &self.progress,
            ends: &self.processes.ends,
        }
    }

    /// One round of the steward; its proposals are committed.
    fn decide(&mut self) -> String {
        let mut steward = std::mem::take(&mut self.steward);
        let commands = steward.decide(&self.input(&self.voters()));
        self.steward = steward;
        let mut text = String::new();
        for command in commands {
            writeln!(text, "{command}").unwrap();
            text += &self.write(command).unwrap();
        }
        text
    }

    /// Every live node records what it should and reports it.
    fn record(&mut self) {
        let wall = self.wall();
        let alive: Vec<NodeId> = self
            .verdicts
            .iter()
            .filter(|(_, verdict)| verdict.is_alive())
            .map(|(node, _)| *node)
            .collect();
        for me in alive {
            let mut provisionals = self.provisionals.remove(&me).unwrap_or_default();
            let (verdicts, progress) = (&self.verdicts, &self.progress);
            provisionals.observe(
                &self.state,
                &View {
                    me,
                    now: self.now,
                    wall,
                    verdicts,
                    progress,
                },
            );
            let wanted = desired(&self.state, me, &provisionals);
            self.provisionals.insert(me, provisionals);
            // A recorder that is no longer reported stays known, except for its state.
            let stopped = self
                .running
                .iter()
                .filter(|(node, camera)| *node == me && !wanted.contains_key(camera));
            stopped
                .copied()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|(me, camera)| self.end_session(me, camera));
            self.running
                .retain(|(node, camera)| *node != me || wanted.contains_key(camera));
            let is_gone =
                |node: NodeId, camera: &CameraId| node == me && !wanted.contains_key(camera);
            let gone = self
                .progress
                .iter()
                .filter(|(node, last)| is_gone(*node, &last.stream.camera));
            let gone = gone.map(|(_, last)| Progress {
                state: RecorderState::Starting,
                ..last.clone()
            });
            gone.collect::<Vec<_>>()
                .into_iter()
                .for_each(|gone| self.progress.insert(me, gone));
            for (camera, wanted) in wanted {
                let continues = !self.running.insert((me, camera));
                let broken = self.broken.contains(&(me, camera));
                let session = if broken {
                    None
                } else {
                    self.session(me, camera)
                };
                let connecting =
                    !broken && (session.is_none() || self.connecting.contains(&(me, camera)));
                let before = self
                    .progress
                    .main(me, camera)
                    .filter(|before| continues && before.epoch == wanted.epoch);
                let (watermark, first_keyframe) = before.map_or((None, None), |before| {
                    (before.watermark, before.first_keyframe)
                });
                let progress = Progress {
                    stream: StreamId::main(camera),
                    epoch: wanted.epoch,
                    rank: wanted.rank,
                    state: match (broken, connecting) {
                        (true, _) => RecorderState::Failing,
                        (false, true) => RecorderState::Starting,
                        (false, false) => RecorderState::Recording,
                    },
                    watermark: if broken || connecting {
                        watermark
                    } else {
                        Some(wall)
                    },
                    first_keyframe: if broken || connecting {
                        first_keyframe
                    } else {
                        first_keyframe.or(Some(wall))
                    },
                    error: broken.then(|| "connection refused".to_owned()),
                    bitrate_bps: self.bitrates.get(&camera).copied(),
                    patience_ms: None,
                    exposure: session.flatten(),
                };
                if self.failing_subs.contains(&camera) {
                    self.progress.insert(me, failing_sub(&progress));
                }
                self.progress.insert(me, progress);
            }
        }
    }

    /// Time passes: recorders record, the steward decides, four times a second. Returns what
    /// changed and when.
    fn run_for(&mut self, seconds: u64) -> String {
        let mut text = String::new();
        for _ in 0..seconds * 4 {
            self.now += Duration::from_millis(250);
            self.record();
            self.settle();
            let decided = self.decide();
            if !decided.is_empty() {
                write!(text, "at {:.2} s: {decided}", self.now.as_secs_f64()).unwrap();
            }
        }
        text
    }

    fn assign(
        &mut self,
        camera: CameraId,
        args: &mut ArgumentConsumer<'_>,
        op: AssignmentOp,
    ) -> Anyhow<String> {
        let expect = take(args, "epoch")?.unwrap_or_default();
        self.write(Write::Assign {
            changes: vec![AssignmentChange { camera, expect, op }],
        })
    }

    fn assignment_op(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Anyhow<String> {
        let camera: CameraId = next(args)?;
        let (mirror, successor) = (take(args, "mirror")?, take(args, "successor")?);
        let watermark = take::<i64>(args, "watermark")?.map(Timestamp);
        let op = match name {
            "place" => AssignmentOp::Place {
                owner: need(args, "owner")?,
                mirror,
                successor,
            },
            "take-over" => AssignmentOp::TakeOver {
                owner: need(args, "owner")?,
                mirror,
                successor,
                watermark,
            },
            "begin" => AssignmentOp::BeginHandoff {
                to: need(args, "to")?,
            },
            "complete" => AssignmentOp::CompleteHandoff {
                epoch: need(args, "handoff")?,
                mirror,
                successor,
                watermark,
            },
            "cancel" => AssignmentOp::CancelHandoff {
                epoch: need(args, "handoff")?,
            },
            "set-successor" => AssignmentOp::SetSuccessor { successor },
            "set-mirror" => AssignmentOp::SetMirror { mirror },
            "shed" => AssignmentOp::Shed { watermark },
            "renew" => AssignmentOp::Renew,
            _ => return Err(format!("unknown command {name}").into()),
        };
        self.assign(camera, args, op)
    }

    fn show_cameras(&self) -> String {
        let lines = self
            .state
            .assignments
            .iter()
            .map(|(camera, assignment)| show(camera, assignment) + "\n");
        lines.collect()
    }

    fn show_nodes(&self) -> String {
        let line = |(id, node): (NodeId, &holdfast_consensus::model::Node)| {
            let owned = self.state.owned_by(id).count();
            format!(
                "node {id} \"{}\" at {}: {:?} {:?}, owns {owned}\n",
                node.spec.name, node.spec.peer_addr, node.spec.role, node.duty
            )
        };
        self.state.nodes.iter().map(line).collect()
    }

    fn show_holds(&self) -> String {
        let line = |hold: &holdfast_consensus::model::Hold| {
            let to = hold
                .spec
                .to
                .map_or("-".to_owned(), |to| to.micros().to_string());
            let from = hold.spec.from.micros();
            let at = hold.created_at.micros();
            format!(
                "hold {} \"{}\" of camera {}: {from} to {to}, since {at}\n",
                hold.id, hold.spec.reason, hold.spec.camera
            )
        };
        self.state.holds.values().map(line).collect()
    }

    fn tenures(&self, camera: CameraId) -> String {
        let line = |tenure: &holdfast_consensus::model::Tenure| {
            let until = tenure
                .until
                .map_or("now".to_owned(), |until| until.micros().to_string());
            format!(
                "epoch {} node {} from {} until {until}\n",
                tenure.epoch,
                tenure.node,
                tenure.from.micros()
            )
        };
        self.state.tenures(camera).iter().map(line).collect()
    }

    fn show_desired(&self, me: NodeId) -> String {
        let none = Provisionals::default();
        let wanted = desired(&self.state, me, self.provisionals.get(&me).unwrap_or(&none));
        let lines = wanted.iter().map(|(camera, wanted)| {
            let Epoch(epoch) = wanted.epoch;
            format!(
                "camera {camera}: epoch {epoch} as {:?} revision {}\n",
                wanted.rank, wanted.revision
            )
        });
        lines.collect()
    }

    /// Invites a node and has it join; the same `attempt` has the same key.
    fn join(&mut self, args: &mut ArgumentConsumer<'_>) -> Anyhow<String> {
        self.attempts += 1;
        let attempt: u8 = take(args, "attempt")?.unwrap_or(self.attempts);
        let (key, invite) = (KeyHash([attempt; 32]), KeyHash([!attempt; 32]));
        let spec = node_spec(args)?;
        let is_known = self.state.nodes.values().any(|node| node.key == key);
        let invited = Write::CreateInvite {
            spec: InviteSpec {
                name: spec.name.clone(),
                role: spec.role,
                may_vote: true,
                key: invite,
                expires: self.wall().plus(INVITE_VALID),
            },
        };
        let entry = invited.clone().by(Actor::System, self.wall());
        if !is_known && self.state.apply(entry).is_err() {
            return self.write(invited);
        }
        self.write(Write::JoinNode { spec, key, invite })
    }

    /// Where a camera may and should be recorded.
    fn change_rules(&self, camera: CameraId, args: &mut ArgumentConsumer<'_>) -> Anyhow<Write> {
        let known = self.state.cameras.get(camera).ok_or("which camera?")?;
        let (node_labels, preferred_node) =
            (labels(args.take_key("needs"))?, take(args, "prefers")?);
        let spec = CameraSpec {
            node_labels,
            preferred_node,
            ..known.spec.clone()
        };
        Ok(Write::UpdateCamera {
            camera,
            spec,
            expect_revision: known.revision,
        })
    }

    /// What cameras may require of a node, and how much it may record.
    fn change_traits(&self, node: NodeId, args: &mut ArgumentConsumer<'_>) -> Anyhow<Write> {
        let known = self.state.nodes.get(node).ok_or("which node?")?;
        let (labels, bitrate_capacity_bps) = (labels(args.take_key("labels"))?, take(args, "bps")?);
        Ok(Write::ReportForDuty {
            node,
            spec: NodeSpec {
                labels,
                bitrate_capacity_bps,
                ..known.spec.clone()
            },
        })
    }

    fn update(&self, args: &mut ArgumentConsumer<'_>) -> Anyhow<Write> {
        let camera = next(args)?;
        let known = self
            .state
            .cameras
            .get(camera)
            .map_or(1, |camera| camera.revision);
        let expect_revision = take(args, "revision")?.unwrap_or(known);
        Ok(Write::UpdateCamera {
            camera,
            expect_revision,
            spec: camera_spec(next(args)?, args)?,
        })
    }

    fn measured(&self) -> Bitrates {
        self.bitrates
            .iter()
            .map(|(camera, bps)| (*camera, *bps))
            .collect()
    }

    fn can_record(&self, node: NodeId) -> bool {
        self.verdicts
            .get(&node)
            .is_some_and(|verdict| verdict.is_alive())
            && !self.unfit.contains(&node)
    }

    fn survives(&self, args: &mut ArgumentConsumer<'_>) -> Anyhow<String> {
        let mut dead = Vec::new();
        while let Some(node) = args.next_pos() {
            dead.push(node.parse()?);
        }
        let Survival {
            lost,
            spare_cameras,
        } = survives_loss_of(&self.state, &self.measured(), &dead, |node| {
            self.can_record(node)
        });
        Ok(format!("lost: {lost:?}, spare: {spare_cameras}"))
    }

    fn lacks(&self) -> String {
        let bitrates = self.measured();
        let planner = Planner::new(&self.state, &bitrates, |node| self.can_record(node));
        let unowned = self
            .state
            .assignments
            .iter()
            .filter(|(_, now)| now.owner.is_none());
        unowned
            .map(|(camera, _)| format!("camera {camera}: {:?}\n", planner.lack(camera)))
            .collect()
    }

    /// A drill of cameras, one by one, or of all cameras of a node.
    fn drill(&mut self, args: &mut ArgumentConsumer<'_>) -> Anyhow<String> {
        let (at, can_record) = (self.wall(), |node| self.can_record(node));
        let look = Look {
            state: &self.state,
            progress: &self.progress,
            can_record: &can_record,
            now_at: &|_| at,
        };
        let node = take(args, "node")?;
        let starts = match node {
            Some(node) => drill::starts_of_node(&look, node),
            None => vec![drill::start(&look, next(args)?)],
        };
        self.write(Write::BeginDrill {
            node,
            is_scheduled: false,
            starts,
        })
    }

    fn show_drills(&self) -> String {
        let mut text = String::new();
        for drill in self.state.drills.log.values() {
            for (camera, running) in self.state.drills.running_of(drill.id) {
                writeln!(text, "{}: camera {camera} {:?}", drill.id, running.phase).unwrap();
            }
            for result in &drill.results {
                let gap = result
                    .gap_us
                    .map_or("-".to_owned(), |gap_us| format!("{} ms", gap_us / 1000));
                let (camera, outcome, back) =
                    (result.camera, result.outcome, result.is_handed_back);
                write!(
                    text,
                    "{}: camera {camera} {outcome:?}, gap {gap}, handed back: {back}",
                    drill.id
                )
                .unwrap();
                writeln!(
                    text,
                    "{}",
                    result
                        .reason
                        .as_ref()
                        .map_or(String::new(), |why| format!(", {why}"))
                )
                .unwrap();
            }
        }
        text
    }

    fn state_command(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Anyhow<String> {
        let write = match name {
            "init" => Write::Initialize {
                cluster: Uuid::nil(),
                node: node_spec(args)?,
                key: KeyHash::default(),
            },
            "join" => return self.join(args),
            "report" => Write::ReportForDuty {
                node: next(args)?,
                spec: node_spec(args)?,
            },
            "duty" => Write::SetDuty {
                node: next(args)?,
                duty: duty(args)?,
            },
            "remove" => Write::RemoveNode {
                node: next(args)?,
                force: args.next_pos() == Some("force"),
            },
            "camera" => {
                let only_after = take(args, "only-after")?;
                Write::CreateCamera {
                    spec: camera_spec(next(args)?, args)?,
                    only_after,
                }
            }
            "rules" => self.change_rules(next(args)?, args)?,
            "traits" => self.change_traits(next(args)?, args)?,
            "settings" => Write::ChangeSettings(settings_change(args)?),
            "rebalance" => Write::BeginRebalance,
            "update" => self.update(args)?,
            "delete" => Write::DeleteCamera {
                camera: next(args)?,
            },
            "hold" => Write::CreateHold {
                spec: hold_spec(args)?,
            },
            "release" => Write::DeleteHold { hold: next(args)? },
            "clear" => Write::ClearCameras {
                cameras: vec![next(args)?],
            },
            _ => return self.assignment_op(name, args),
        };
        self.write(write)
    }
}

fn duty(args: &mut ArgumentConsumer<'_>) -> Anyhow<Duty> {
    match args.next_pos() {
        Some("active") => Ok(Duty::Active),
        Some("draining") => Ok(Duty::Draining),
        Some("stopping") => Ok(Duty::Stopping),
        _ => Err("duty: active, draining or stopping".into()),
    }
}

impl Runner for Site {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Anyhow<String> {
        let args = &mut command.consume_args();
        let text = match command.name.as_str() {
            "alive" | "dead" | "silent" | "unknown" => {
                let verdict = match command.name.as_str() {
                    "alive" => Verdict::Alive,
                    "dead" => Verdict::Suspect {
                        since: self.now,
                        why: Why::Refused,
                    },
                    "silent" => Verdict::Suspect {
                        since: self.now,
                        why: Why::Silence,
                    },
                    _ => Verdict::Unknown,
                };
                while let Some(node) = args.next_pos() {
                    self.verdicts.insert(node.parse()?, verdict);
                }
                String::new()
            }
            // This node waits for a keyframe of that camera; or has received it.
            "connecting" => {
                self.connecting
                    .insert((need(args, "node")?, need(args, "camera")?));
                String::new()
            }
            "connected" => {
                self.connecting
                    .remove(&(need(args, "node")?, need(args, "camera")?));
                String::new()
            }
            // This node cannot write, and its recorders report that; or can again.
            "disk-fails" => {
                let node = next(args)?;
                self.unfit.insert(node);
                self.broken
                    .extend(self.state.cameras.keys().map(|camera| (node, camera)));
                String::new()
            }
            "disk-mended" => {
                let mended = next(args)?;
                self.unfit.remove(&mended);
                self.broken.retain(|(node, _)| *node != mended);
                String::new()
            }
            "voters" => {
                while let Some(node) = args.next_pos() {
                    self.voters.push(node.parse()?);
                }
                String::new()
            }
            // The result of a node's probe of a camera that its owner fails to record: yes, no, or
            // none any more.
            "probe" => {
                let at = (need(args, "node")?, need(args, "camera")?);
                match args.next_pos() {
                    Some("reached") => _ = self.probes.insert(at, true),
                    Some("silent") => _ = self.probes.insert(at, false),
                    _ => _ = self.probes.remove(&at),
                }
                String::new()
            }
            // This node cannot record that camera, or can again.
            "break" => {
                self.broken
                    .insert((need(args, "node")?, need(args, "camera")?));
                String::new()
            }
            "mend" => {
                self.broken
                    .remove(&(need(args, "node")?, need(args, "camera")?));
                String::new()
            }
            "sub-fails" => {
                self.failing_subs.insert(next(args)?);
                String::new()
            }
            "run" => self.run_for(next(args)?),
            "decide" => self.decide(),
            "record" => {
                self.now += Duration::from_millis(250);
                self.record();
                String::new()
            }
            "step-clock" => {
                self.wall_ahead_ms += next::<i64>(args)?;
                String::new()
            }
            "wait" => {
                self.now += Duration::from_millis(next(args)?);
                String::new()
            }
            "drill" => self.drill(args)?,
            "drills" => self.show_drills(),
            "new-leader" => {
                self.steward = Steward::default();
                String::new()
            }
            "cameras" => self.show_cameras(),
            "nodes" => self.show_nodes(),
            "holds" => self.show_holds(),
            "tenures" => self.tenures(next(args)?),
            "desired" => self.show_desired(next(args)?),
            // What cameras send, as measured from now on.
            "bitrate" => {
                let bps = need(args, "bps")?;
                while let Some(camera) = args.next_pos() {
                    self.bitrates.insert(camera.parse()?, bps);
                }
                String::new()
            }
            "survives" => self.survives(args)?,
            "headroom" => {
                let headroom =
                    headroom(&self.state, &self.measured(), |node| self.can_record(node));
                format!("{headroom:?}")
            }
            "lacks" => self.lacks(),
            name => self.process_command(name, args)?,
        };
        args.reject_next()?;
        Ok(text)
    }
}
