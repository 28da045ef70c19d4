//! Families with samples of main and of sub streams. Those of main streams bear no label for the
//! stream, so that a query which names none of them keeps its meaning; those of sub streams bear
//! `stream="sub"`.

use holdfast_storage::ids::StreamKind;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Error, Opts};

pub(super) struct OfStreams<V> {
    main: V,
    sub: V,
}

impl<V: Collector> OfStreams<V> {
    pub(super) fn new(
        (name, help): (&str, &str),
        make: impl Fn(Opts) -> Result<V, Error>,
    ) -> Result<Self, Error> {
        let opts = Opts::new(name, help);
        Ok(Self {
            main: make(opts.clone())?,
            sub: make(opts.const_label("stream", StreamKind::Sub.name()))?,
        })
    }

    pub(super) fn of(&self, kind: StreamKind) -> &V {
        match kind {
            StreamKind::Main => &self.main,
            StreamKind::Sub => &self.sub,
        }
    }

    /// One family: its name must not be there twice.
    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.main.collect();
        for (family, mut of_sub) in families.iter_mut().zip(self.sub.collect()) {
            family.mut_metric().extend(of_sub.take_metric());
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{GaugeVec, TextEncoder};

    #[test]
    fn a_main_streams_sample_is_as_without_sub_streams_and_both_are_one_family() {
        let lag = OfStreams::new(("lag_seconds", "Age."), |opts| {
            GaugeVec::new(opts, &["camera"])
        })
        .unwrap();
        let text = || TextEncoder::new().encode_to_string(&lag.collect()).unwrap();
        lag.of(StreamKind::Main).with_label_values(&["7"]).set(1.0);
        let alone =
            "# HELP lag_seconds Age.\n# TYPE lag_seconds gauge\nlag_seconds{camera=\"7\"} 1\n";
        assert_eq!(text(), alone);
        lag.of(StreamKind::Sub).with_label_values(&["7"]).set(2.0);
        let both = format!("{alone}lag_seconds{{camera=\"7\",stream=\"sub\"}} 2\n");
        assert_eq!(text(), both);
    }
}
