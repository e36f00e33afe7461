//! A fault's text.

use super::super::journey::Journey;
use super::super::server::{Flaw, Impostor};
use super::super::text::{Words, hex, unhex};
use super::{ANSWERS, AT_ALL, AT_PEER, Aside, Fault, KNOWN, Misuse, name_of, peer_named, word_for};

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())?;
        if let Some(peer) = self.peer() {
            write!(f, " {}", word_for(peer))?;
        }
        match self {
            Fault::Move(journey) => write!(f, " {journey}"),
            Fault::Readers(known) => {
                let words: Vec<&str> = known.iter().map(|one| name_of(&KNOWN, *one)).collect();
                write!(f, " {}", words.join(","))
            }
            Fault::Shutdown(_, state)
            | Fault::RefuseLogin(_, state)
            | Fault::FailNext(_, state) => write!(f, " {state}"),
            Fault::Transfer(_, flaw) => write!(f, " {flaw}"),
            Fault::Lie(_, bytes) => write!(f, " {}", hex(bytes)),
            Fault::Cut(_, number)
            | Fault::Garble(_, number)
            | Fault::Replay(number)
            | Fault::Vacuum(number) => write!(f, " {number}"),
            Fault::ReplayAt(place, number) => write!(f, " {place} {number}"),
            Fault::Clock(millis) => write!(f, " {millis}"),
            Fault::Async(_, aside) => write!(f, " {}", name_of(&Aside::ALL, *aside)),
            Fault::Misuse(_, misuse) => write!(f, " {}", name_of(&Misuse::ALL, *misuse)),
            Fault::AnswerTls(_, answer) => write!(f, " {}", name_of(&ANSWERS, *answer)),
            Fault::Pose(_, impostor) => write!(f, " {}", name_of(&Impostor::ALL, *impostor)),
            Fault::Reset(_)
            | Fault::Eof(_)
            | Fault::Stall(_)
            | Fault::Mute(_)
            | Fault::Trickle(_)
            | Fault::RefuseDial(_)
            | Fault::HangDial(_)
            | Fault::FailTls(_)
            | Fault::OtherProtocol(_)
            | Fault::NoProtocol(_)
            | Fault::HangTls(_)
            | Fault::ForgetPassword(_)
            | Fault::Cancel
            | Fault::StrayCancel
            | Fault::ShutDownProxy
            | Fault::Expel
            | Fault::Promote
            | Fault::Demote
            | Fault::Lock
            | Fault::ForgetSettings(_)
            | Fault::CallOff
            | Fault::Deadline => Ok(()),
        }
    }
}

impl Fault {
    pub(crate) fn parse(words: &mut Words<'_>) -> Result<Fault, String> {
        let kind = words.word()?;
        if let Some((_, fault)) = AT_ALL.iter().find(|(name, _)| *name == kind) {
            return Ok(fault.clone());
        }
        match kind {
            "clock" => return Ok(Fault::Clock(words.number()?)),
            "replay" => return Ok(Fault::Replay(words.number()?)),
            "replay-at" => return Ok(Fault::ReplayAt(words.number()?, words.number()?)),
            "vacuum" => return Ok(Fault::Vacuum(words.number()?)),
            "readers" => {
                let words = words.word()?.split(',').map(|word| named(&KNOWN, word));
                return Ok(Fault::Readers(words.collect::<Result<_, _>>()?));
            }
            "move" => return Ok(Fault::Move(Journey::parse(words)?)),
            _ => {}
        }
        let peer = peer_named(words.word()?)?;
        if let Some((_, make)) = AT_PEER.iter().find(|(name, _)| *name == kind) {
            return Ok(make(peer));
        }
        Ok(match kind {
            "shutdown" => Fault::Shutdown(peer, words.word()?.to_owned()),
            "refuse-login" => Fault::RefuseLogin(peer, words.word()?.to_owned()),
            "fail-next" => Fault::FailNext(peer, words.word()?.to_owned()),
            "transfer" => Fault::Transfer(peer, Flaw::parse(words)?),
            "cut" => Fault::Cut(peer, words.number()?),
            "garble" => Fault::Garble(peer, words.number()?),
            "lie" => Fault::Lie(peer, unhex(words.word()?)?),
            "async" => Fault::Async(peer, named(&Aside::ALL, words.word()?)?),
            "answer-tls" => Fault::AnswerTls(peer, named(&ANSWERS, words.word()?)?),
            "pose" => Fault::Pose(peer, named(&Impostor::ALL, words.word()?)?),
            "misuse" => Fault::Misuse(peer, named(&Misuse::ALL, words.word()?)?),
            other => return Err(format!("{other:?} is no fault")),
        })
    }
}

fn named<T: Copy>(all: &[(T, &str)], name: &str) -> Result<T, String> {
    all.iter()
        .find(|(_, known)| *known == name)
        .map(|(what, _)| *what)
        .ok_or_else(|| format!("{name:?} is not known"))
}
