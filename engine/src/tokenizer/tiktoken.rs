//! `tiktoken.model`, which Moonshot's models have instead of a `tokenizer.json`: on each line a token in base64, a space and its rank.
//! The ids are those of tiktoken itself. (Moonshot's own code also begins a new word after 25,000 characters without a space.)

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizer::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{AddedToken, Tokenizer as Vocabulary};

use super::{Added, alphabet};
use crate::error::LoadError;

pub(super) const FILE: &str = "tiktoken.model";

/// How Moonshot's models cut a text into words: runs of Han by themselves, letters by case, digits by three, marks, white space.
pub(super) const MOONSHOT: &str = concat!(
    r"[\p{Han}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+",
    r"|\s+(?!\S)",
    r"|\s+",
);

/// Moonshot's file has 2.8 MB.
const BYTES_MAX: usize = 16 << 20;

/// The longest tokens in use have 256.
const TOKEN_BYTES_MAX: usize = 512;

/// Ids above the ranks; models in use have 256, and name some of them.
const ADDED_MAX: u32 = 4096;

/// The rank of a token is its id.
type Ranks<'a> = HashMap<&'a [u8], u32>;

pub(super) fn parse(bytes: &[u8], pattern: &str, added: &BTreeMap<u32, Added>) -> Result<Vocabulary, LoadError> {
    let malformed = |error: tokenizers::Error| LoadError::malformed(FILE, error);
    let tokens = tokens(bytes).map_err(|reason| LoadError::malformed(FILE, reason))?;
    let mut vocabulary = Vocabulary::new(bpe(&tokens).map_err(malformed)?);
    let words = Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false).map_err(malformed)?;
    let letters = ByteLevel::new(false, true, false);
    vocabulary.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), letters.into()])));
    vocabulary.with_decoder(Some(letters));
    add(&mut vocabulary, tokens.len() as u32, added).map_err(|reason| LoadError::malformed("tokenizer_config.json", reason))?;
    Ok(vocabulary)
}

/// The tokens in the order of their ranks, which leave out none.
fn tokens(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!("{} bytes are more than {BYTES_MAX}", bytes.len()));
    }
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).enumerate();
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).map(|(index, line)| (index + 1, line)).collect();
    // By rank, each with the number of its line.
    let mut tokens = vec![(0, Vec::new()); lines.len()];
    for (number, line) in lines {
        let (token, rank) = entry(line).map_err(|reason| format!("line {number}: {reason}"))?;
        match tokens.get_mut(rank) {
            None => {
                return Err(format!("line {number}: rank {rank}, but the ranks of {} tokens begin at 0 and leave out none", tokens.len()));
            }
            Some((0, _)) => tokens[rank] = (number, token),
            Some((earlier, _)) => return Err(format!("line {number}: rank {rank} stands on line {earlier} already")),
        }
    }
    refuse_gaps(&tokens)?;
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

fn entry(line: &[u8]) -> Result<(Vec<u8>, usize), String> {
    let text = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
    let (token, rank) = text.ok_or("not a token in base64, a space and a rank")?;
    let token = BASE64_STANDARD.decode(token).map_err(|error| format!("the token is not in base64: {error}"))?;
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token has {} bytes, not 1 to {TOKEN_BYTES_MAX}", token.len()));
    }
    Ok((token, rank.parse().map_err(|error| format!("the rank is not a number: {error}"))?))
}

/// No token stands for two ids, and every byte has one.
fn refuse_gaps(tokens: &[(usize, Vec<u8>)]) -> Result<(), String> {
    let mut lines = HashMap::new();
    for (line, token) in tokens {
        match lines.entry(token.as_slice()) {
            Entry::Occupied(earlier) => return Err(format!("lines {} and {line} have the same token", earlier.get())),
            Entry::Vacant(place) => place.insert(line),
        };
    }
    match (0..=255).find(|byte| !lines.contains_key(&[*byte][..])) {
        Some(byte) => Err(format!("no token is the byte {byte:#04x}")),
        None => Ok(()),
    }
}

/// tiktoken looks a word up as a whole, and else merges the pair of lowest rank until there is none. This model does both, given a merge
/// for each token that merging reaches.
fn bpe(tokens: &[Vec<u8>]) -> tokenizers::Result<BPE> {
    let ranks: Ranks = tokens.iter().map(Vec::as_slice).zip(0..).collect();
    let halves = tokens.iter().filter_map(|token| Some(token.split_at(last_split(token, &ranks)?)));
    let merges = halves.map(|(left, right)| (alphabet::word(left), alphabet::word(right))).collect();
    let vocabulary: Vocab = tokens.iter().map(|token| alphabet::word(token)).zip(0..).collect();
    BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(true).build()
}

/// Where the last two parts of a token meet when tiktoken merges its bytes. No other two ever become this token: in a longer word the
/// merges inside of it come in the same order.
fn last_split(token: &[u8], ranks: &Ranks) -> Option<usize> {
    const NO_TOKEN: u32 = u32::MAX;

    let mut borders: Vec<usize> = (0..=token.len()).collect();
    let joined = |borders: &[usize], part: usize| ranks.get(&token[borders[part]..borders[part + 2]]).copied().unwrap_or(NO_TOKEN);
    // What each part makes with its neighbour on the right.
    let mut pairs: Vec<u32> = (0..token.len() - 1).map(|part| joined(&borders, part)).collect();
    while pairs.len() > 1 {
        let (part, _) = pairs.iter().enumerate().min_by_key(|(_, rank)| **rank).filter(|(_, rank)| **rank != NO_TOKEN)?;
        borders.remove(part + 1);
        pairs.remove(part);
        for changed in part.saturating_sub(1)..=part.min(pairs.len() - 1) {
            pairs[changed] = joined(&borders, changed);
        }
    }
    (token.len() > 1).then(|| borders[1])
}

/// The special tokens stand above the ranks. As in Moonshot's code, those between them that have no name get one.
fn add(vocabulary: &mut Vocabulary, first: u32, added: &BTreeMap<u32, Added>) -> Result<(), String> {
    let Some((highest, _)) = added.last_key_value() else { return Ok(()) };
    if let Some(id) = added.keys().find(|id| !(first..first + ADDED_MAX).contains(*id)) {
        return Err(format!("added token {id} is not among the {ADDED_MAX} ids from {first} on, which follow the ranks"));
    }
    let tokens = (first..=*highest).map(|id| match added.get(&id) {
        Some(token) => AddedToken::from(token.content.clone(), token.special),
        None => AddedToken::from(format!("<|reserved_token_{id}|>"), true),
    });
    let tokens: Vec<AddedToken> = tokens.collect();
    vocabulary.add_special_tokens(tokens.clone()).map_err(|error| error.to_string())?;
    match (first..).zip(tokens).find(|(id, token)| vocabulary.token_to_id(&token.content) != Some(*id)) {
        Some((id, _)) => Err(format!("added token {id} is empty or has the text of another token")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
