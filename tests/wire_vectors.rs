//! Every entry of `tests/data/wire.txt`: bytes to view and back, or to the fault it names.

mod wire_support;

use std::collections::BTreeSet;

use wire_support::{Direction, Verdict, load, read, samples};

#[test]
fn every_sample_reads_as_written_and_back() {
    for sample in samples() {
        let (tag, body) = sample.parts();
        let title = &sample.title;
        let result = read(sample.direction, &sample.message, tag, body);
        match (&sample.verdict, result) {
            (Verdict::View(view), Ok(message)) => {
                assert_eq!(message.name, sample.message, "{title}");
                assert_eq!(message.view, *view, "{title}");
                assert_eq!(message.frame, sample.frame, "{title}");
            }
            (Verdict::Fault(fault), Err(error)) => {
                let expected = format!("{}: {fault}", sample.subject());
                assert_eq!(error.to_string(), expected, "{title}");
            }
            (Verdict::View(_), Err(error)) => panic!("{title}: {error}"),
            (Verdict::Fault(_), Ok(message)) => panic!("{title}: {}", message.view),
        }
    }
}

#[test]
fn every_message_has_a_sample() {
    let seen: BTreeSet<(Direction, String)> = samples()
        .into_iter()
        .filter(wire_support::Sample::is_valid)
        .map(|sample| (sample.direction, sample.message))
        .collect();
    for (direction, names) in MESSAGES {
        for name in names.split_whitespace() {
            let message = (direction, name.to_string());
            assert!(seen.contains(&message), "{message:?}");
        }
    }
    let count = MESSAGES.map(|(_, names)| names.split_whitespace().count());
    assert_eq!(seen.len(), count.iter().sum::<usize>());
}

#[test]
fn a_line_without_a_meaning_fails_the_run() {
    let good = "server NoData: x\n    bytes 6e 00000004\n    view\n";
    assert_eq!(load(good).unwrap().len(), 1);
    let bad = [
        "    bytes 6e 00000004\n",
        "server NoData: x\n",
        "server NoData: x\n    bytes 6e 00000004\n",
        "server NoData: x\n    bytes 6e 0000004\n    view\n",
        "server NoData: x\n    bytes 'n\n    view\n",
        "server NoData: x\n    byte 6e 00000004\n    view\n",
        "server NoData: x\n    bytes 6e 00000004\n    view\n    view\n",
        "server NoData: x\n    bytes 6e 00000004\n    view\n    bytes 00\n",
        "server NoData: x\n  bytes 6e 00000004\n    view\n",
        "server NoData\n    bytes 6e 00000004\n    view\n",
        "serve NoData: x\n    bytes 6e 00000004\n    view\n",
    ];
    for file in bad {
        assert!(load(file).is_err(), "{file}");
    }
    let twice = good.repeat(2);
    assert!(load(&twice).is_err());
}

const MESSAGES: [(Direction, &str); 5] = [
    (
        Direction::Client,
        "Bind Close CopyData CopyDone CopyFail Describe Execute Flush FunctionCall Parse PasswordMessage Query Sync \
         Terminate Unknown",
    ),
    (
        Direction::Server,
        "Authentication BackendKeyData BindComplete CloseComplete CommandComplete CopyBothResponse CopyData CopyDone \
         CopyInResponse CopyOutResponse DataRow EmptyQueryResponse ErrorResponse FunctionCallResponse \
         NegotiateProtocolVersion NoData NoticeResponse NotificationResponse ParameterDescription ParameterStatus \
         ParseComplete PortalSuspended ReadyForQuery RowDescription Unknown",
    ),
    (
        Direction::Login,
        "PasswordMessage SASLInitialResponse SASLResponse GSSResponse",
    ),
    (Direction::Sender, "WalData Keepalive PrimaryStatus Unknown"),
    (
        Direction::Receiver,
        "StandbyStatus HotStandbyFeedback StatusRequest Unknown",
    ),
];
