//! What a string of bytes stands for, and which string a seed does.

use super::super::choices::{Choices, noise};
use super::super::event::Scenario;

/// How many kinds of scenarios there are, some of them the same: the first byte of a string says which. The two behind it
/// say which of them, where they go through a list.
const KINDS: u8 = 16;

/// The kind of a seed whose bytes are few: behind the last of them every choice is the first of its kind, as it is in
/// what a fuzzer makes, and scenarios are mostly plain.
const FEW: u8 = 7;

/// How many bytes of choices a seed stands for. The scenarios of the first 20,000 seeds take 879 at most.
const EXPANDED: usize = 2048;

/// The bytes that a seed stands for: seeds next to each other are of different kinds, and those of one kind go through its
/// list one after the other.
pub(crate) fn expand(seed: u64) -> Vec<u8> {
    let mut noise = noise(seed);
    let [.., high, low] = (seed / u64::from(KINDS)).to_be_bytes();
    let kind = u8::try_from(seed % u64::from(KINDS)).expect("a small number");
    if kind == FEW {
        let count: Vec<u8> = noise.by_ref().take(2).collect();
        let count = Choices::of_bytes(&count).below(400);
        return noise.take(count).collect();
    }
    [kind, high, low]
        .into_iter()
        .chain(noise.take(EXPANDED))
        .collect()
}

/// The scenario that these bytes stand for. Every choice comes from them, so that a seed, proptest and a fuzzer make
/// scenarios in the same way.
pub(crate) fn of_bytes(bytes: &[u8]) -> Scenario {
    chosen(&mut Choices::of_bytes(bytes))
}

/// As many of the bytes as the scenario that they stand for has taken.
pub(crate) fn bytes_of(bytes: &[u8]) -> &[u8] {
    let mut choices = Choices::of_bytes(bytes);
    chosen(&mut choices);
    bytes.get(..choices.taken()).unwrap_or(bytes)
}

fn chosen(choices: &mut Choices<'_>) -> Scenario {
    let kind = choices.below(usize::from(KINDS));
    let nth = choices.below(1 << 16);
    let scenario = match kind {
        0 => super::wild(choices),
        3..=5 => super::stricken(nth * 3 + kind - 3, choices),
        8..=10 => super::untimely(nth * 3 + kind - 8, choices),
        11 => super::waylaid(nth * 3, choices),
        13 => super::waylaid(nth * 3 + 1, choices),
        14 => super::waylaid(nth * 3 + 2, choices),
        12 => super::moving(choices),
        6 => super::staged(nth * 2, choices),
        15 => super::staged(nth * 2 + 1, choices),
        _ => super::scenario(choices),
    };
    // Between those there are fewer phases, and no reader to be struck in them.
    let stays = matches!(kind, 11 | 13 | 14) && choices.percent(70);
    let scenario = match stays {
        true => scenario,
        false => super::transfers::between_nodes(scenario, choices),
    };
    let scenario = super::cancels::timed(scenario, choices);
    let scenario = match kind {
        6 => super::scenes::paced(nth * 2, scenario, choices),
        15 => super::scenes::paced(nth * 2 + 1, scenario, choices),
        _ => scenario,
    };
    // Those that go through a list of what is to be met have no room for more.
    if matches!(kind, 0 | 3..=5 | 8..=14) {
        return scenario;
    }
    let scenario = super::cancels::hurried(scenario, choices);
    let scenario = super::fitted::awaited(scenario, choices);
    let scenario = super::fitted::counted(scenario, choices);
    let scenario = super::fitted::passed(scenario, choices);
    let scenario = match kind {
        1 | 2 | 7 => {
            let scenario = super::fitted::shown(scenario, choices);
            super::fitted::broken(scenario, choices)
        }
        _ => scenario,
    };
    super::interludes::met(scenario, choices)
}
