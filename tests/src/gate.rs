//! A file that holds back answers.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::program::public_directory;

/// Requests for `/gate` stay in flight until the file exists. It has nothing to do with the accept gate
/// of a child.
#[derive(Debug)]
pub struct ResponseGate(TempDir);

impl ResponseGate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(public_directory())
    }

    /// The path of the file: the value of the option `gate`.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("open")
    }

    /// Creates the file.
    pub fn open(&self) {
        fs::write(self.path(), "").expect("the gate file can be written");
    }

    /// Removes the file.
    pub fn close(&self) {
        fs::remove_file(self.path()).expect("the gate file can be removed");
    }
}

impl Default for ResponseGate {
    fn default() -> Self {
        Self::new()
    }
}
