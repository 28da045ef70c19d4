//! Sites that tolerate a disk of the machine that stalls for some seconds because of other work.

use holdfast_chaos::site::SiteOptions;
use holdfast_node::config::Config;

/// Three nodes that do not give up their volumes during such a stall.
pub(crate) fn steady(cameras: u32) -> SiteOptions {
    let tune = |_: usize, config: &mut Config| {
        config.storage.hang_after_ms = 60_000;
        config.storage.lag_max_ms = 60_000;
    };
    SiteOptions {
        tune,
        ..SiteOptions::new(3, cameras)
    }
}
