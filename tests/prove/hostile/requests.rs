//! What the hostile proof asks for: requests of all lengths and kinds, and one in ten that no engine should take.

use engine::{Format, Message, Prompt, Request, Sampling};
use serde_json::json;

/// Token ids of millrace-nano that stand for text.
const VOCABULARY: u64 = 1_000;
/// Beyond what the cache holds.
const TOO_MANY_TOKENS: u32 = 10_000;

/// A request, and whether it can be run.
pub(super) struct Wish {
    pub(super) request: Request,
    pub(super) is_sound: bool,
}

/// Numbers from a seed, so that what went wrong can be run again.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn token(&mut self) -> u32 {
        16 + self.below(VOCABULARY - 16) as u32
    }
}

pub(super) fn wish(dice: &mut Dice) -> Wish {
    let request = sound(dice);
    if dice.one_in(10) { Wish { request: spoiled(dice, request), is_sound: false } } else { Wish { request, is_sound: true } }
}

fn sound(dice: &mut Dice) -> Request {
    let max_tokens = 1 + if dice.one_in(5) { dice.below(120) } else { dice.below(24) };
    let request = Request {
        max_tokens: Some(max_tokens as u32),
        sampling: sampling(dice),
        logprobs: dice.one_in(10).then_some(3),
        ..Request::new(prompt(dice))
    };
    if dice.one_in(8) {
        return Request { format: Some(format(dice)), ..request };
    }
    Request {
        ignore_eos: !dice.one_in(3),
        min_tokens: dice.below(3) as u32,
        stop: if dice.one_in(5) { ["e", "1", ". "].map(str::to_owned).into() } else { Vec::new() },
        stop_token_ids: (0..dice.below(3)).map(|_| dice.token()).collect(),
        ..request
    }
}

/// The same with something wrong about it.
fn spoiled(dice: &mut Dice, request: Request) -> Request {
    match dice.below(9) {
        0 => Request { prompt: Prompt::Tokens(Vec::new()), ..request },
        1 => Request { prompt: Prompt::Tokens(vec![u32::MAX]), ..request },
        2 => Request { max_tokens: Some(0), ..request },
        3 => Request { max_tokens: Some(TOO_MANY_TOKENS), ..request },
        4 => Request { stop: vec![String::new()], ..request },
        5 => Request { sampling: Sampling { temperature: Some(-1.0), ..request.sampling }, ..request },
        6 => Request { sampling: Sampling { logit_bias: vec![(u32::MAX, 1.0)], ..request.sampling }, ..request },
        7 => Request { format: Some(Format::JsonObject), stop: vec!["x".to_owned()], ..request },
        _ => Request { format: Some(Format::JsonSchema(json!({ "uniqueItems": true }))), ..request },
    }
}

/// Mostly some of one of five beginnings and then tokens of its own; else a text or a chat.
fn prompt(dice: &mut Dice) -> Prompt {
    let number = dice.below(100_000);
    match dice.below(10) {
        0 => Prompt::Text(format!("Invoice {number}: Müller & Söhne, 12 × 納品書, total {}.00 EUR", number % 997)),
        1 => {
            let content = format!("Extract these fields as JSON: store, total.\n\nHarbour Paper Ltd\nReceipt {number}\nTotal: 46.42 EUR");
            Prompt::Chat(vec![Message { role: "user".to_owned(), content: Some(content), ..Message::default() }])
        }
        _ => {
            let (family, shared, own) = (dice.below(5) as u32, dice.below(90) as u32, 1 + dice.below(40));
            let beginning = (0..shared).map(|index| 16 + (index * 31 + family * 97) % 900);
            Prompt::Tokens(beginning.chain((0..own).map(|_| dice.token())).collect())
        }
    }
}

fn sampling(dice: &mut Dice) -> Sampling {
    Sampling {
        temperature: Some([0.0, 0.7, 1.0, 3.0][dice.below(4) as usize]),
        top_k: dice.one_in(4).then_some(20),
        top_p: dice.one_in(4).then_some(0.9),
        repetition_penalty: dice.one_in(8).then_some(1.2),
        seed: Some(dice.below(u64::MAX)),
        ..Sampling::default()
    }
}

/// More different ones than are kept compiled.
fn format(dice: &mut Dice) -> Format {
    let length = 1 + dice.below(20);
    match dice.below(4) {
        0 => Format::JsonObject,
        1 => Format::Regex(format!("[a-z]{{{length}}}")),
        2 => Format::Choice(["approve", "reject", "ask"].map(|choice| format!("{choice} {length}")).into()),
        _ => Format::JsonSchema(json!({
            "type": "object", "properties": { "store": { "type": "string", "maxLength": length }, "paid": { "type": "boolean" } },
            "required": ["store", "paid"], "additionalProperties": false,
        })),
    }
}
