//! What a TLS connection is bound to, and the login to a further server that binds to it.
//!
//! Law: no downgrade (B6, B7).
#![cfg(feature = "scram")]

#[path = "support/login.rs"]
mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use pgturnout::auth::{
    AuthError, Channel, Credential, Method, Methods, Replay, ScramNonce, TlsEndPoint, common_name,
};
use pgturnout::startup::ProtocolVersion;
use pgturnout::wire::password::parse_sasl_initial;
use support::scram::client_nonce;
use support::*;

const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";
const PLAIN: &[u8] = b"SCRAM-SHA-256";

/// Name, expected hash, certificate.
type Sample = (&'static str, Option<Vec<u8>>, Vec<u8>);

fn certificates() -> Vec<Sample> {
    let lines = include_str!("data/certificates.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.split(' ');
            let (name, hash) = (parts.next().unwrap(), parts.next().unwrap());
            let byte = |at: usize| u8::from_str_radix(&hash[at..at + 2], 16).unwrap();
            let hash = (hash != "-").then(|| (0..hash.len()).step_by(2).map(byte).collect());
            (name, hash, STANDARD.decode(parts.next().unwrap()).unwrap())
        })
        .collect()
}

#[test]
fn the_hash_function_is_that_of_the_certificates_signature() {
    let certificates = certificates();
    assert!(certificates.len() >= 15);
    for (name, hash, der) in certificates {
        let found = TlsEndPoint::of_certificate(&der);
        assert_eq!(
            found.as_ref().map(TlsEndPoint::bytes),
            hash.as_deref(),
            "{name}"
        );
    }
}

/// L9: cut or changed anywhere, a certificate has a hash or none.
#[test]
fn what_is_no_certificate_has_no_hash() {
    for (name, hash, der) in certificates() {
        for end in 0..der.len() {
            let _ = TlsEndPoint::of_certificate(&der[..end]);
        }
        for at in 0..40 {
            for byte in [0, 0x30, 0x7f, 0x80, 0x81, 0x84, 0x88, 0xff] {
                let mut changed = der.clone();
                changed[at] = byte;
                let _ = TlsEndPoint::of_certificate(&changed);
            }
        }
        assert_eq!(TlsEndPoint::of_certificate(&der[1..]), None, "{name}");
        // All of it is hashed.
        let mut changed = der.clone();
        *changed.last_mut().unwrap() ^= 1;
        let other = TlsEndPoint::of_certificate(&changed);
        assert_ne!(
            other.as_ref().map(TlsEndPoint::bytes),
            hash.as_deref().or(Some(b"")),
            "{name}"
        );
    }
    assert_eq!(TlsEndPoint::of_certificate(b""), None);
    assert_eq!(
        TlsEndPoint::of_certificate(b"\x30\x84\xff\xff\xff\xff"),
        None
    );
}

#[test]
fn a_certificate_names_its_user() {
    for (name, _, der) in certificates() {
        if name == "two-names" {
            assert_eq!(common_name(&der), None, "which of them?");
            continue;
        }
        assert_eq!(common_name(&der), Some(name.as_bytes()), "{name}");
        for end in 0..der.len() {
            assert_eq!(common_name(&der[..end]), None, "{name} cut at {end}");
        }
        let at = der
            .windows(name.len())
            .rposition(|text| text == name.as_bytes())
            .unwrap();
        // A name that a C program would read as another one, and one in UTF-16.
        for (place, byte) in [(at + 1, 0), (at - 2, 0x1e)] {
            let mut changed = der.clone();
            changed[place] = byte;
            assert_eq!(common_name(&changed), None, "{name}");
        }
        for place in 0..der.len().min(200) {
            for byte in [0, 0x30, 0x31, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[place] = byte;
                let _ = common_name(&changed);
            }
        }
    }
}

fn end_point() -> Option<TlsEndPoint> {
    TlsEndPoint::new(&[5; 32])
}

/// What a login answers this offer with: the mechanism and its first message.
fn answer(
    methods: Methods,
    end_point: Option<TlsEndPoint>,
    offer: &[&[u8]],
) -> Result<(Vec<u8>, Vec<u8>), AuthError> {
    let params = params(ProtocolVersion::V3_0);
    let nonce = ScramNonce::from_bytes(NONCE);
    let credential = Credential::password(PASSWORD);
    let mut login =
        Replay::new(&params, credential, methods, Channel::Tls, nonce).bound_to(end_point);
    login.start(&mut BytesMut::new()).unwrap();
    let (result, sent) = hand_in(&mut login, &sasl(offer));
    result?;
    let first = parse_sasl_initial(&sent[5..]).unwrap();
    Ok((first.mechanism.to_vec(), first.data.unwrap().to_vec()))
}

#[test]
fn a_login_is_bound_where_both_sides_can() {
    let nonce = client_nonce();
    let allowed = Methods::NONE.allow_scram();
    for (end_point, offer, mechanism, header) in [
        (
            end_point(),
            &[PLUS, PLAIN][..],
            PLUS,
            "p=tls-server-end-point,,",
        ),
        (
            end_point(),
            &[PLAIN, PLUS],
            PLUS,
            "p=tls-server-end-point,,",
        ),
        (end_point(), &[PLUS], PLUS, "p=tls-server-end-point,,"),
        (end_point(), &[PLAIN], PLAIN, "y,,"),
        (None, &[PLUS, PLAIN], PLAIN, "n,,"),
        (None, &[PLAIN], PLAIN, "n,,"),
    ] {
        let (chosen, first) = answer(allowed, end_point, offer).unwrap();
        assert_eq!(chosen, mechanism);
        assert_eq!(first, format!("{header}n=,r={nonce}").as_bytes());
    }
}

/// B6: where binding is demanded, nothing else will do.
#[test]
fn binding_can_be_demanded() {
    let bound = Methods::NONE.allow_scram().require_binding();
    let (chosen, _) = answer(bound, end_point(), &[PLUS, PLAIN]).unwrap();
    assert_eq!(chosen, PLUS);
    let without = AuthError::NotAllowed {
        method: Method::ScramSha256,
    };
    assert_eq!(answer(bound, end_point(), &[PLAIN]), Err(without.clone()));
    assert_eq!(answer(bound, None, &[PLUS, PLAIN]), Err(without));
    assert_eq!(
        answer(bound, None, &[PLUS]),
        Err(AuthError::NothingToBindTo)
    );
    assert_eq!(
        answer(bound, end_point(), &[b"X"]),
        Err(AuthError::NoCommonMechanism)
    );
    let md5 = Methods::NONE.allow_md5(Channel::Clear);
    let plus = AuthError::NotAllowed {
        method: Method::ScramSha256Plus,
    };
    assert_eq!(answer(md5, end_point(), &[PLUS, PLAIN]), Err(plus));
}
