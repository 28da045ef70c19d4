//! Random scenarios: the seed determines cameras and faults. Pure.

use crate::scenario::{Fault, Place, RandomFaults};
use crate::{Error, Result};
use holdfast_storage::random::Random;
use serde::Serialize;

#[derive(Serialize)]
struct Faults {
    fault: Vec<Fault>,
}

/// The TOML text of a scenario of this many seconds, with every fault written out.
///
/// # Errors
/// If a fault cannot be written as TOML, which is a bug.
pub fn scenario(
    seed: u64,
    place: Place,
    nodes: usize,
    cameras: u32,
    seconds: u32,
) -> Result<String> {
    let mut random = Random::new(seed);
    let place_name = if place == Place::Netns {
        "netns"
    } else {
        "processes"
    };
    let gapless = random.below(u64::from(cameras) / 2 + 1);
    let standard = u64::from(cameras) - gapless;
    let mut text = format!(
        "about = \"Made by holdfast-chaos soak from seed {seed}.\"\nseconds = {seconds}\n\
         on = \"{place_name}\"\n\n[cluster]\nnodes = {nodes}\n"
    );
    text += &format!("\n[[cameras]]\ncount = {standard}\nbitrate_kbps = 500\n");
    if gapless > 0 {
        text += &format!(
            "\n[[cameras]]\ncount = {gapless}\nbitrate_kbps = 500\nprotection = \"gapless\"\n"
        );
    }
    text += &format!(
        "\n[load]\nplayers = {}\napi_per_second = 2\n\n",
        random.below(3)
    );
    let fault = RandomFaults::default().faults(random.next(), place, f64::from(seconds));
    text += &toml::to_string(&Faults { fault }).map_err(|error| Error::Wrong(error.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use std::path::Path;

    #[test]
    fn every_seed_makes_a_scenario_that_is_right_and_always_the_same() {
        for seed in 0..300 {
            let place = if seed % 2 == 0 {
                Place::Netns
            } else {
                Place::Processes
            };
            let text = scenario(seed, place, 3, 8, 120).unwrap();
            assert_eq!(text, scenario(seed, place, 3, 8, 120).unwrap());
            let read = Scenario::parse(Path::new("soak.toml"), &text)
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(
                !read.faults.is_empty() && read.cameras_total() == 8,
                "{text}"
            );
        }
    }
}
