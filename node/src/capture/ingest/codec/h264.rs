//! The payload format of H.264 (RFC 6184, 5.4 to 5.8): single NAL units, aggregation,
//! fragmentation. Pure.

use super::Fault;
use super::access_unit::Part;

const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const MTAP16: u8 = 26;
const MTAP24: u8 = 27;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// Hands each part of a packet's payload to `each`. Parts after a malformed one are dropped.
/// `is_interleaved`: `packetization-mode=2`, which alone has packets with decoding order numbers;
/// some cameras send other things under their types.
pub(super) fn parts<'a>(
    payload: &'a [u8],
    is_interleaved: bool,
    mut each: impl FnMut(Part<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (header, rest) = payload.split_first().ok_or(Fault::Empty)?;
    match header & 0x1f {
        STAP_A => aggregated(rest, 0, each),
        STAP_B | MTAP16 | MTAP24 | FU_B if !is_interleaved => Err(Fault::Payload),
        // Decoding order numbers are not looked at: packets are handled in the order in which they
        // were sent.
        STAP_B => aggregated(rest.get(2..).ok_or(Fault::Payload)?, 0, each),
        MTAP16 => aggregated(rest.get(2..).ok_or(Fault::Payload)?, 3, each),
        MTAP24 => aggregated(rest.get(2..).ok_or(Fault::Payload)?, 4, each),
        FU_A => fragment(*header, rest, 0, each),
        FU_B => fragment(*header, rest, 2, each),
        30 | 31 => Err(Fault::Payload),
        _ => each(Part::Nal(payload)),
    }
}

/// NAL units with two bytes of length before each, and `skipped` bytes (DOND and time offset) after
/// that.
fn aggregated<'a>(
    mut rest: &'a [u8],
    skipped: usize,
    mut each: impl FnMut(Part<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut outcome = Ok(());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let unit = after.get(..length).ok_or(Fault::Payload)?;
        rest = &after[length..];
        // The length counts what is skipped (RFC 6184, 5.7.2).
        let nal = unit.get(skipped..).ok_or(Fault::Payload)?;
        let taken = if nal.is_empty() {
            Err(Fault::Empty)
        } else {
            each(Part::Nal(nal))
        };
        outcome = outcome.and(taken);
    }
    outcome
}

fn fragment<'a>(
    indicator: u8,
    rest: &'a [u8],
    skipped: usize,
    mut each: impl FnMut(Part<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (header, body) = rest.split_first().ok_or(Fault::Payload)?;
    let body = body.get(skipped..).ok_or(Fault::Payload)?;
    let (is_first, is_last) = (header & 0x80 != 0, header & 0x40 != 0);
    if is_first {
        let header = [indicator & 0xe0 | header & 0x1f, 0];
        each(Part::First {
            header,
            header_bytes: 1,
            body,
            is_last,
        })
    } else {
        each(Part::Next { body, is_last })
    }
}
