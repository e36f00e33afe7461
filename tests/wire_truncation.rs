//! Every valid sample, cut at every length and one byte too long, with length words that lie and that agree.

mod wire_support;

use pgturnout::error::{Fault, Malformed};
use pgturnout::wire::Header;
use wire_support::{Direction, Message, Sample, Verdict, read, samples};

/// For a message that ends in data of any length: how short its body may be. Of any other message, a body of another
/// length is malformed.
fn shortest(sample: &Sample) -> Option<usize> {
    let Verdict::View(view) = &sample.verdict else {
        panic!("{} is not valid", sample.title)
    };
    let kind = view.split(' ').next().unwrap_or_default();
    match (sample.direction, sample.message.as_str()) {
        (Direction::Client, "CopyData" | "PasswordMessage" | "Unknown")
        | (Direction::Server, "CopyData" | "Unknown")
        | (Direction::Login, "SASLResponse" | "GSSResponse") => Some(0),
        (Direction::Server, "Authentication") => {
            let open = ["GssContinue", "SaslContinue", "SaslFinal", "Other"];
            open.contains(&kind).then_some(4)
        }
        (Direction::Server, "BackendKeyData") => Some(8),
        (Direction::Sender, "WalData") => Some(25),
        (Direction::Sender | Direction::Receiver, "Unknown") => Some(1),
        _ => None,
    }
}

fn valid() -> impl Iterator<Item = Sample> {
    samples().into_iter().filter(Sample::is_valid)
}

fn read_body(sample: &Sample, body: &[u8]) -> Result<Message, Malformed> {
    let (tag, _) = sample.parts();
    read(sample.direction, &sample.message, tag, body)
}

/// The frame with this tag and body.
fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let word = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &word.to_be_bytes(), body].concat()
}

#[test]
fn a_frame_is_incomplete_until_its_last_byte() {
    for sample in samples() {
        let title = &sample.title;
        for len in 0..sample.frame.len() {
            let input = &sample.frame[..len];
            let header = Header::parse(input).unwrap();
            assert_eq!(header.is_some(), len >= Header::LEN, "{title} at {len}");
            let complete = header.and_then(|header| header.split(input));
            assert_eq!(complete, None, "{title} at {len}");
        }
        let next = [&sample.frame[..], &[0xff]].concat();
        let header = Header::parse(&next).unwrap().unwrap();
        let (_, rest) = header.split(&next).unwrap();
        assert_eq!(rest, [0xff], "{title}");
    }
}

#[test]
fn a_body_that_ends_early_is_an_error_with_a_place() {
    let mut errors = 0;
    for sample in valid() {
        let (tag, body) = sample.parts();
        for len in 0..body.len() {
            let title = format!("{} at {len}", sample.title);
            let cut = &body[..len];
            match (read_body(&sample, cut), shortest(&sample)) {
                (Ok(message), Some(shortest)) if len >= shortest => {
                    assert_eq!(message.name, sample.message, "{title}");
                    assert_eq!(message.frame, frame(tag, cut), "{title}");
                }
                (Ok(message), _) => panic!("{title}: {}", message.view),
                (Err(error), Some(shortest)) if len >= shortest => panic!("{title}: {error}"),
                (Err(error), _) => {
                    assert_eq!(error.message, sample.subject(), "{title}");
                    assert!(!error.field.is_empty(), "{title}");
                    assert!(error.offset <= len, "{title}: {error}");
                    assert!(ends_early(error.fault), "{title}: {error}");
                    errors += 1;
                }
            }
        }
    }
    assert!(errors > 1000, "only {errors} cuts were errors");
}

/// Nothing but the end is wrong with a valid body that was cut.
fn ends_early(fault: Fault) -> bool {
    match fault {
        Fault::Missing { needed } => needed > 0,
        Fault::NoTerminator => true,
        Fault::Leftover { .. }
        | Fault::BadValue
        | Fault::LengthTooSmall { .. }
        | Fault::LengthTooLarge { .. } => false,
    }
}

#[test]
fn a_byte_behind_the_end_is_an_error_with_a_place() {
    for sample in valid() {
        let (tag, body) = sample.parts();
        for extra in [0, 1, b'S', 0xff] {
            let long = [body, &[extra]].concat();
            let title = &sample.title;
            match (read_body(&sample, &long), shortest(&sample)) {
                (Ok(message), Some(_)) => {
                    assert_eq!(message.name, sample.message, "{title}");
                    assert_eq!(message.frame, frame(tag, &long), "{title}");
                }
                (Err(error), None) => {
                    assert_eq!(error.message, sample.subject(), "{title}");
                    assert_eq!(error.fault, Fault::Leftover { extra: 1 }, "{title}");
                    assert_eq!(error.offset, body.len(), "{title}");
                }
                (result, _) => panic!("{title}: {result:?}"),
            }
        }
    }
}

#[test]
fn cutting_what_is_malformed_already_finds_an_end_too() {
    for sample in samples().into_iter().filter(|sample| !sample.is_valid()) {
        let (tag, body) = sample.parts();
        for len in 0..body.len() {
            let cut = &body[..len];
            match read_body(&sample, cut) {
                Ok(message) => assert_eq!(message.frame, frame(tag, cut), "{}", sample.title),
                Err(error) => assert!(error.offset <= len, "{}: {error}", sample.title),
            }
        }
    }
}
