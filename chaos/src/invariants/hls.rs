//! What players got by HLS equals what the cameras sent: during faults as far as the footage was in
//! reach, and all of it once every node was back.

use super::{Outcome, broken};
use crate::evidence::{CameraEvidence, Evidence};
use crate::history::What;
use crate::player::{Aspect, Showing, Truth, judge};

/// How long before and after a fault, or a moment at which a node did not answer, a growing
/// playlist may lack footage that the node has: footage recorded shortly before was not listed yet,
/// and a node that returns has to be found again.
const AROUND_FAULTS_US: i64 = 15_000_000;

/// The playlists are correct, do not change, and all of their URIs answer.
pub(super) fn answers(evidence: &Evidence) -> Outcome {
    if let Some(why) = not_judged(evidence) {
        return why;
    }
    let mut offences = Vec::new();
    for Showing {
        camera,
        kind,
        asked,
        wrong,
        ..
    } in &evidence.showings
    {
        offences.extend(wrong.iter().map(|what| {
            (
                format!("{camera}, {} of {asked}: {what}", kind.name()),
                None,
            )
        }));
    }
    let entries: usize = evidence
        .showings
        .iter()
        .map(|showing| showing.entries.len())
        .sum();
    broken(offences, || {
        format!(
            "{entries} entries of {} presentations",
            evidence.showings.len()
        )
    })
}

/// Stored frames are shown, each once and in order.
pub(super) fn frames(evidence: &Evidence) -> Outcome {
    of(evidence, Aspect::Frames)
}

/// The same for sound.
pub(super) fn sound(evidence: &Evidence) -> Outcome {
    of(evidence, Aspect::Sound)
}

/// Media times are as documented, and sound is in sync with its video.
pub(super) fn times(evidence: &Evidence) -> Outcome {
    of(evidence, Aspect::Times)
}

/// Whether everything that one player got is correct.
pub(crate) fn is_as_sent(evidence: &Evidence, showing: &Showing) -> bool {
    let camera = evidence
        .cameras
        .iter()
        .find(|camera| camera.name == showing.camera);
    showing.wrong.is_empty()
        && camera.is_none_or(|camera| judge(showing, &truth(evidence, camera)).is_empty())
}

fn of(evidence: &Evidence, aspect: Aspect) -> Outcome {
    if let Some(why) = not_judged(evidence) {
        return why;
    }
    let mut offences = Vec::new();
    let mut frames = 0;
    for showing in &evidence.showings {
        let Some(camera) = evidence
            .cameras
            .iter()
            .find(|camera| camera.name == showing.camera)
        else {
            continue;
        };
        let media = showing
            .entries
            .iter()
            .filter_map(|entry| entry.media.as_ref());
        frames += media
            .map(|media| {
                if aspect == Aspect::Sound {
                    media.sound.len()
                } else {
                    media.video.len()
                }
            })
            .sum::<usize>();
        let found = judge(showing, &truth(evidence, camera));
        let found = found.into_iter().filter(|offence| offence.aspect == aspect);
        offences.extend(found.map(|offence| (offence.text, offence.at_us)));
    }
    if aspect == Aspect::Sound && frames == 0 && offences.is_empty() {
        return Outcome::NotJudged("no camera that was played had sound with stamps".to_owned());
    }
    broken(offences, || format!("{frames} frames that players got"))
}

fn not_judged(evidence: &Evidence) -> Option<Outcome> {
    let why = if evidence.is_clock_stepped() {
        "a wall clock was stepped: nodes do not agree on what has ended"
    } else if evidence
        .faults
        .iter()
        .any(|fault| fault.action == "disk-full")
    {
        "a disk was full: retention deletes the oldest while it is played"
    } else if evidence.showings.is_empty() {
        "nothing was played"
    } else {
        return None;
    };
    Some(Outcome::NotJudged(why.to_owned()))
}

fn truth<'a>(evidence: &Evidence, camera: &'a CameraEvidence) -> Truth<'a> {
    let hit = evidence.is_camera_hit(&camera.name);
    let around = |fault: &super::FaultSpan| {
        let off_us = fault.off_us.unwrap_or(i64::MAX - AROUND_FAULTS_US);
        (fault.on_us - AROUND_FAULTS_US, off_us + AROUND_FAULTS_US)
    };
    // A returning node may be asked for other nodes' footage before it has heard from them.
    let of_faults = evidence.faults.iter().map(around);
    let unheard = evidence.events.iter().filter(|event| {
        matches!(
            &event.what,
            What::Answers { yes: false, .. } | What::Alive { yes: false, .. }
        )
    });
    let of_silence = unheard.map(|event| {
        (
            event.at_us - AROUND_FAULTS_US,
            event.at_us + AROUND_FAULTS_US,
        )
    });
    Truth {
        number: camera.number,
        sent: &camera.sent,
        lost: &camera.loss.gaps,
        sound: &camera.sound.sent,
        sound_lost: &camera.sound.loss.gaps,
        from_us: evidence.from_us,
        to_us: evidence.to_us,
        excused: of_faults.chain(of_silence).collect(),
        seams: camera.seams(),
        sends_garbage: hit,
        has_honest_times: !camera.is_odd && !hit,
    }
}
