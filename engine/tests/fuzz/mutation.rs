//! Mutations that reach beyond a parser's first check: numbers become extreme, tokens move, bytes flip. The number of an input is its
//! seed, so that each can be made again.

/// Numbers at and beyond the bounds that programs forget.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "7",
    "255",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-1e-308",
    "0.5",
    "null",
    "[]",
];
/// What these kinds of files give a meaning to.
const WORDS: [&str; 16] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "{{",
    "{%",
    "%}",
    "{% for i in range(999999999) %}",
    "\\ud800",
    "\u{0}",
    "true",
    "namespace",
    "\"F32\"",
];

/// A source of changes that follows from its seed.
pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Mutator {
        let mut mutator = Mutator { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 };
        // The first numbers of neighbouring seeds resemble each other.
        for _ in 0..8 {
            mutator.below(2);
        }
        mutator
    }

    /// The content with one to four changes.
    pub(crate) fn mutate(&mut self, content: &[u8]) -> Vec<u8> {
        let mut bytes = content.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let place = self.below(bytes.len());
        let end = (place + 1 + self.below(40)).min(bytes.len());
        match self.below(8) {
            0 => bytes[place] ^= 1 << self.below(8),
            1 => bytes[place] = self.below(256) as u8,
            2 => drop(bytes.drain(place..end)),
            3 => bytes.truncate(place),
            4 => {
                let copy = bytes[place..end].to_vec();
                let target = self.below(bytes.len());
                drop(bytes.splice(target..target, copy));
            }
            5 => drop(bytes.splice(place..place, WORDS[self.below(WORDS.len())].bytes())),
            _ => self.replace_number(bytes, place),
        }
    }

    /// The first number from a place on becomes another.
    fn replace_number(&mut self, bytes: &mut Vec<u8>, place: usize) {
        let Some(start) = (place..bytes.len()).find(|index| bytes[*index].is_ascii_digit()) else { return };
        let end = (start..bytes.len()).find(|index| !bytes[*index].is_ascii_digit()).unwrap_or(bytes.len());
        drop(bytes.splice(start..end, NUMBERS[self.below(NUMBERS.len())].bytes()));
    }

    /// A number below a limit, from Marsaglia's xorshift.
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % limit as u64) as usize
    }
}
