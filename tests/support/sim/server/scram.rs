//! The server's side of SCRAM-SHA-256.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::PASSWORD;
use super::fault::Fault;
use super::impostor::{self, Impostor};

/// The least that is not one: tests are to be fast.
const ITERATIONS: u32 = 2;
const SALT: &[u8] = b"sixteen salty by";

/// Between the challenge and the proof.
pub(super) struct Exchange {
    /// What the proof has to be bound to.
    header: Vec<u8>,
    nonce: String,
    first_bare: String,
    challenge: String,
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mac = <Hmac<Sha256>>::new_from_slice(key).expect("any length is a key");
    mac.chain_update(text).finalize().into_bytes().into()
}

/// What the password becomes with the salt.
fn salted() -> [u8; 32] {
    let mut last = hmac(PASSWORD.as_bytes(), &[SALT, &[0, 0, 0, 1]].concat());
    let mut out = last;
    for _ in 1..ITERATIONS {
        last = hmac(PASSWORD.as_bytes(), &last);
        out.iter_mut().zip(last).for_each(|(a, b)| *a ^= b);
    }
    out
}

fn malformed() -> Fault {
    Fault::protocol("malformed SCRAM message")
}

/// What the server stores.
pub(super) fn stored() -> String {
    let salted = salted();
    let stored_key = Sha256::digest(hmac(&salted, b"Client Key"));
    let server_key = hmac(&salted, b"Server Key");
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let (salt, stored, server) = (base64(SALT), base64(&stored_key), base64(&server_key));
    format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}")
}

/// What of the password nobody but server and client may know: the salted password, the client's key, what servers store
/// of it, and the server's key.
pub(super) fn keys() -> Vec<Vec<u8>> {
    let salted = salted();
    let client_key = hmac(&salted, b"Client Key");
    let stored_key = Sha256::digest(client_key).to_vec();
    let server_key = hmac(&salted, b"Server Key").to_vec();
    vec![salted.to_vec(), client_key.to_vec(), stored_key, server_key]
}

/// The proof in a client's last message.
pub(super) fn proof(body: &[u8]) -> Option<Vec<u8>> {
    let (_, proof) = std::str::from_utf8(body).ok()?.rsplit_once(",p=")?;
    STANDARD
        .decode(proof)
        .ok()
        .filter(|proof| proof.len() == 32)
}

impl Exchange {
    /// The client's nonce, and the bytes that it stands for in every notation.
    pub(super) fn nonce_of_client(&self) -> Vec<String> {
        let text = &self.nonce[..self.nonce.len() - "SERVER".len()];
        let bytes = STANDARD.decode(text).unwrap_or_default();
        let mut out = vec![text.to_owned()];
        if bytes.len() >= 4 {
            out.extend(super::super::needles::notations(&bytes));
        }
        out
    }

    /// From SASLInitialResponse; also the challenge. Where there is an end point, being bound to it was offered.
    pub(super) fn begin(
        body: &[u8],
        impostor: Option<Impostor>,
        end_point: Option<&[u8]>,
    ) -> Result<(Exchange, String), Fault> {
        let end = body.iter().position(|&b| b == 0).ok_or_else(malformed)?;
        let bound_to = match (&body[..end], end_point) {
            (b"SCRAM-SHA-256", _) => None,
            (b"SCRAM-SHA-256-PLUS", Some(end_point)) => Some(end_point),
            _ => {
                return Err(Fault::protocol(
                    "client selected an invalid SASL authentication mechanism",
                ));
            }
        };
        let (length, data) = body[end + 1..].split_at_checked(4).ok_or_else(malformed)?;
        if length != u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes() {
            return Err(malformed());
        }
        let data = std::str::from_utf8(data).map_err(|_| malformed())?;
        let mut parts = data.splitn(3, ',');
        let (binding, name) = (parts.next(), parts.next());
        let first_bare = parts.next().ok_or_else(malformed)?;
        let (Some(binding), Some("")) = (binding, name) else {
            return Err(malformed());
        };
        let fits = match binding {
            "n" => bound_to.is_none(),
            // Somebody has taken the offer away.
            "y" => end_point.is_none(),
            "p=tls-server-end-point" => bound_to.is_some(),
            _ => false,
        };
        if !fits {
            return Err(malformed());
        }
        let nonce = first_bare
            .split(',')
            .find_map(|attribute| attribute.strip_prefix("r="))
            .ok_or_else(malformed)?;
        let nonce = match impostor {
            // As long as it should be.
            Some(Impostor::BadNonce) => "X".repeat(nonce.len()) + "SERVER",
            _ => format!("{nonce}SERVER"),
        };
        let iterations = match impostor {
            Some(Impostor::ManyIterations) => impostor::ITERATIONS,
            _ => ITERATIONS,
        };
        let salt = STANDARD.encode(SALT);
        let challenge = format!("r={nonce},s={salt},i={iterations}");
        let exchange = Exchange {
            header: [
                format!("{binding},,").as_bytes(),
                bound_to.unwrap_or_default(),
            ]
            .concat(),
            nonce,
            first_bare: first_bare.to_owned(),
            challenge: challenge.clone(),
        };
        Ok((exchange, challenge))
    }

    /// A last message as of somebody who does not know the password.
    pub(super) fn forged(&self) -> String {
        let verifier = hmac(b"another key", self.challenge.as_bytes());
        format!("v={}", STANDARD.encode(verifier))
    }

    /// The server's last message, or None when the proof is wrong.
    pub(super) fn finish(&self, body: &[u8]) -> Result<Option<String>, Fault> {
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        let (bare, proof) = text.rsplit_once(",p=").ok_or_else(malformed)?;
        let expected = format!("c={},r={}", STANDARD.encode(&self.header), self.nonce);
        if bare != expected {
            return Err(malformed());
        }
        let proof = STANDARD.decode(proof).map_err(|_| malformed())?;
        let salted = salted();
        let stored = Sha256::digest(hmac(&salted, b"Client Key"));
        let all = format!("{},{},{bare}", self.first_bare, self.challenge);
        let signature = hmac(&stored, all.as_bytes());
        let key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        if proof.len() != signature.len() || Sha256::digest(&key) != stored {
            return Ok(None);
        }
        let server_key = hmac(&salted, b"Server Key");
        let verifier = STANDARD.encode(hmac(&server_key, all.as_bytes()));
        Ok(Some(format!("v={verifier}")))
    }
}
