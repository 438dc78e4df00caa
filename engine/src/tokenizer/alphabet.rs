//! The byte alphabet of GPT-2, in which every byte is a printable character. Vocabularies of byte-level BPE are written in it.

/// The bytes of a word; a word that is not in the alphabet is taken as it is.
pub(super) fn bytes(word: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = word.chars().map(byte).collect();
    bytes.unwrap_or_else(|| word.as_bytes().to_vec())
}

/// The word for these bytes.
pub(super) fn word(bytes: &[u8]) -> String {
    bytes.iter().copied().map(character).collect()
}

fn byte(character: char) -> Option<u8> {
    let shifted = |code: u32, first: u32, byte: u32| (code - first + byte) as u8;
    match character as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some(shifted(code, 0x100, 0x00)),
        code @ 0x121..=0x142 => Some(shifted(code, 0x121, 0x7f)),
        0x143 => Some(0xad),
        _ => None,
    }
}

fn character(byte: u8) -> char {
    let shifted = |first: u32, from: u8| char::from_u32(first + u32::from(byte - from)).unwrap_or_default();
    match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        0x00..=0x20 => shifted(0x100, 0x00),
        0x7f..=0xa0 => shifted(0x121, 0x7f),
        0xad => '\u{143}',
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_byte_alphabet_names_every_byte_once() {
        let all: HashSet<u8> = (0..0x200).filter_map(|code| byte(char::from_u32(code)?)).collect();
        assert_eq!(all.len(), 256);
        assert!((0..=255).all(|code| byte(character(code)) == Some(code)));
        assert_eq!((bytes("Ġthe"), word(b" the")), (b" the".to_vec(), "Ġthe".to_owned()));
        assert_eq!((bytes("Ċ"), word(b"\n")), (b"\n".to_vec(), "Ċ".to_owned()));
    }
}
