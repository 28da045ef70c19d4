//! RTCP sender reports (RFC 3550, 6.4.1), in a compound with the CNAME that section 6.1 demands.

/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;
const CNAME: &[u8; 16] = b"holdfast-camera\0";

/// The contents of a sender report of one track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderReport {
    pub(crate) ssrc: u32,
    /// Wall time of `rtp_timestamp`, in microseconds since the Unix epoch.
    pub(crate) wall_us: u64,
    pub(crate) rtp_timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

impl SenderReport {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut report = vec![0x80, 200, 0, 6];
        report.extend_from_slice(&self.ssrc.to_be_bytes());
        report.extend_from_slice(&ntp(self.wall_us).to_be_bytes());
        for word in [self.rtp_timestamp, self.packets, self.octets] {
            report.extend_from_slice(&word.to_be_bytes());
        }
        report.extend_from_slice(&[0x81, 202, 0, 6]);
        report.extend_from_slice(&self.ssrc.to_be_bytes());
        // CNAME item of 15 bytes; the terminating zero of the chunk is padded to a multiple of
        // four.
        report.extend_from_slice(&[1, 15]);
        report.extend_from_slice(CNAME);
        report.extend_from_slice(&[0, 0]);
        report
    }
}

/// A 64-bit NTP timestamp: seconds since 1900, then 32 bits of fraction.
fn ntp(wall_us: u64) -> u64 {
    let seconds = wall_us / 1_000_000 + NTP_UNIX_OFFSET_S;
    let fraction = ((wall_us % 1_000_000) << 32) / 1_000_000;
    seconds << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_in_words_less_one() {
        let bytes = SenderReport {
            ssrc: 1,
            wall_us: 0,
            rtp_timestamp: 2,
            packets: 3,
            octets: 4,
        }
        .encode();
        assert_eq!(bytes.len(), (6 + 1) * 4 + (6 + 1) * 4);
        assert_eq!(&bytes[16..28], &[0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
        assert_eq!(&bytes[28..32], &[0x81, 202, 0, 6]);
    }

    #[test]
    fn half_a_second_is_half_of_the_fraction() {
        assert_eq!(ntp(500_000), NTP_UNIX_OFFSET_S << 32 | 1 << 31);
    }
}
