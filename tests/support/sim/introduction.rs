//! How a client introduces itself: its StartupMessage, as a client writes it and as servers get it.

use pgturnout::limits::{STARTUP_BODY_LEAST, STARTUP_BODY_MAX};

use super::setup::{RENAMED, Setup, Start, USER, of_tenant};

/// A name and its value.
pub(crate) type Pair = (&'static [u8], &'static [u8]);

/// What a StartupMessage says beside what every client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Nothing,
    /// Every name twice: the last one counts.
    Twice,
    /// Settings in capitals, and in capitals what is no option of the protocol then.
    Capitals,
    /// A setting in capitals by which the standby serves nothing of the session.
    Serializable,
    /// An empty database: the user's name is that of the database.
    Blank,
    /// A name in capitals that means something in small letters only.
    Misnamed,
    /// So much that the packet is as long as the proxy takes it.
    Brim,
    /// One byte more.
    Spills,
}

pub(crate) const SAYINGS: [(Says, &str); 8] = [
    (Says::Nothing, "nothing"),
    (Says::Twice, "twice"),
    (Says::Capitals, "capitals"),
    (Says::Serializable, "serializable"),
    (Says::Blank, "blank"),
    (Says::Misnamed, "misnamed"),
    (Says::Brim, "brim"),
    (Says::Spills, "spills"),
];

/// What is said first where everything is said twice: what counts comes behind it.
const FIRST: [Pair; 6] = [
    (b"user", b"nobody"),
    (b"database", b"nowhere"),
    (b"options", b"-c statement_timeout=1000 -c datestyle=German"),
    (b"application_name", b"first"),
    (b"TimeZone", b"Europe/Berlin"),
    (b"replication", b"database"),
];
const LAST: [Pair; 3] = [
    (b"options", b"-c lock_timeout=7000"),
    (b"TimeZone", b"UTC"),
    (b"replication", b"off"),
];

/// Servers compare the names of settings without case, and all others as they are.
const CAPITALS: [Pair; 5] = [
    (b"APPLICATION_NAME", b"capitals"),
    (b"TIMEZONE", b"Europe/Berlin"),
    (b"DATESTYLE", b"German"),
    (b"STATEMENT_TIMEOUT", b"7000"),
    (b"_PQ_.unheard_of", b"1"),
];

const MISNAMED: [Pair; 5] = [
    (b"USER", b"nobody"),
    (b"Database", b"nowhere"),
    (b"Options", b"-c lock_timeout=7000"),
    (b"REPLICATION", b"database"),
    (b"_pq_", b"1"),
];

/// Options that say nothing, as long as they have to be.
const SPACES: [u8; STARTUP_BODY_MAX as usize] = [b' '; STARTUP_BODY_MAX as usize];

/// A StartupMessage.
pub(crate) fn packet(version: u32, pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(version.to_be_bytes());
    for (name, value) in pairs {
        for word in [name, value] {
            out.extend_from_slice(word);
            out.push(0);
        }
    }
    out.push(0);
    let length = u32::try_from(out.len()).expect("a short packet");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

impl Setup {
    /// Whether its StartupMessage is longer than the proxy takes.
    pub(crate) fn is_too_long(&self) -> bool {
        let long = self.start == Start::Long && self.short_startup;
        (long || self.fittings.says == Says::Spills) && !self.is_opaque()
    }

    /// Whether it names a parameter that is reserved.
    pub(crate) fn names_reserved(&self) -> bool {
        let named = matches!(self.start, Start::Options | Start::Long)
            || self.fittings.says == Says::Capitals;
        self.fittings.reserved && named && !self.is_opaque()
    }

    /// Whether servers take what it says.
    pub(super) fn makes_sense(&self) -> bool {
        match self.fittings.says {
            Says::Misnamed => false,
            Says::Spills => self.short_startup,
            Says::Nothing
            | Says::Twice
            | Says::Capitals
            | Says::Serializable
            | Says::Blank
            | Says::Brim => true,
        }
    }

    /// The parameters of the client's StartupMessage.
    pub(crate) fn parameters(&self) -> Vec<Pair> {
        let user: &[u8] = match self.start {
            Start::Nobody => b"nobody",
            _ => USER.as_bytes(),
        };
        let database: &[u8] = match self.start {
            Start::Nowhere => b"nowhere",
            _ if self.fittings.says == Says::Blank => b"",
            _ => b"app",
        };
        let mut pairs: Vec<Pair> = match self.fittings.says {
            Says::Twice => FIRST.to_vec(),
            _ => Vec::new(),
        };
        pairs.extend([(&b"user"[..], user), (b"database", database)]);
        pairs.extend(self.padding());
        pairs.push((b"application_name", b"simulator"));
        pairs.extend(self.start.pairs());
        match self.fittings.says {
            Says::Twice => pairs.extend(LAST),
            Says::Capitals => pairs.extend(CAPITALS),
            Says::Serializable => {
                pairs.push((b"Default_Transaction_Isolation", b"serializable"));
            }
            Says::Misnamed => {
                let at = usize::try_from(self.fittings.cuts).unwrap_or_default();
                pairs.push(MISNAMED[at % MISNAMED.len()]);
            }
            Says::Nothing | Says::Blank | Says::Brim | Says::Spills => {}
        }
        pairs
    }

    /// What makes the packet as long as it is to be.
    fn padding(&self) -> Option<Pair> {
        let more = match self.fittings.says {
            Says::Brim => 0,
            Says::Spills => 1,
            _ => return None,
        };
        let body = match self.short_startup {
            true => STARTUP_BODY_LEAST,
            false => STARTUP_BODY_MAX,
        };
        let plain = Setup::plain();
        let none: Pair = (b"options", b"");
        let pairs = [plain.parameters(), vec![none]].concat();
        let length = packet(0, &pairs).len() - 4;
        let spaces = usize::try_from(body).expect("a short packet") + more - length;
        Some((b"options", &SPACES[..spaces]))
    }

    /// Who logs in, and the protocol's options that it names.
    pub(crate) fn user_and_options(&self) -> Vec<Pair> {
        let pairs = self.parameters();
        let user = pairs.iter().rfind(|(name, _)| *name == b"user");
        let options = pairs.iter().filter(|(name, _)| name.starts_with(b"_pq_."));
        user.into_iter().chain(options).copied().collect()
    }

    /// The same as a server gets them.
    pub(crate) fn upstream_parameters(&self) -> Vec<Pair> {
        let mut pairs = self.parameters();
        if self.renamed && self.start != Start::Nobody {
            for (name, value) in &mut pairs {
                if *name == b"user" {
                    *value = RENAMED.as_bytes();
                }
            }
            if self.fittings.says == Says::Blank {
                // Not the other name's.
                pairs.push((b"database", USER.as_bytes()));
            }
        }
        match self.has_tenants() {
            true => of_tenant(pairs),
            false => pairs,
        }
    }
}
