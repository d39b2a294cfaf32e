//! Until when a certificate is good: the little of X.509 that tells.

use std::time::SystemTime;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What is wrong with a certificate's time, if anything is.
pub(super) fn warning(certificate: &[u8], now: SystemTime) -> Option<String> {
    let (from, until) = period(certificate)?;
    // Times that are spelled alike are in the order of their letters.
    let now = humantime::format_rfc3339_seconds(now).to_string();
    if until < now {
        Some(format!("has expired: it was valid until {until}"))
    } else if now < from {
        Some(format!("is not valid yet: it will be from {from}"))
    } else {
        None
    }
}

/// First and last second, such as `2026-01-31T23:59:59Z`; `None` for what is no certificate.
fn period(certificate: &[u8]) -> Option<(String, String)> {
    let (_, mut certificate) = take(&mut { certificate }, SEQUENCE)?;
    let (_, mut fields) = take(&mut certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        any(&mut fields)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        any(&mut fields)?;
    }
    let (_, mut validity) = take(&mut fields, SEQUENCE)?;
    let from = time(any(&mut validity)?)?;
    let until = time(any(&mut validity)?)?;
    Some((from, until))
}

/// The next element, which has to be of this kind.
fn take<'a>(der: &mut &'a [u8], kind: u8) -> Option<(u8, &'a [u8])> {
    any(der).filter(|(tag, _)| *tag == kind)
}

/// The next element: its kind and its content.
fn any<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .try_fold(0_usize, |length, byte| length.checked_mul(256)?.checked_add(usize::from(*byte)))?;
            (length, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((tag, content))
}

/// `YYMMDDHHMMSSZ`, with years from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time((tag, content): (u8, &[u8])) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let digits = match tag {
        UTC_TIME if text < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range| digits.get(range).unwrap_or_default();
    Some(format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14)
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The outside of a certificate, with these times.
    fn certificate(from: &[u8], until: &[u8]) -> Vec<u8> {
        let element = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        };
        let time = |text: &[u8]| element(if text.len() == 13 { UTC_TIME } else { GENERALIZED_TIME }, text);
        let validity = element(SEQUENCE, &[time(from), time(until)].concat());
        let (version, other) = (element(VERSION, &[2, 1, 2]), element(2, &[7; 300]));
        let fields = [version, other.clone(), other.clone(), other, validity].concat();
        element(SEQUENCE, &element(SEQUENCE, &fields))
    }

    fn on(day: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400)
    }

    #[test]
    fn a_certificate_is_good_for_its_time() {
        let certificate = certificate(b"700110000000Z", b"20500101000000Z");
        assert_eq!(warning(&certificate, on(100)), None);
        let early = warning(&certificate, on(1)).unwrap();
        assert_eq!(early, "is not valid yet: it will be from 1970-01-10T00:00:00Z");
        let late = warning(&certificate, on(30_000)).unwrap();
        assert_eq!(late, "has expired: it was valid until 2050-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_certificate_is_no_concern() {
        let certificate = certificate(b"700110000000Z", b"20500101000000Z");
        for length in 0..certificate.len() {
            assert_eq!(warning(&certificate[..length], on(30_000)), None, "cut at {length}");
        }
        assert_eq!(warning(&self::certificate(b"7001100000.0Z", b"20500101000000Z"), on(1)), None);
        assert_eq!(warning(&[SEQUENCE, 0xff, 1, 2, 3], on(1)), None);
    }
}
