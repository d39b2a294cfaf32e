//! What is loaded once for all children of a generation.
//!
//! - `mod.rs`: [`Preloaded`], and the function that loads it
//! - `template.rs`: the process that loads it, and forks the children
//!
//! What was loaded is in the memory of the main thread: of the template that loads it, of the children that it forks,
//! and of a child that loads for itself where there are no templates. There it is kept for the life of the process, so
//! that its drop never runs.

mod template;

use std::any::{Any, TypeId, type_name};
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

pub(crate) use template::serve_orders;

use crate::child::{ChildContext, StartError, reporting_panics};
use crate::error::BoxError;
use crate::logging::Logger;
use crate::serve::FromChild;

thread_local! {
    static LOADED: Cell<Option<Loaded>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Loaded {
    value: &'static dyn Any,
    of: LoadedType,
}

/// The type of what is loaded.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct LoadedType {
    id: TypeId,
    pub(crate) name: &'static str,
}

impl LoadedType {
    fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

impl PartialEq for LoadedType {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// What the function of the option [`preload`](crate::Prefork::preload) has loaded: an argument of the serve function.
///
/// Where there are [templates](crate::Prefork::preload) it is loaded once for all children, which share its memory as long as none writes to it. It is a
/// reference, cheap to copy. Its value is never dropped.
///
/// ```no_run
/// use std::collections::HashMap;
/// use std::net::TcpListener;
///
/// use prefork::{Prefork, Preloaded};
///
/// type Index = HashMap<String, String>;
///
/// fn load() -> Index {
///     // …
///     # Index::new()
/// }
///
/// fn serve(ln: TcpListener, index: Preloaded<Index>) -> std::io::Result<()> {
///     println!("{} entries", index.len());
///     # let _ = ln;
///     // …
///     Ok(())
/// }
///
/// fn main() -> Result<(), prefork::Error> {
///     Prefork::new(serve).preload(load).run()
/// }
/// ```
pub struct Preloaded<T: 'static>(&'static T);

impl<T> Preloaded<T> {
    /// The value, for the life of the process.
    #[must_use]
    pub fn into_static(self) -> &'static T {
        self.0
    }
}

impl<T> Deref for Preloaded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T> Clone for Preloaded<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Preloaded<T> {}

impl<T: fmt::Debug> fmt::Debug for Preloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: 'static> FromChild for Preloaded<T> {
    type Error = NotPreloaded;

    const PRELOADED: Option<fn() -> LoadedType> = Some(LoadedType::of::<T>);

    fn from_child(_: &ChildContext) -> Result<Self, NotPreloaded> {
        let loaded = LOADED.get();
        let value = loaded.and_then(|loaded| loaded.value.downcast_ref::<T>());
        let found = loaded.map(|loaded| loaded.of.name);
        value.map(Self).ok_or(NotPreloaded { found })
    }
}

/// Why there is no [`Preloaded`] of a type.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotPreloaded {
    found: Option<&'static str>,
}

impl fmt::Display for NotPreloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(found) => write!(f, "the option `preload` loads `{found}`"),
            None => f.write_str("the option `preload` is not set"),
        }
    }
}

impl std::error::Error for NotPreloaded {}

/// The function that loads, and keeps what it has loaded.
pub struct Load {
    call: Box<dyn FnOnce() -> Result<(), BoxError>>,
    of: LoadedType,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Load")
    }
}

impl Load {
    pub(crate) fn new<T: 'static>(load: impl FnOnce() -> Result<T, BoxError> + 'static) -> Self {
        let of = LoadedType::of::<T>();
        let call = move || {
            let value: &'static T = Box::leak(Box::new(load()?));
            LOADED.set(Some(Loaded { value, of }));
            Ok(())
        };
        Self { call: Box::new(call), of }
    }

    pub(crate) fn loads(&self) -> LoadedType {
        self.of
    }

    /// Loads, in the thread that makes the arguments of the serve function.
    ///
    /// # Errors
    ///
    /// [`StartError::Load`].
    pub(crate) fn run(self, logger: &Logger) -> Result<(), StartError> {
        reporting_panics(logger, self.call).map_err(StartError::Load)
    }
}
