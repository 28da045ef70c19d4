//! `cargo xtask`: the project's own chores. Depends on next to nothing, so that it builds in
//! seconds.

mod chaos;
mod debian;
mod explore;
mod figures;
mod power;
mod seeds;
mod simulate;
mod steps;
mod verify;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  verify    run every check that CI runs (cargo xtask verify --help)
  explore   stop the store anywhere on a disk that fails, by seed (cargo xtask explore --help)
  simulate  let a whole site fail over in simulated time, by seed (cargo xtask simulate --help)
  simulate-consensus
            let the real Raft run on a simulated network, by seed (cargo xtask simulate-consensus
            --help)
  chaos     run short scenarios against a real cluster (cargo xtask chaos --help)
  figures   count what the house rules ask for: cycles, names, functions, words
  power     cut the power of ext4 and xfs under load, hundreds of times (cargo xtask power --help)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["verify", rest @ ..] => verify::run(rest),
        ["power", rest @ ..] => power::run(rest),
        ["chaos", rest @ ..] => chaos::run(rest),
        ["figures", rest @ ..] => figures::run(rest),
        ["explore", rest @ ..] => explore::SEARCH.run(rest),
        ["simulate-consensus", rest @ ..] => simulate::CONSENSUS.run(rest),
        ["simulate", rest @ ..] => simulate::SEARCH.run(rest),
        ["-h" | "--help" | "help"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}
