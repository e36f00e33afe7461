//! Counters: what passes through a connection, under the names of Envoy's PostgreSQL filter, and what becomes of
//! connections, under those of CockroachDB's sqlproxy.
//!
//! A [`Meter`] is shown each message of one connection, once, and keeps its [`Stats`]. It knows nothing of sockets,
//! sessions or upstreams: a proxy with a loop of its own can use it as it is. The [session](crate::session) has one for
//! its client and one for each upstream.
//!
//! Counters have Envoy's names and, where those are sound, its meanings. These differ on purpose:
//!
//! | counter | here | in Envoy |
//! |---|---|---|
//! | `messages_frontend`, `messages_backend` | each message once, those of the opening included | once for each fragment in which a message arrives; no StartupMessage |
//! | `messages_unknown` | part of `messages` once | counted twice in `messages` |
//! | `sessions_encrypted` | sessions that pass through encrypted and unseen | also GSSENCRequests that are refused, and some CancelRequests |
//! | `transactions`, `_commit`, `_rollback` | follow ReadyForQuery; a failed statement is a transaction that was rolled back | follow command tags: savepoints, chains and prepared transactions confuse them, failures count nothing |
//! | `transactions_rollback` at the end | a connection that ends inside a transaction block counts one | never |
//! | `transactions_commit` | COMMIT outside a transaction counts nothing | counts one |
//! | `errors_…`, `notices_…` | the untranslated severity, field V, else field S | the first severity word found anywhere in the message |
//!
//! ```
//! use pgturnout::stats::{Counter, Meter};
//!
//! let mut meter = Meter::default();
//! meter.frontend(b'Q');
//! meter.backend(b'C', b"INSERT 0 1\0");
//! meter.backend(b'Z', b"I");
//! let stats = meter.stats();
//! assert_eq!(stats.get(Counter::StatementsInsert), 1);
//! assert_eq!(stats.get(Counter::TransactionsCommit), 1);
//! let shown: Vec<_> = stats.iter().filter(|(_, count)| *count > 0).map(|(counter, _)| counter.name()).collect();
//! assert_eq!(shown[..3], ["messages", "messages_frontend", "messages_backend"]);
//! ```

mod connection;
mod counter;
mod meter;
mod transaction;

pub use connection::{ConnectionCounter, ConnectionStats};
pub use counter::{Counter, Stats};
pub(crate) use meter::Heard;
pub use meter::Meter;

/// Makes an enum of counters and the struct that holds a number for each.
macro_rules! counters {
    (
        $(#[$counter_doc:meta])* enum $Counter:ident;
        $(#[$stats_doc:meta])* struct $Stats:ident;
        $($(#[$doc:meta])* $variant:ident => $field:ident,)*
    ) => {
        $(#[$counter_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Counter {
            $($(#[$doc])* $variant,)*
        }

        impl $Counter {
            /// Every counter, in a fixed order.
            pub const ALL: &'static [$Counter] = &[$($Counter::$variant,)*];

            /// Its name: small letters and underscores.
            pub const fn name(self) -> &'static str {
                match self {
                    $($Counter::$variant => stringify!($field),)*
                }
            }
        }

        impl std::fmt::Display for $Counter {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        $(#[$stats_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $Stats {
            $($field: u64,)*
        }

        impl $Stats {
            /// The number of one counter. It stops at its greatest value.
            pub const fn get(&self, counter: $Counter) -> u64 {
                match counter {
                    $($Counter::$variant => self.$field,)*
                }
            }

            /// Every counter with its number, in the order of the type.
            pub fn iter(&self) -> impl Iterator<Item = ($Counter, u64)> + '_ {
                $Counter::ALL.iter().map(|counter| (*counter, self.get(*counter)))
            }

            /// Adds the numbers of another connection or session.
            pub fn add(&mut self, other: &$Stats) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
            }

            /// What has been counted since `earlier`, which was a copy of these.
            #[must_use]
            pub fn since(&self, earlier: &$Stats) -> $Stats {
                $Stats {
                    $($field: self.$field.saturating_sub(earlier.$field),)*
                }
            }

            fn slot(&mut self, counter: $Counter) -> &mut u64 {
                match counter {
                    $($Counter::$variant => &mut self.$field,)*
                }
            }
        }
    };
}
pub(crate) use counters;
