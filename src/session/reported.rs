//! What the upstreams report of their settings, by which a restore is checked.
//!
//! The client is told what the writer reports, and nothing of what a reader does. A setting that only the server knows to
//! have changed (a function did it, or the file that it reads its configuration from) shows here if it is one that
//! servers report.

use super::Session;
use crate::auth::Parameters;
use crate::limits;
use crate::route::Route;

/// Settings that servers report and that answers depend on. `search_path` is reported from PostgreSQL 18 on. The others
/// of `GUC_REPORT` tell servers apart, or cannot be set.
const COMPARED: [&str; 9] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "is_superuser",
    "search_path",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// The newest values that one upstream reported. `Debug` shows no value.
#[derive(Default)]
pub(super) struct Reported([Option<Box<[u8]>>; COMPARED.len()]);

impl std::fmt::Debug for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reported({} known)", self.0.iter().flatten().count())
    }
}

impl Reported {
    /// What a login has brought.
    pub(super) fn of(parameters: &Parameters) -> Reported {
        let mut reported = Reported::default();
        for (name, value) in parameters {
            reported.learn(name, value);
        }
        reported
    }

    /// A ParameterStatus. A value that is too long to be kept is not compared.
    pub(super) fn learn(&mut self, name: &[u8], value: &[u8]) {
        let mut known = COMPARED.iter().zip(&mut self.0);
        if let Some((_, kept)) = known.find(|(known, _)| known.as_bytes() == name) {
            let fits = value.len() <= limits::REPORTED_VALUE_MAX;
            *kept = fits.then(|| value.into());
        }
    }

    /// Whether both report some setting, and not the same.
    fn differs_from(&self, other: &Reported) -> bool {
        self.0.iter().zip(&other.0).any(|(ours, theirs)| {
            let both = ours.as_ref().zip(theirs.as_ref());
            both.is_some_and(|(ours, theirs)| ours != theirs)
        })
    }
}

impl<R: Route> Session<R> {
    /// Whether the reader, which has run what the journal says, reports other settings than the writer.
    pub(super) fn reports_differ(&self) -> bool {
        let writer = self.leg(self.writer()).serving();
        let reader = self.leg(self.reader()).serving();
        writer
            .zip(reader)
            .is_some_and(|(writer, reader)| writer.reported.differs_from(&reader.reported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_report_is_compared() {
        let mut ours = Reported::default();
        let mut theirs = Reported::default();
        ours.learn(b"TimeZone", b"UTC");
        assert!(!ours.differs_from(&theirs));
        theirs.learn(b"TimeZone", b"CET");
        assert!(ours.differs_from(&theirs));
        theirs.learn(b"TimeZone", b"UTC");
        for (name, ours_is, theirs_is) in [
            (&b"in_hot_standby"[..], &b"off"[..], &b"on"[..]),
            (b"default_transaction_read_only", b"off", b"on"),
            (b"server_version", b"17", b"18"),
        ] {
            ours.learn(name, ours_is);
            theirs.learn(name, theirs_is);
        }
        assert!(!ours.differs_from(&theirs));
    }

    #[test]
    fn values_are_kept_up_to_a_length_and_not_shown() {
        let most = vec![b'x'; limits::REPORTED_VALUE_MAX];
        for (more, compared) in [(&b""[..], true), (b"x", false)] {
            let mut ours = Reported::default();
            let mut theirs = Reported::default();
            ours.learn(b"search_path", b"secret");
            theirs.learn(b"search_path", b"short");
            assert!(ours.differs_from(&theirs));
            theirs.learn(b"search_path", &[&most, more].concat());
            assert_eq!(ours.differs_from(&theirs), compared);
            assert!(!format!("{ours:?}").contains("secret"));
        }
    }
}
