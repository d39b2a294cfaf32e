//! The time in which a certificate is valid.
//!
//! The crate `der` parses it: it is maintained, and with the features used here it has no dependencies. A
//! parser of whole certificates brings more crates than two dates justify: x509-parser 30, x509-cert 10 and
//! asn1 7, all of them with syn 2. Only the feature `rustls` depends on it.

use std::time::SystemTime;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{DateTime, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged};

/// Why the certificate is not valid at this time, if it is not.
pub(super) fn warning(certificate: &[u8], now: SystemTime) -> Option<String> {
    let (from, until) = validity(certificate).ok()?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if until.unix_duration().as_secs() < now {
        Some(format!("has expired: it was valid until {until}"))
    } else if now < from.unix_duration().as_secs() {
        Some(format!("is not valid yet: it will be from {from}"))
    } else {
        None
    }
}

/// The first and the last second.
fn validity(certificate: &[u8]) -> der::Result<(DateTime, DateTime)> {
    let mut certificate = sequence(&mut SliceReader::new(certificate)?)?;
    let mut fields = sequence(&mut certificate)?;
    let _version: Option<u8> = fields.context_specific(TagNumber(0), TagMode::Explicit)?;
    for _skipped in ["serial number", "algorithm", "issuer"] {
        fields.tlv_bytes()?;
    }
    let mut validity = sequence(&mut fields)?;
    Ok((time(&mut validity)?, time(&mut validity)?))
}

/// The content of the next element, a sequence.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<SliceReader<'a>> {
    let element: AnyRef<'a> = reader.decode()?;
    element.tag().assert_eq(Tag::Sequence)?;
    SliceReader::new(element.value())
}

fn time(reader: &mut SliceReader<'_>) -> der::Result<DateTime> {
    match Tag::peek(reader)? {
        Tag::UtcTime => reader.decode().map(|time: UtcTime| time.to_date_time()),
        _ => reader.decode().map(|time: GeneralizedTime| time.to_date_time()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;

    /// The fields of a certificate up to the validity, with these times.
    fn certificate(from: &[u8], until: &[u8]) -> Vec<u8> {
        let element = |tag: u8, content: &[u8]| {
            let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
            let head: &[u8] = if content.len() < 0x80 { &[tag, low] } else { &[tag, 0x82, high, low] };
            [head, content].concat()
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
    fn certificate_outside_its_validity_has_warning() {
        let certificate = certificate(b"700110000000Z", b"20500101000000Z");
        assert_eq!(warning(&certificate, on(100)), None);
        let early = warning(&certificate, on(1)).unwrap();
        assert_eq!(early, "is not valid yet: it will be from 1970-01-10T00:00:00Z");
        let late = warning(&certificate, on(30_000)).unwrap();
        assert_eq!(late, "has expired: it was valid until 2050-01-01T00:00:00Z");
    }

    #[test]
    fn certificate_without_end_is_valid() {
        let certificate = certificate(b"20200229000000Z", b"99991231235959Z");
        assert_eq!(warning(&certificate, on(30_000)), None);
        assert!(warning(&certificate, on(1)).is_some());
    }

    #[test]
    fn validity_of_non_certificate_is_none() {
        let certificate = certificate(b"700110000000Z", b"20500101000000Z");
        for length in 0..certificate.len() {
            assert_eq!(warning(&certificate[..length], on(30_000)), None, "cut at {length}");
        }
        assert_eq!(warning(&self::certificate(b"7001100000.0Z", b"20500101000000Z"), on(1)), None);
        assert_eq!(warning(&[SEQUENCE, 0xff, 1, 2, 3], on(1)), None);
    }
}
