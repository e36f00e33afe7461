//! What a server does because of something outside of the session.

use super::wire::text;
use super::{Login, Server, ServerOptions, Stage};

/// Why a statement may fail for no fault of its own: conflict with recovery, out of memory, disk full, timeout.
pub(crate) const FAILURES: [&str; 4] = ["40001", "53200", "53100", "57014"];

impl ServerOptions {
    /// With what the login ends that would have succeeded.
    pub(super) fn refusal(&self) -> Option<String> {
        let wrong = self.other_password && self.login != Login::Trust;
        let password = wrong.then(|| "28P01".to_owned());
        self.refuse_login.clone().or(password)
    }
}

impl Server {
    /// It has a notice for the client, whatever the client does.
    pub(crate) fn notice(&mut self) {
        if let Stage::Session(_) = &self.stage {
            self.out.message(b'N', |out| {
                for (field, value) in [(b'S', "WARNING"), (b'V', "WARNING"), (b'C', "01000")] {
                    out.push(field);
                    text(out, value);
                }
                out.push(b'M');
                text(out, "there is no cause for alarm");
                out.push(0);
            });
            self.out.flush();
        }
    }

    /// The next statement fails, as for a conflict with recovery or for want of memory.
    pub(crate) fn fail_next(&mut self, code: &str) {
        let known = FAILURES.iter().find(|known| **known == code);
        if let Stage::Session(session) = &mut self.stage {
            session.fail_next(known.unwrap_or(&"XX000"));
        }
    }

    /// A setting that it reports was changed in its configuration.
    pub(crate) fn report_parameter(&mut self) {
        if let Stage::Session(_) = &self.stage {
            self.out.parameter("default_transaction_read_only", "off");
            self.out.flush();
        }
    }
}
