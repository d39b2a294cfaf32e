//! The messages between the processes of a fleet. Both ends of a message are in one file.
//!
//! ```text
//!                Handshake, Secrets, ToChild
//!    master ────────────────────────────────────▶ child
//!      │    ◀────────────────────────────────────
//!      │                 ToMaster
//!      │ exec, in the same process
//!      │ UpgradeSnapshot, with Secrets in it
//!      ▼
//!    master, the next program
//! ```
//!
//! ```text
//! master ──▶ child   Handshake, with the listeners     before the child runs
//! master ──▶ child   Secrets                           if the handshake announces them; not on Windows
//! master ──▶ child   the region of shared values       if the handshake names a lane of it
//! child ──▶ master   ToMaster::Received                the handshake is read
//! child ──▶ master   ToMaster::Ready                   the serve function is about to be called
//! child ──▶ master   ToMaster::Recycle, RecycleOfSize  the child asks to be replaced
//! child ──▶ master   ToMaster::Hangs                   the child is about to end itself
//! child ──▶ master   ToMaster::StopRequested           the child received a signal to stop
//! child ──▶ master   ToMaster::Candidate               the child asks to become the leader
//! child ──▶ master   ToMaster::Resigned                the child is the leader no more
//! child ──▶ master   LogMessage, in parts              the child has logged it
//! child ──▶ master   UpgradePlan                       the answer of a child that checks the next program
//! master ──▶ child   ToChild::StopNoted                the master knows of that signal
//! master ──▶ child   ToChild::AnnounceStop             the fleet stops soon
//! master ──▶ child   ToChild::ReopenLogs               log files were rotated
//! master ──▶ child   ToChild::Lead                     the child is the leader
//! master ──▶ child   ToChild::Resign                   the leader is to give that up
//! master ──▶ child   ToChild::Stop                     stop
//! master ──▶ child   ToChild::StopAfterQueue           stop once certain listeners' queues are empty
//! master ──▶ template ToTemplate::Fork, with a link    fork a child, whose link this is
//! template ──▶ master FromTemplate                     the answer
//! child ──▶ master   OwnPid                            the first message of a child that was forked
//! end of file        either way                        the other process is dead
//! ```
//!
//! - `codec.rs`: records and fields as text, the same for every message
//! - `handshake.rs`: between master and child
//! - `log_message.rs`: what a child logs, for its master
//! - `privilege_fields.rs`: privileges, in the handshake and in the snapshot
//! - `secrets.rs`: TLS material and the configuration file, for a child and for the next program
//! - `upgrade_plan.rs`: from a child that checks the next program to its master
//! - `template.rs`: between master and template
//! - `snapshot.rs`: from a master to the next program
//! - `control.rs`: the control socket, in the snapshot
//! - `totals.rs`: what was counted, in the snapshot
//!
//! The two ends may be different programs: a reload can start a newer or older program as the child of
//! this master, and an upgrade hands this master's fleet to it. So unknown records and fields are
//! skipped, missing ones have a default where an older program may leave them out, and a message of
//! another version is refused with one line.

mod codec;
mod control;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod log_message;
mod privilege_fields;
mod secrets;
mod snapshot;
mod template;
mod totals;
mod upgrade_plan;

pub(crate) use control::{ClientWait, PassedClient, PassedControl, PassedOperation};
pub(crate) use handshake::{GREETING, Handshake, ToChild, ToMaster};
pub(crate) use log_message::{LINES_MAX, LogMessage, LogPart, LogParts};
#[cfg(feature = "rustls")]
pub(crate) use secrets::TicketSecret;
pub(crate) use secrets::{SecretFile, Secrets};
pub(crate) use snapshot::{HealthSocket, UpgradeSnapshot};
pub(crate) use template::{FromTemplate, OwnPid, ToTemplate};
pub(crate) use totals::MasterTotals;
pub(crate) use upgrade_plan::UpgradePlan;
