//! What nothing that is shown may hold, as it is and in other notations: passwords and what servers make of them, keys,
//! nonces and proofs, texts of statements. And what no peer may be sent.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use pgturnout::session::{PeerId, Seed};

use super::checks::NEEDLE;
use super::server::{self, PASSWORD, Server};
use super::text::hex;
use super::transfers;
use super::world::{Happened, World};

/// No needle is longer, in bytes.
pub(crate) const LONGEST: usize = 192;

/// The session's randomness: of a key to cancel with, which begins with a short one; of nonces; of the rest.
const SEED: [&[u8]; 3] = [
    b"KEY!SECRET-OF-A-KEY-of-32-bytes-",
    b"SECRET-OF-NONCES-of-24--",
    b"SEEDREST",
];

/// What the proxies of a ring share.
pub(crate) const RING_SECRET: &[u8; 32] = b"SECRET-OF-A-RING-of-many-proxies";
/// From which a proxy makes up what it asks of users who do not exist.
pub(crate) const MOCK_SECRET: &[u8; 32] = b"SECRET-OF-WHAT-is-asked-of-none-";
/// The password of who does not know the other one.
pub(crate) const WRONG_PASSWORD: &str = "eraser";

/// The backends whose secrets are looked for: a session has fewer.
const BACKENDS: u32 = 32;

/// Needles by their first four bytes, so that a text is gone through once.
struct Needles {
    /// For the hash of four bytes, whether a needle may begin with them.
    begins: Box<[bool]>,
    by_start: BTreeMap<u32, Vec<String>>,
}

/// Of the first four bytes of a needle, of which none is shorter.
fn hash(start: u32) -> usize {
    (start.wrapping_mul(0x9e37_79b9) >> 16) as usize
}

impl Needles {
    fn new(all: Vec<String>) -> Needles {
        let mut needles = Needles {
            begins: vec![false; 1 << 16].into(),
            by_start: BTreeMap::new(),
        };
        for needle in all {
            assert!(needle.len() <= LONGEST, "{needle}");
            let start = needle.as_bytes().first_chunk().expect("no shorter needle");
            let start = u32::from_be_bytes(*start);
            needles.begins[hash(start)] = true;
            needles.by_start.entry(start).or_default().push(needle);
        }
        needles
    }

    /// The first that stands in a text.
    fn found(&self, text: &[u8]) -> Option<&str> {
        let mut start = 0;
        for (at, byte) in text.iter().enumerate() {
            start = start << 8 | u32::from(*byte);
            if !self.begins[hash(start)] {
                continue;
            }
            let (Some(from), Some(among)) = (at.checked_sub(3), self.by_start.get(&start)) else {
                continue;
            };
            let found = among
                .iter()
                .find(|needle| text[from..].starts_with(needle.as_bytes()));
            if found.is_some() {
                return found.map(String::as_str);
            }
        }
        None
    }
}

/// A needle that stands in a text that is shown: one of those that every session has, or of its logins.
pub(crate) fn found(text: &str, world: &World<'_>) -> Option<String> {
    static NEEDLES: OnceLock<Needles> = OnceLock::new();
    let needles = NEEDLES.get_or_init(|| Needles::new(of_every_session()));
    if let Some(needle) = needles.found(text.as_bytes()) {
        return Some(needle.to_owned());
    }
    let servers = world.servers.iter().flatten();
    let retired = world.retired.iter().map(|(_, server, _)| server);
    let mut learned = servers.chain(retired).flat_map(Server::learned);
    learned.find(|needle| text.contains(*needle)).cloned()
}

fn of_every_session() -> Vec<String> {
    let mut secrets: Vec<Vec<u8>> = server::derived_secrets();
    for secret in [PASSWORD, WRONG_PASSWORD, NEEDLE] {
        secrets.push(secret.into());
    }
    secrets.extend([b"KEY!".to_vec(), RING_SECRET.to_vec(), MOCK_SECRET.to_vec()]);
    secrets.extend(SEED.map(<[u8]>::to_vec));
    secrets.extend([server::STATE.to_vec(), server::TOKEN.to_vec()]);
    secrets.extend((1..BACKENDS).map(server::cancel_secret));
    secrets
        .iter()
        .flat_map(|secret| notations(secret))
        .collect()
}

/// The randomness of every session.
pub(crate) fn seed() -> Seed {
    Seed::new(SEED.concat().try_into().expect("as long as a seed"))
}

/// How a secret may stand in a text.
pub(crate) fn notations(secret: &[u8]) -> Vec<String> {
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut out = vec![
        secret.escape_ascii().to_string(),
        hex(secret),
        hex(secret).to_uppercase(),
        numbers.join(", "),
    ];
    out.extend((0..3).map(|at| in_base64(secret, at)));
    out
}

/// What base64 makes of a secret behind so many other bytes, as far as those and what follows have no part in it.
fn in_base64(secret: &[u8], behind: usize) -> String {
    let all = [&vec![0; behind][..], secret].concat();
    let text = STANDARD_NO_PAD.encode(&all);
    let (from, to) = ((behind * 4).div_ceil(3), all.len() * 4 / 3);
    text[from..to].to_owned()
}

/// A secret among all that a peer was sent that is nobody's but the proxy's, or a password on its way to the client.
pub(crate) fn sent(world: &World<'_>, peer: PeerId) -> Option<String> {
    static NEEDLES: OnceLock<[Needles; 3]> = OnceLock::new();
    let [of_any, of_client, of_moves] = NEEDLES.get_or_init(|| {
        let mut secrets = server::derived_secrets();
        for secret in [SEED[1], RING_SECRET, MOCK_SECRET] {
            secrets.push(secret.into());
        }
        let all: Vec<String> = secrets
            .iter()
            .flat_map(|secret| on_the_wire(secret))
            .collect();
        let of_moves: Vec<String> = [server::STATE, server::TOKEN]
            .iter()
            .flat_map(|secret| on_the_wire(secret))
            .collect();
        [all, vec![PASSWORD.to_owned()], of_moves].map(Needles::new)
    });
    let mut bytes = Vec::new();
    for happened in &world.happened[peer.index()] {
        if let Happened::Sent(sent) = happened {
            bytes.extend_from_slice(sent.bytes());
        }
    }
    let is_client = peer == PeerId::CLIENT;
    let moves = is_client && !transfers::tells_the_client(world);
    let client = is_client.then(|| of_client.found(&bytes)).flatten();
    let moves = moves.then(|| of_moves.found(&bytes)).flatten();
    let found = client.or(moves).or_else(|| of_any.found(&bytes));
    found.map(str::to_owned)
}

/// What of a secret's notations may go over a wire.
fn on_the_wire(secret: &[u8]) -> Vec<String> {
    let mut out = vec![hex(secret), hex(secret).to_uppercase()];
    out.extend((0..3).map(|at| in_base64(secret, at)));
    out.extend(String::from_utf8(secret.to_vec()));
    out
}
