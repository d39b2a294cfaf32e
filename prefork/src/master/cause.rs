//! What made a fleet stop, if not a request.

use std::any::Any;

use crate::error::Error;
use crate::hooks::HookFailure;

/// User code, or the system.
pub(crate) enum Cause {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Cause {
    pub(crate) fn of_hook(hook: &'static str, failure: HookFailure) -> Self {
        match failure {
            HookFailure::Error(source) => Self::Error(Error::Hook { hook, source }),
            HookFailure::Panic(payload) => Self::Panic(payload),
        }
    }
}
