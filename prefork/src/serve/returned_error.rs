//! The error that a serve function has returned.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::error::{BoxError, chain};

thread_local! {
    /// What the attribute knows of the error.
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes the error that the serve function is about to return in this thread.
pub(crate) fn note_returned_error(text: String) {
    NOTED.set(Some(text));
}

/// The text of the error in what a serve function has returned. `Termination` tells a status only. So without the
/// attribute the text of any other type is known to the standard library alone, which prints it.
pub(super) fn error_in(returned: &dyn Any) -> Option<String> {
    let noted = NOTED.take();
    error_of::<()>(returned).or_else(|| error_of::<ExitCode>(returned)).or(noted)
}

fn error_of<T: 'static>(returned: &dyn Any) -> Option<String> {
    if let Some(result) = returned.downcast_ref::<Result<T, io::Error>>() {
        return result.as_ref().err().map(|error| chain(error).to_string());
    }
    if let Some(result) = returned.downcast_ref::<Result<T, BoxError>>() {
        return result.as_ref().err().map(|error| chain(&**error).to_string());
    }
    if let Some(result) = returned.downcast_ref::<Result<T, Box<dyn Error>>>() {
        return result.as_ref().err().map(|error| chain(&**error).to_string());
    }
    if let Some(result) = returned.downcast_ref::<Result<T, String>>() {
        return result.as_ref().err().cloned();
    }
    returned.downcast_ref::<Result<T, &str>>()?.as_ref().err().map(|error| (*error).to_owned())
}
