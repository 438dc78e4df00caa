//! A vocabulary: text to token ids, and token ids back to bytes. How bytes become an answer is in `answer.rs`.

mod alphabet;
mod tiktoken;

use std::collections::BTreeMap;
use std::panic;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::tokenizer::Tokenizer as Vocabulary;

use crate::error::LoadError;
use crate::options::ModelSource;

const FILE: &str = "tokenizer.json";

/// Business text in two scripts, for the estimate of bytes a token.
const SAMPLE: &str = "Invoice 2026-0417 from Nordwind Logistik GmbH, Hamburg, dated 17 April 2026: total due 1,284.50 EUR \
within 30 days. The customer reports that delivery note 88231 lists twelve boxes, of which only eleven arrived. \
Bitte prüfen Sie die Rechnung und überweisen Sie den Betrag von 96,20 € bis zum 3. Mai.";

/// A byte-level BPE vocabulary.
pub(crate) struct Tokenizer {
    vocabulary: Vocabulary,
    pieces: Vec<Piece>,
}

/// What one token stands for.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    special: bool,
}

/// A token that `tokenizer_config.json` adds to the vocabulary.
#[derive(Deserialize)]
pub(crate) struct Added {
    content: String,
    #[serde(default)]
    special: bool,
}

impl Tokenizer {
    /// `tokenizer.json`, or where there is none `tiktoken.model` and what `tokenizer_config.json` adds to it.
    pub(crate) fn load(source: &ModelSource, added: &BTreeMap<u32, Added>) -> Result<Tokenizer, LoadError> {
        if let Some(bytes) = source.read(FILE)? {
            return Tokenizer::parse(&bytes);
        }
        match source.read(tiktoken::FILE)? {
            Some(bytes) => Tokenizer::parse_tiktoken(&bytes, tiktoken::MOONSHOT, added),
            None => Err(LoadError::Missing(FILE.to_owned())),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Tokenizer, LoadError> {
        let vocabulary = parse(bytes).map_err(|reason| LoadError::malformed(FILE, reason))?;
        if !vocabulary.get_decoder().is_some_and(is_byte_level) {
            return Err(LoadError::Unsupported {
                file: FILE,
                field: "decoder",
                value: format!("{:?}", vocabulary.get_decoder()).chars().take(80).collect(),
                expected: "a ByteLevel decoder".to_owned(),
            });
        }
        let pieces = pieces(&vocabulary)?;
        Ok(Tokenizer { vocabulary, pieces })
    }

    /// The pattern is the way in which a text is cut into words, which tiktoken's file leaves to its reader.
    pub(crate) fn parse_tiktoken(bytes: &[u8], pattern: &str, added: &BTreeMap<u32, Added>) -> Result<Tokenizer, LoadError> {
        let vocabulary = tiktoken::parse(bytes, pattern, added)?;
        Ok(Tokenizer { pieces: pieces(&vocabulary)?, vocabulary })
    }

    /// One more than the highest id.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The ids of a text; special tokens written in it count as such, and none is added.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, tokenizers::Error> {
        Ok(self.vocabulary.encode_fast(text, false)?.get_ids().to_vec())
    }

    /// What the tokenizer itself puts before a text.
    pub(crate) fn first_added(&self) -> Option<u32> {
        let empty = self.vocabulary.encode_fast("", true).ok()?;
        empty.get_ids().first().copied()
    }

    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.vocabulary.token_to_id(token)
    }

    /// The bytes of a token, nothing for an id that the vocabulary does not use.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id as usize).map_or(&[], |piece| &piece.bytes)
    }

    /// Special tokens structure a text and are no part of it.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.pieces.get(id as usize).is_some_and(|piece| piece.special)
    }

    /// Bytes of text one token stands for, on average over a sample.
    pub(crate) fn bytes_per_token(&self) -> f32 {
        let tokens = self.encode(SAMPLE).map_or(0, |ids| ids.len());
        SAMPLE.len() as f32 / tokens.max(1) as f32
    }
}

/// The tokenizers crate panics on some malformed files where it should refuse them.
fn parse(bytes: &[u8]) -> Result<Vocabulary, String> {
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| error.to_string())?;
    match panic::catch_unwind(|| Vocabulary::from_bytes(bytes)) {
        Ok(parsed) => parsed.map_err(|error| error.to_string()),
        Err(_) => Err("the parser panicked".to_owned()),
    }
}

fn is_byte_level(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteLevel(_) => true,
        DecoderWrapper::Sequence(decoders) => decoders.get_decoders().iter().all(is_byte_level),
        _ => false,
    }
}

/// Added tokens are written as they are; all others in the byte alphabet.
fn pieces(vocabulary: &Vocabulary) -> Result<Vec<Piece>, LoadError> {
    /// Ids beyond this are a mistake or an attack; the largest vocabularies in use have 262,144.
    const ID_MAX: u32 = 1 << 22;

    let added = vocabulary.get_added_tokens_decoder();
    let words = vocabulary.get_vocab(true);
    let highest = words.values().copied().max().unwrap_or(0);
    if highest > ID_MAX {
        return Err(LoadError::malformed(FILE, format!("token id {highest} is above {ID_MAX}")));
    }
    let mut pieces: Vec<Piece> = Vec::new();
    pieces.resize_with(highest as usize + 1, Piece::default);
    for (word, id) in words {
        pieces[id as usize] = match added.get(&id) {
            Some(token) => Piece { bytes: token.content.clone().into_bytes(), special: token.special },
            None => Piece { bytes: alphabet::bytes(&word), special: false },
        };
    }
    Ok(pieces)
}
