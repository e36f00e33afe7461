//! Envoy's counters.

use super::counters;

counters! {
    /// What is counted of the messages of one connection: the 33 counters of Envoy's PostgreSQL filter, by its names.
    ///
    /// The [module page](crate::stats) lists where their meanings differ from Envoy's.
    enum Counter;

    /// A number for each [`Counter`].
    struct Stats;

    /// Messages in both directions: the sum of the next two.
    Messages => messages,
    /// Messages of the client, or to the upstream. Those of the opening count: SSLRequest, GSSENCRequest,
    /// CancelRequest, StartupMessage.
    MessagesFrontend => messages_frontend,
    /// Messages to the client, or of the upstream. The one-byte answer to an SSLRequest is none.
    MessagesBackend => messages_backend,
    /// Messages of a type that protocols 3.0 and 3.2 do not have. They are among the messages of their direction.
    MessagesUnknown => messages_unknown,
    /// Sessions: the sum of the next two.
    Sessions => sessions,
    /// Sessions that pass through encrypted, so that nothing else of them is counted.
    SessionsEncrypted => sessions_encrypted,
    /// Sessions whose login ended with AuthenticationOk, those over TLS that ends here included.
    SessionsUnencrypted => sessions_unencrypted,
    /// TLS handshakes with clients that succeeded.
    SessionsTerminatedSsl => sessions_terminated_ssl,
    /// TLS handshakes with upstreams that succeeded.
    SessionsUpstreamSslSuccess => sessions_upstream_ssl_success,
    /// TLS with an upstream that was asked for and refused, or did not come about.
    SessionsUpstreamSslFailed => sessions_upstream_ssl_failed,
    /// Statements that completed: the sum of the next five. Each CommandComplete is one.
    Statements => statements,
    /// Statements whose command tag begins with `INSERT`.
    StatementsInsert => statements_insert,
    /// Statements whose command tag begins with `DELETE`.
    StatementsDelete => statements_delete,
    /// Statements whose command tag begins with `UPDATE`.
    StatementsUpdate => statements_update,
    /// Statements whose command tag begins with `SELECT`; `CREATE TABLE AS` is one.
    StatementsSelect => statements_select,
    /// All other statements.
    StatementsOther => statements_other,
    /// Texts of Query and Parse whose tables are known; stays 0 where nobody asked for tables.
    StatementsParsed => statements_parsed,
    /// Texts of Query and Parse whose tables are not known, although they were asked for.
    StatementsParseError => statements_parse_error,
    /// Transactions that were begun, explicitly or by a statement outside a block.
    Transactions => transactions,
    /// Transactions that were committed.
    TransactionsCommit => transactions_commit,
    /// Transactions that were rolled back: by ROLLBACK, by COMMIT after a failure, by the failure of a statement
    /// outside a block, or because the connection ended inside a block.
    TransactionsRollback => transactions_rollback,
    /// ErrorResponses: the sum of the next four.
    Errors => errors,
    /// Errors of severity ERROR.
    ErrorsError => errors_error,
    /// Errors of severity FATAL.
    ErrorsFatal => errors_fatal,
    /// Errors of severity PANIC.
    ErrorsPanic => errors_panic,
    /// Errors of another severity, or of none.
    ErrorsUnknown => errors_unknown,
    /// NoticeResponses: the sum of the next six.
    Notices => notices,
    /// Notices of severity WARNING.
    NoticesWarning => notices_warning,
    /// Notices of severity NOTICE.
    NoticesNotice => notices_notice,
    /// Notices of severity DEBUG.
    NoticesDebug => notices_debug,
    /// Notices of severity INFO.
    NoticesInfo => notices_info,
    /// Notices of severity LOG.
    NoticesLog => notices_log,
    /// Notices of another severity, or of none.
    NoticesUnknown => notices_unknown,
}

impl Counter {
    /// The sum that it is part of.
    const fn total(self) -> Option<Counter> {
        match self {
            Counter::MessagesFrontend | Counter::MessagesBackend => Some(Counter::Messages),
            Counter::SessionsEncrypted | Counter::SessionsUnencrypted => Some(Counter::Sessions),
            Counter::StatementsInsert
            | Counter::StatementsDelete
            | Counter::StatementsUpdate
            | Counter::StatementsSelect
            | Counter::StatementsOther => Some(Counter::Statements),
            Counter::ErrorsError
            | Counter::ErrorsFatal
            | Counter::ErrorsPanic
            | Counter::ErrorsUnknown => Some(Counter::Errors),
            Counter::NoticesWarning
            | Counter::NoticesNotice
            | Counter::NoticesDebug
            | Counter::NoticesInfo
            | Counter::NoticesLog
            | Counter::NoticesUnknown => Some(Counter::Notices),
            Counter::Messages
            | Counter::MessagesUnknown
            | Counter::Sessions
            | Counter::SessionsTerminatedSsl
            | Counter::SessionsUpstreamSslSuccess
            | Counter::SessionsUpstreamSslFailed
            | Counter::Statements
            | Counter::StatementsParsed
            | Counter::StatementsParseError
            | Counter::Transactions
            | Counter::TransactionsCommit
            | Counter::TransactionsRollback
            | Counter::Errors
            | Counter::Notices => None,
        }
    }
}

impl Stats {
    /// Adds to a counter, and to the sum that it is part of.
    pub(super) fn count(&mut self, counter: Counter, times: u64) {
        if let Some(total) = counter.total() {
            let slot = self.slot(total);
            *slot = slot.saturating_add(times);
        }
        let slot = self.slot(counter);
        *slot = slot.saturating_add(times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_envoys() {
        let names: Vec<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        let envoys = "messages messages_frontend messages_backend messages_unknown sessions sessions_encrypted \
            sessions_unencrypted sessions_terminated_ssl sessions_upstream_ssl_success sessions_upstream_ssl_failed \
            statements statements_insert statements_delete statements_update statements_select statements_other \
            statements_parsed statements_parse_error transactions transactions_commit transactions_rollback errors \
            errors_error errors_fatal errors_panic errors_unknown notices notices_warning notices_notice \
            notices_debug notices_info notices_log notices_unknown";
        assert_eq!(names, envoys.split_whitespace().collect::<Vec<_>>());
        assert_eq!(names.len(), 33);
    }

    #[test]
    fn a_part_is_in_its_sum_and_a_sum_in_none() {
        for counter in Counter::ALL {
            let mut stats = Stats::default();
            stats.count(*counter, 2);
            let moved = stats.iter().filter(|(_, count)| *count == 2).count();
            assert_eq!(stats.get(*counter), 2, "{counter}");
            assert_eq!(moved, 1 + usize::from(counter.total().is_some()));
            assert!(counter.total().is_none_or(|sum| sum.total().is_none()));
        }
    }

    #[test]
    fn numbers_stop_at_their_greatest_value() {
        let mut stats = Stats::default();
        stats.count(Counter::Errors, u64::MAX);
        stats.count(Counter::ErrorsFatal, 1);
        assert_eq!(stats.get(Counter::Errors), u64::MAX);
        let mut sum = stats;
        sum.add(&stats);
        assert_eq!(sum.get(Counter::Errors), u64::MAX);
        assert_eq!(sum.get(Counter::ErrorsFatal), 2);
        let since = sum.since(&stats);
        assert_eq!(since.get(Counter::ErrorsFatal), 1);
        assert_eq!(since.get(Counter::Errors), 0);
    }
}
