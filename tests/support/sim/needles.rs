//! What nothing that is shown may hold: the words of [`checks`](super::checks), as they are and in other notations.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::checks::{NEEDLE, SEED_BYTES};
use super::server::PASSWORD;
use super::text::hex;

/// No needle is longer, in bytes.
pub(crate) const LONGEST: usize = 64;

/// A needle that stands in a text.
pub(crate) fn found(text: &str) -> Option<&'static str> {
    static NEEDLES: OnceLock<Vec<String>> = OnceLock::new();
    let needles = NEEDLES.get_or_init(needles);
    needles
        .iter()
        .map(String::as_str)
        .find(|needle| text.contains(needle))
}

fn needles() -> Vec<String> {
    let mut out = vec!["83, 69, 67, 82, 69, 84".to_owned()];
    for secret in [PASSWORD.as_bytes(), NEEDLE.as_bytes(), SEED_BYTES] {
        out.push(secret.escape_ascii().to_string());
        out.push(hex(secret));
        out.push(hex(secret).to_uppercase());
        out.extend((0..3).map(|at| in_base64(secret, at)));
    }
    assert!(out.iter().all(|needle| needle.len() <= LONGEST));
    out
}

/// What base64 makes of a secret behind so many other bytes, as far as those and what follows have no part in it.
fn in_base64(secret: &[u8], behind: usize) -> String {
    let all = [&vec![0; behind][..], secret].concat();
    let text = STANDARD_NO_PAD.encode(&all);
    let (from, to) = ((behind * 4).div_ceil(3), all.len() * 4 / 3);
    text[from..to].to_owned()
}
