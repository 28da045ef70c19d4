//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A node with as many cameras as one lane takes has about so many: a socket for each, as many connections of API clients as are let in, and files.
const WANTED: u64 = 4096;

/// Takes all that the system grants: shells and service managers start processes with 1,024, because programs with `select` bear no more (getrlimit(2)).
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, ?maximum, "the limit of open files could not be raised");
    }
    if let Some(granted) = getrlimit(Resource::Nofile).current.filter(|granted| *granted < WANTED) {
        tracing::warn!(
            "this process may have {granted} files and sockets open; for hundreds of cameras, raise its hard limit to {WANTED} or more (`ulimit -Hn`, `LimitNOFILE=`)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_withholds_is_taken() {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(512), ..before }).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: before.maximum, ..before });
    }
}
