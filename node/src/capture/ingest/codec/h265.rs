//! The payload format of H.265 (RFC 7798, 4.4): single NAL units, aggregation, fragmentation. Pure.

use super::Fault;
use super::access_unit::Part;

const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

/// Hands each part of a packet's payload to `each`. `has_donl`: decoding order numbers are there
/// (`sprop-max-don-diff` above 0); they are not looked at.
pub(super) fn parts<'a>(
    payload: &'a [u8],
    has_donl: bool,
    mut each: impl FnMut(Part<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let header = payload.first_chunk::<2>().ok_or(Fault::Empty)?;
    let rest = &payload[2..];
    let donl_bytes = if has_donl { 2 } else { 0 };
    match header[0] >> 1 & 0x3f {
        AGGREGATION => aggregated(rest, donl_bytes, each),
        FRAGMENTATION => fragment(*header, rest, donl_bytes, each),
        // Packets with extensions (PACI, RFC 7798, 4.4.4) and what is not defined: no decoder knows
        // them.
        50..=63 => Err(Fault::Payload),
        _ if has_donl => {
            // The number lies between the header and the rest.
            let body = rest.get(2..).ok_or(Fault::Payload)?;
            each(Part::First {
                header: *header,
                header_bytes: 2,
                body,
                is_last: true,
            })
        }
        _ => each(Part::Nal(payload)),
    }
}

fn aggregated<'a>(
    rest: &'a [u8],
    donl_bytes: usize,
    mut each: impl FnMut(Part<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut rest = rest.get(donl_bytes..).ok_or(Fault::Payload)?;
    let mut outcome = Ok(());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let nal = after.get(..length).ok_or(Fault::Payload)?;
        // Each but the first has a byte of difference before it.
        let skipped = length + donl_bytes / 2;
        rest = after.get(skipped..).unwrap_or_default();
        let taken = if nal.len() < 2 {
            Err(Fault::Empty)
        } else {
            each(Part::Nal(nal))
        };
        outcome = outcome.and(taken);
    }
    outcome
}

fn fragment<'a>(
    header: [u8; 2],
    rest: &'a [u8],
    donl_bytes: usize,
    mut each: impl FnMut(Part<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (fragment, body) = rest.split_first().ok_or(Fault::Payload)?;
    let (is_first, is_last) = (fragment & 0x80 != 0, fragment & 0x40 != 0);
    if is_first {
        let body = body.get(donl_bytes..).ok_or(Fault::Payload)?;
        let header = [header[0] & 0x81 | (fragment & 0x3f) << 1, header[1]];
        each(Part::First {
            header,
            header_bytes: 2,
            body,
            is_last,
        })
    } else {
        each(Part::Next { body, is_last })
    }
}
