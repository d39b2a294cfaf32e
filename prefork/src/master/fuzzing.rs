//! Bodies of fuzz targets: what a client of the health endpoint or of the control socket sends.

pub(crate) use super::control::fuzzing::control;
pub(crate) use super::http::http;
