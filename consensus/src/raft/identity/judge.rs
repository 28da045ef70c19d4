//! Whether a data directory is as new as what another node has seen of it. Pure; `identity.rs`
//! explains why this is sufficient.

use super::{Boot, Incarnation, Record};

/// How a record relates to the last process of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is the process of the record.
    Same,
    /// A later start of a directory that contains everything in the record.
    Later,
    /// The directory does not contain everything in the record.
    Older,
}

/// Compares `record` with a directory's starts `history`, the newest last.
pub(crate) fn judge(history: &[Boot], record: &Record) -> Judgement {
    let Some(newest) = history.last() else {
        return Judgement::Older;
    };
    if newest.incarnation == record.incarnation {
        return Judgement::Same;
    }
    let generation = record.incarnation.generation;
    let Some(at) = history
        .iter()
        .position(|boot| boot.incarnation.generation == generation)
    else {
        // Older than the remembered starts; or a start that this directory has never seen.
        let is_forgotten =
            generation < newest.incarnation.generation && history.len() == super::BOOTS_MAX;
        return if is_forgotten {
            Judgement::Later
        } else {
            Judgement::Older
        };
    };
    let (seen, next) = (history[at], history.get(at + 1));
    match next {
        Some(next)
            if seen.incarnation == record.incarnation && next.began_at >= record.position =>
        {
            Judgement::Later
        }
        _ => Judgement::Older,
    }
}

/// Whether a process is the one that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// No process of its node was ever heard.
    First,
    /// Another process of its node was; this one has to introduce itself.
    Unknown,
}

pub(crate) fn admission(record: Option<&Record>, incarnation: Incarnation) -> Admission {
    match record {
        None => Admission::First,
        Some(record) if record.incarnation == incarnation => Admission::Admitted,
        Some(_) => Admission::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BOOTS_MAX, Position};
    use super::*;
    use uuid::Uuid;

    fn incarnation(generation: u64, boot: u128) -> Incarnation {
        Incarnation {
            generation,
            boot: Uuid::from_u128(boot),
        }
    }

    fn position(term: u64, index: u64) -> Position {
        Position {
            vote: (term, 1),
            last: Some((term, 1, index)),
        }
    }

    fn boot(generation: u64, id: u128, began_at: Position) -> Boot {
        Boot {
            incarnation: incarnation(generation, id),
            began_at,
        }
    }

    fn record(generation: u64, id: u128, position: Position) -> Record {
        Record {
            incarnation: incarnation(generation, id),
            position,
        }
    }

    #[test]
    fn a_restart_that_holds_everything_is_later() {
        let history = [
            boot(1, 11, Position::default()),
            boot(2, 12, position(3, 9)),
        ];
        assert_eq!(
            judge(&history, &record(1, 11, position(3, 9))),
            Judgement::Later
        );
        assert_eq!(
            judge(&history, &record(1, 11, position(3, 8))),
            Judgement::Later
        );
        assert_eq!(
            judge(&history, &record(2, 12, position(5, 70))),
            Judgement::Same,
            "the record is of this process"
        );
        // The peer was away for a while.
        let history = [history[0], history[1], boot(3, 13, position(3, 9))];
        assert_eq!(
            judge(&history, &record(1, 11, position(2, 4))),
            Judgement::Later
        );
    }

    #[test]
    fn a_state_from_within_the_run_that_confirmed_more_is_older() {
        let history = [
            boot(1, 11, Position::default()),
            boot(2, 12, position(3, 9)),
        ];
        assert_eq!(
            judge(&history, &record(1, 11, position(3, 10))),
            Judgement::Older,
            "an entry"
        );
        assert_eq!(
            judge(
                &history,
                &record(
                    1,
                    11,
                    Position {
                        vote: (4, 2),
                        last: None
                    }
                )
            ),
            Judgement::Older,
            "a vote"
        );
        // However long it runs, and however often it starts, before it reaches a peer that knows
        // it.
        let history = [history[0], history[1], boot(3, 13, position(9, 99))];
        assert_eq!(
            judge(&history, &record(1, 11, position(3, 10))),
            Judgement::Older
        );
    }

    #[test]
    fn a_state_from_before_a_start_that_was_seen_is_older() {
        let history = [
            boot(1, 11, Position::default()),
            boot(2, 22, position(3, 9)),
        ];
        assert_eq!(
            judge(&history, &record(2, 12, position(3, 9))),
            Judgement::Older,
            "the same start, another boot"
        );
        assert_eq!(
            judge(&history, &record(5, 15, position(3, 9))),
            Judgement::Older
        );
        let history = [history[0], history[1], boot(3, 23, position(8, 80))];
        assert_eq!(
            judge(&history, &record(2, 12, position(3, 9))),
            Judgement::Older,
            "later starts do not hide it"
        );
        // A directory that was emptied.
        assert_eq!(
            judge(
                &[boot(1, 31, Position::default())],
                &record(1, 11, position(3, 9))
            ),
            Judgement::Older
        );
        assert_eq!(judge(&[], &record(1, 11, position(3, 9))), Judgement::Older);
    }

    #[test]
    fn an_entry_that_a_new_leader_took_back_is_not_missed() {
        // Under vote 3 it held entry 10; under vote 4 its log was truncated.
        let cut = Position {
            vote: (4, 2),
            last: Some((3, 1, 8)),
        };
        let history = [boot(1, 11, Position::default()), boot(2, 12, cut)];
        assert_eq!(
            judge(&history, &record(1, 11, position(3, 10))),
            Judgement::Later
        );
    }

    #[test]
    fn what_is_older_than_the_history_is_no_evidence() {
        let long: Vec<Boot> = (100..100 + BOOTS_MAX as u64)
            .map(|n| boot(n, u128::from(n), position(3, n)))
            .collect();
        assert_eq!(
            judge(&long, &record(7, 7, position(2, 2))),
            Judgement::Later
        );
        let short = &long[1..];
        assert_eq!(
            judge(short, &record(7, 7, position(2, 2))),
            Judgement::Older,
            "a whole history has no holes"
        );
    }
}
