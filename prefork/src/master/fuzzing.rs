//! Bodies of fuzz targets: what a client of the health endpoint or of the control socket sends.

pub(crate) use super::control::fuzzing::control;

/// The bytes of a connection.
pub(crate) fn http(data: &[u8]) {
    super::http::http(data);
}
