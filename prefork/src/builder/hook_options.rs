//! The options of hooks, process titles, the pid file, the control socket, the configuration file and the logger.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use prefork_options as options;

use super::Prefork;
use crate::error::BoxError;
use crate::hooks::{Canary, CanaryResult, HookResult};
use crate::logging::Logger;
use crate::preload::Load;

/// # Hooks, titles, files and logger
impl Prefork {
    /// The name in process titles: `ps` and `top` show `app: master` with its arguments, and
    /// `app: child 3`. Empty (`""`): titles are left alone. Default: the name of the program. macOS and
    /// Windows have no titles.
    pub fn title(self, title: impl AsRef<str>) -> Self {
        self.put(&options::TITLE, title.as_ref().to_owned())
    }

    /// A file with the master's pid, for tools that send it signals. It is whole at any time, locked while the
    /// master lives, kept over an upgrade, and removed at the master's end. A file that another process holds
    /// is [`Error::PidFile`](crate::Error::PidFile); one that is left by a master that was killed is replaced.
    ///
    /// Default: none. A service manager needs none.
    pub fn pidfile(self, path: impl Into<PathBuf>) -> Self {
        self.put(&options::PIDFILE, path.into())
    }

    /// Path of the control socket, by which root and the master's own user operate the fleet over HTTP, with `curl` or
    /// a program: see [`guide::control`](crate::guide::control). Its mode is 0600. One that another process listens on
    /// is [`Error::Control`](crate::Error::Control); one that was left behind is replaced. It is kept over reloads and
    /// upgrades, and removed at the master's end.
    ///
    /// Default: none. Windows has none.
    pub fn control(self, path: impl Into<PathBuf>) -> Self {
        self.put(&options::CONTROL, path.into())
    }

    /// A configuration file in TOML: `workers = 4`, `shutdown_grace = "30s"`. It sets the options that have an
    /// environment variable, by name. It overrides the attribute; variables and the builder override it. A reload
    /// reads it again.
    ///
    /// Default: none; no file is looked for.
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn config(self, path: impl Into<PathBuf>) -> Self {
        self.put(&options::CONFIG, path.into())
    }

    /// Runs in each child when its master has died; the child then drains, and exits with status 1.
    ///
    /// It runs in a thread beside the serve function. It may exit the process itself.
    pub fn on_master_death<R: HookResult>(mut self, hook: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.hooks.on_master_death = Some(Arc::new(move || hook().into_result()));
        self
    }

    /// Runs in the master, once for each child, right after its start; takes the child's pid. An
    /// error stops the fleet.
    pub fn on_child_spawn<R: HookResult>(mut self, hook: impl Fn(u32) -> R + Send + Sync + 'static) -> Self {
        self.hooks.on_child_spawn = Some(Arc::new(move |pid| hook(pid).into_result()));
        self
    }

    /// Runs in the master, once, when every slot has become ready for the first time; takes the
    /// pids, in the order of the slots. An error stops the fleet.
    pub fn on_master_ready<R: HookResult>(
        mut self,
        hook: impl Fn(&[u32]) -> R + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_master_ready = Some(Arc::new(move |pids| hook(pids).into_result()));
        self
    }

    /// Runs in the master when a child replaces one that failed, after
    /// [`on_child_spawn`](Self::on_child_spawn); takes the old pid and the new one.
    pub fn on_child_recover<R: HookResult>(
        mut self,
        hook: impl Fn(u32, u32) -> R + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_child_recover = Some(Arc::new(move |old, new| hook(old, new).into_result()));
        self
    }

    /// Runs in the master and in every child when the master receives SIGUSR1 (on Windows: the event
    /// `Global\\prefork-PID-reopen`): opens log files again, after they were rotated.
    ///
    /// In the master it runs on its only thread, in a child in a thread of its own. An error is logged, and
    /// changes nothing else.
    pub fn on_log_reopen<R: HookResult>(mut self, hook: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.hooks.on_log_reopen = Some(Arc::new(move || hook().into_result()));
        self
    }

    /// Judges the new children of a reload with a [`canary`](Self::canary). It runs in the master, each second while
    /// the reload holds, and takes what the new and the old children have counted: see [`Canary`], which has an
    /// example. It answers whether to hold on, to promote, or to roll back.
    ///
    /// An error or a panic rolls the reload back. The function is that of the master's program, which a reload does
    /// not replace: an upgrade does.
    pub fn on_canary<R: CanaryResult>(mut self, hook: impl Fn(&Canary) -> R + Send + Sync + 'static) -> Self {
        self.hooks.on_canary = Some(Arc::new(move |canary| hook(canary).into_result()));
        self
    }

    /// Loads data once for all children: an index, a model, a table. The serve function takes it as
    /// [`Preloaded<T>`](crate::Preloaded).
    ///
    /// On Linux with glibc, on x86-64 and 64-bit ARM, a process of its own, the template, calls the function, and then forks each child when the master
    /// asks for it: the children share the memory of what was loaded, and are ready at once. A reload calls it again,
    /// in a new template. Elsewhere each child calls it before it is ready, and with `workers = 0` the one process does.
    ///
    /// `init` and this function run in the template's only thread. A thread that they leave behind is an error, because
    /// a fork copies one thread. A random number generator that they have used goes on in each child with the same
    /// numbers: seed it again in an argument of the serve function.
    pub fn preload<T: 'static>(self, load: impl FnOnce() -> T + 'static) -> Self {
        self.with_load(Load::new(|| Ok(load())))
    }

    /// The same with a function that can fail. An error at the start ends the fleet; during a reload, the old children
    /// stay.
    pub fn try_preload<T: 'static, E: Into<BoxError>>(
        self,
        load: impl FnOnce() -> Result<T, E> + 'static,
    ) -> Self {
        self.with_load(Load::new(|| load().map_err(Into::into)))
    }

    /// For the attribute, which knows which of the two it is.
    #[doc(hidden)]
    pub fn with_load(mut self, load: Load) -> Self {
        self.serve.set_load(load);
        self
    }

    /// Starts a child, in the master, in place of `Command::spawn`.
    ///
    /// The command is complete: program, arguments, environment, and the handshake as its standard
    /// input. The producer may alter or wrap it, and returns the process that it started. An error stops
    /// the fleet with [`Error::CommandProducer`](crate::Error::CommandProducer), unless it is a shortage
    /// (processes, memory, descriptors): the start is then tried again.
    pub fn command_producer(
        mut self,
        producer: impl Fn(Command) -> io::Result<Child> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.command_producer = Some(Arc::new(producer));
        self
    }

    /// Where the runtime's own messages go. Default: with the feature `tracing`, the subscriber, if there
    /// is one; else the installed [`log`] logger; with none installed, standard error, from level info up.
    pub fn logger(mut self, logger: impl log::Log + 'static) -> Self {
        self.logger = Logger::new(logger);
        self
    }
}
