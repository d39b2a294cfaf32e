//! What is measured. In each group the contenders take turns, round by round, and each round begins with another one.

mod balance;
mod build;
mod life;
mod scale;
mod throughput;

use super::BenchResult;
use super::arguments::Arguments;
use super::contender::{Contender, Files, Running, Size};
use super::machine::cores;
use super::report::Report;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Throughput,
    Life,
    Scale,
    Balance,
    Build,
}

impl Group {
    pub(crate) const ALL: [Self; 5] = [Self::Throughput, Self::Life, Self::Scale, Self::Balance, Self::Build];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Life => "life",
            Self::Scale => "scale",
            Self::Balance => "balance",
            Self::Build => "build",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.name() == name)
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Throughput => "throughput, latency, and CPU time of the server for each request",
            Self::Life => "start, kill of a child, reload, upgrade, stop, death of the master",
            Self::Scale => "start, recovery, reload and rest of many children",
            Self::Balance => "how evenly connections are spread over children",
            Self::Build => "clean builds of a small server, and the expansion of the attribute",
        }
    }

    /// Whether fewer rounds make it short.
    pub(crate) fn is_quick(self) -> bool {
        !matches!(self, Self::Build)
    }

    pub(crate) fn run(self, context: &Context, report: &mut Report) -> BenchResult<()> {
        match self {
            Self::Throughput => throughput::run(context, report),
            Self::Life => life::run(context, report),
            Self::Scale => scale::run(context, report),
            Self::Balance => balance::run(context, report),
            Self::Build => build::run(context, report),
        }
    }
}

/// What all groups need.
pub(crate) struct Context {
    pub(crate) contenders: Vec<Contender>,
    files: Files,
    quick: bool,
    workers: usize,
    children: Vec<usize>,
    rounds: Option<usize>,
}

impl Context {
    pub(crate) fn new(arguments: &Arguments, contenders: Vec<Contender>) -> BenchResult<Self> {
        Ok(Self {
            contenders,
            files: Files::new()?,
            quick: arguments.quick,
            workers: arguments.workers.unwrap_or_else(cores),
            children: arguments.children.clone(),
            rounds: arguments.rounds,
        })
    }

    fn rounds(&self, quick: usize, full: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { quick } else { full })
    }

    /// Starts a contender for more connections than most servers have.
    fn start_for_many(&self, contender: &Contender, tls: bool) -> BenchResult<Running> {
        contender.start(&self.files, Size { workers: self.workers, tls, connections: 16 * 1024 })
    }

    fn start(&self, contender: &Contender, workers: usize, tls: bool) -> BenchResult<Running> {
        contender.start(&self.files, Size { workers, tls, connections: 1024 })
    }
}

/// The contenders in the order of a round: each is the first one in turn, so that none always has the same neighbour
/// before it right after a pause.
fn turn<T>(contenders: &mut [T], round: usize) -> impl Iterator<Item = &mut T> {
    let first = if contenders.is_empty() { 0 } else { round % contenders.len() };
    let (later, sooner) = contenders.split_at_mut(first);
    sooner.iter_mut().chain(later)
}
