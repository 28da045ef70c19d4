//! At which cameras sessions are held, and how long a camera is left alone.

use super::*;
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command, Response};
use holdfast_consensus::heartbeat::Progress;
use holdfast_consensus::liveness::Verdict;
use holdfast_consensus::model::{CameraSpec, NodeSpec, Role, Transport};
use holdfast_storage::ids::{Epoch, Rank};
use holdfast_storage::time::Timestamp;
use uuid::Uuid;

const OWNER: NodeId = NodeId(1);
const ME: NodeId = NodeId(2);

fn node(name: &str) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        peer_addr: format!("{name}:1"),
        api_addr: format!("{name}:2"),
        role: Role::Recorder,
        failure_domain: String::new(),
        camera_capacity: 1000,
    }
}

/// Cameras of node 1 whose successor is node 2; the first has the lowest priority.
struct Site {
    now: Duration,
    state: ClusterState,
    sight: Sight,
    recorded: BTreeSet<CameraId>,
    held: BTreeSet<CameraId>,
    schedule: Schedule,
}

fn site(cameras: u8, protection: Protection) -> Site {
    let mut state = ClusterState::default();
    state.apply(Command::Initialize { cluster: Uuid::nil(), node: node("n1") }).unwrap();
    state.apply(Command::JoinNode { spec: node("n2"), attempt: Uuid::nil() }).unwrap();
    let verdicts = BTreeMap::from([(OWNER, Verdict::Alive), (ME, Verdict::Alive)]);
    let mut site = Site {
        now: Duration::from_secs(100),
        state,
        sight: Sight { verdicts, ..Sight::default() },
        recorded: BTreeSet::new(),
        held: BTreeSet::new(),
        schedule: Schedule::default(),
    };
    for number in 1..=cameras {
        let added = site.state.apply(Command::CreateCamera(CameraSpec {
            name: format!("cam{number}"),
            source: Source {
                url: format!("rtsp://cameras/{number}"),
                username: None,
                password: None,
                transport: Transport::Tcp,
            },
            protection,
            priority: number,
            retention_class: "default".to_owned(),
            labels: BTreeMap::new(),
        }));
        let Ok(Response::Camera { camera, .. }) = added else { panic!("{added:?}") };
        let op = AssignmentOp::Place { owner: OWNER, mirror: None, successor: Some(ME) };
        site.assign(camera, op);
        site.owner_tells(camera, RecorderState::Recording);
    }
    site
}

impl Site {
    fn assign(&mut self, camera: CameraId, op: AssignmentOp) {
        let expect = self.state.assignments.get(camera).map_or(Epoch(0), |now| now.epoch);
        let changes = vec![AssignmentChange { camera, expect, op }];
        let answer = self.state.apply(Command::Assign { at: Timestamp(0), changes });
        assert!(matches!(answer, Ok(Response::Assigned { applied: 1, .. })), "{answer:?}");
    }

    fn owner_tells(&mut self, camera: CameraId, state: RecorderState) {
        let epoch = self.state.assignments.get(camera).unwrap().epoch;
        let progress = Progress {
            camera,
            epoch,
            rank: Rank::Owner,
            state,
            watermark: None,
            first_keyframe: None,
            bitrate_bps: None,
            error: None,
        };
        self.sight.progress.insert(OWNER, progress);
    }

    fn look(&mut self, opening: usize) -> Vec<Action> {
        let Self { now, state, sight, recorded, held, schedule } = self;
        let view = View { now: *now, me: ME, state, sight, recorded, held };
        let actions = schedule.look(&view, opening, &mut || u32::MAX);
        for action in &actions {
            match action {
                Action::Open { camera, .. } | Action::Drop(camera) => _ = held.remove(camera),
            }
        }
        actions
    }

    /// Looks after `wait`; the one camera that is to be opened, and its attempt.
    fn opens_after(&mut self, wait: Duration) -> Option<(CameraId, u64)> {
        self.now += wait;
        match &self.look(0)[..] {
            [] => None,
            [Action::Open { camera, attempt, .. }] => Some((*camera, *attempt)),
            other => panic!("{other:?}"),
        }
    }

    fn is_held(&mut self, (camera, attempt): (CameraId, u64)) {
        assert!(self.schedule.opened(self.now, camera, attempt, 0));
        self.held.insert(camera);
    }
}

/// One camera whose session waits.
fn with_session() -> (Site, CameraId) {
    let mut site = site(1, Protection::Prepared);
    assert_eq!(site.opens_after(Duration::ZERO), None, "not all at once");
    let opened = site.opens_after(START_SPREAD).unwrap();
    site.is_held(opened);
    (site, opened.0)
}

#[test]
fn only_where_the_setting_allows_it_and_only_by_the_successor() {
    for protection in [Protection::Standard, Protection::Gapless] {
        let mut site = site(2, protection);
        site.look(0);
        assert_eq!(site.opens_after(START_SPREAD), None);
    }
    let mut site = site(1, Protection::Prepared);
    site.assign(CameraId(1), AssignmentOp::SetSuccessor { successor: None });
    site.look(0);
    assert_eq!(site.opens_after(START_SPREAD), None);
}

#[test]
fn a_session_is_set_up_anew_before_it_can_time_out() {
    let (mut site, camera) = with_session();
    assert_eq!(site.opens_after(REFRESH_MIN - Duration::from_millis(1)), None);
    assert_eq!(site.opens_after(Duration::from_millis(1)).unwrap().0, camera);
}

#[test]
fn few_are_set_up_at_once_the_highest_priority_first() {
    let mut site = site(10, Protection::Prepared);
    site.look(0);
    site.now += START_SPREAD;
    let opened = |actions: Vec<Action>| -> Vec<u32> {
        let camera = |action| match action {
            Action::Open { camera, .. } => camera.0,
            Action::Drop(camera) => panic!("{camera} was never there"),
        };
        actions.into_iter().map(camera).collect()
    };
    assert_eq!(opened(site.look(0)), [10, 9, 8, 7]);
    assert_eq!(opened(site.look(OPENING_MAX)), [] as [u32; 0]);
    assert_eq!(opened(site.look(OPENING_MAX - 1)), [6]);
}

#[test]
fn a_camera_that_refuses_is_left_alone_ever_longer() {
    let mut site = site(1, Protection::Prepared);
    site.look(0);
    site.now += START_SPREAD;
    let minutes: Vec<u64> = (0..6)
        .map(|_| {
            let (camera, attempt) = site.opens_after(Duration::ZERO).unwrap();
            let delay = site.schedule.refused(site.now, camera, attempt, 0).unwrap();
            assert_eq!(site.opens_after(delay - Duration::from_millis(1)), None);
            site.now += Duration::from_millis(1);
            delay.as_secs() / 60
        })
        .collect();
    assert_eq!(minutes, [2, 4, 8, 16, 32, 32]);
}

#[test]
fn an_owner_that_loses_its_session_right_after_is_not_disturbed_again() {
    let (mut site, camera) = with_session();
    site.owner_tells(camera, RecorderState::Failing);
    site.now += DISTURBED_WITHIN / 2;
    assert_eq!(site.look(0), [Action::Drop(camera)]);
    site.owner_tells(camera, RecorderState::Recording);
    assert_eq!(site.opens_after(REFUSED_DELAY_MIN - DISTURBED_WITHIN), None);

    let (mut site, camera) = with_session();
    site.owner_tells(camera, RecorderState::Failing);
    assert_eq!(site.opens_after(DISTURBED_WITHIN), None, "a session that may be needed at once stays");
    assert!(site.held.contains(&camera));
}

#[test]
fn a_session_waits_for_the_recorder_that_needs_it_and_goes_where_none_takes_it() {
    // Whichever comes first: the pilot's decision, or the state's.
    let taken_over = AssignmentOp::TakeOver { owner: ME, mirror: None, successor: None, watermark: None };
    for is_decided in [true, false] {
        let (mut site, camera) = with_session();
        match is_decided {
            true => _ = site.recorded.insert(camera),
            false => site.assign(camera, taken_over),
        }
        assert_eq!(site.look(0), []);
        site.now += TAKE_WITHIN / 2;
        assert_eq!(site.look(0), []);
        site.now += TAKE_WITHIN;
        assert_eq!(site.look(0), [Action::Drop(camera)]);
        assert_eq!(site.look(0), []);
    }
}

#[test]
fn a_session_goes_with_the_assignment_the_setting_and_the_source() {
    let (mut site, camera) = with_session();
    site.assign(camera, AssignmentOp::SetSuccessor { successor: None });
    assert_eq!(site.look(0), [Action::Drop(camera)]);
    for change in [
        |spec: &mut CameraSpec| spec.protection = Protection::Standard,
        |spec: &mut CameraSpec| spec.source.url = "rtsp://cameras/other".to_owned(),
    ] {
        let (mut site, camera) = with_session();
        let mut spec = site.state.cameras.get(camera).unwrap().spec.clone();
        change(&mut spec);
        site.state.apply(Command::UpdateCamera { camera, spec, expect_revision: None }).unwrap();
        assert_eq!(site.look(0), [Action::Drop(camera)]);
    }
}

#[test]
fn what_comes_when_nobody_wants_it_any_more_is_not_kept() {
    let mut site = site(1, Protection::Prepared);
    site.look(0);
    let (camera, attempt) = site.opens_after(START_SPREAD).unwrap();
    site.recorded.insert(camera);
    site.look(1);
    assert!(!site.schedule.opened(site.now, camera, attempt, 0));
    assert_eq!(site.schedule.refused(site.now, camera, attempt, 0), None);
}

#[test]
fn a_session_that_was_taken_is_prepared_anew_when_the_camera_is_anothers_again() {
    let (mut site, _) = with_session();
    site.held.clear();
    assert_eq!(site.opens_after(Duration::ZERO), None);
    assert!(site.opens_after(START_SPREAD).is_some());
}
