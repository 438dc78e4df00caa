//! Token ids and rendered chats against those of transformers and tiktoken, on published vocabularies and templates.
//! `scripts/text_golden.py` wrote them down; `infra/services install tokenizers` fetches the vocabularies.

use std::path::{Path, PathBuf};
use std::{env, fs};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::*;

/// How Llama-3 cuts a text into words; its `tokenizer.json` says so.
const LLAMA: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[test]
fn texts_and_chats_become_the_ids_of_transformers_for_v3_and_r1() {
    assert_parity("deepseek_v3");
}

#[test]
fn texts_and_chats_become_the_ids_of_transformers_for_qwen3() {
    assert_parity("qwen3");
}

#[test]
fn texts_and_chats_become_the_ids_of_transformers_for_llama_3_1() {
    assert_parity("llama3_1");
}

#[test]
fn texts_and_chats_become_the_ids_of_tiktoken_for_moonlight() {
    assert_parity("moonlight");
}

#[test]
fn a_vocabulary_converted_to_the_form_of_tiktoken_gives_the_same_ids() {
    let (text, config) = load("llama3_1");
    let ranks = 0..*config.added_tokens_decoder.keys().next().unwrap();
    let line = |rank| format!("{} {rank}\n", BASE64_STANDARD.encode(text.tokenizer.bytes(rank)));
    let file: String = ranks.map(line).collect();
    let converted = Tokenizer::parse_tiktoken(file.as_bytes(), LLAMA, &config.added_tokens_decoder).unwrap();
    let golden = golden();
    assert_ids(&converted, &golden["texts"], &golden["vocabularies"]["llama3_1"]["ids"]);
    assert_eq!(converted.len(), text.tokenizer.len());
}

fn assert_parity(vocabulary: &str) {
    let golden = golden();
    let expected = &golden["vocabularies"][vocabulary];
    let (mut text, config) = load(vocabulary);
    assert_ids(&text.tokenizer, &golden["texts"], &expected["ids"]);
    let token = |token: &Option<Token>| token.clone().map(Token::content).unwrap_or_default();
    for (title, template) in expected["templates"].as_object().unwrap() {
        if let Some(file) = template["file"].as_str() {
            let source = read(&root().join(file)).or_else(|| read(&fixture(file))).unwrap();
            text.template = Some(ChatTemplate::parse(source, token(&config.bos_token), token(&config.eos_token)).unwrap());
        }
        for (conversation, chat) in list(&golden["conversations"]).iter().zip(list(&template["chats"])) {
            assert_chat(&text, conversation, chat, &format!("{title}, {}", conversation["name"]));
        }
    }
}

fn assert_ids(tokenizer: &Tokenizer, texts: &Value, ids: &Value) {
    assert!(list(texts).len() >= 60 && list(texts).len() == list(ids).len());
    for (text, ids) in list(texts).iter().zip(list(ids)) {
        assert_eq!(json!(tokenizer.encode(text.as_str().unwrap()).unwrap()), *ids, "{text}");
    }
}

fn assert_chat(text: &Text, conversation: &Value, expected: &Value, name: &str) {
    let messages: Vec<Message> = list(&conversation["messages"]).iter().map(message).collect();
    let tools = conversation["tools"].as_array().cloned().unwrap_or_default();
    let arguments = conversation["arguments"].as_object().cloned().unwrap_or_default();
    let rendered = text.render(&messages, &tools, &arguments);
    if let Some(error) = expected["error"].as_str() {
        let message = rendered.unwrap_err().message;
        assert!(message.contains(error), "{name}: {message}");
        return;
    }
    assert_eq!(rendered.unwrap(), expected["text"].as_str().unwrap(), "{name}");
    let (ids, _) = text.prepare(Prompt::Chat(messages), &tools, &arguments, Vec::new()).unwrap();
    assert_eq!(json!(ids), expected["ids"], "{name}");
    let once = text.bos.is_none_or(|bos| ids.iter().filter(|id| **id == bos).count() == 1);
    assert!(once, "{name}: one BOS");
}

fn message(sent: &Value) -> Message {
    let text = |field: &str| sent[field].as_str().map(str::to_owned);
    Message {
        role: text("role").unwrap(),
        content: text("content"),
        reasoning_content: text("reasoning_content"),
        name: None,
        tool_calls: sent.get("tool_calls").cloned(),
        tool_call_id: text("tool_call_id"),
    }
}

fn load(vocabulary: &str) -> (Text, TokenizerConfig) {
    let folder = root().join(vocabulary);
    let config = match vocabulary {
        "moonlight" => fixture("moonlight.json"),
        _ => folder.join(CONFIG),
    };
    let config = fs::read(config).unwrap();
    let parsed = serde_json::from_slice(&config).unwrap();
    let source = match vocabulary {
        "moonlight" => {
            let ranks = fs::read(folder.join("tiktoken.model")).unwrap();
            ModelSource::Embedded(vec![("tiktoken.model", &*ranks.leak()), (CONFIG, &*config.leak())].leak())
        }
        _ => ModelSource::Directory(folder),
    };
    (Text::load(&source).unwrap(), parsed)
}

fn root() -> PathBuf {
    let root = env::var_os("MILLRACE_TEST_TOKENIZERS");
    root.expect("MILLRACE_TEST_TOKENIZERS is not set: run `make test`, or see infra/README.md").into()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text").join(name)
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn golden() -> Value {
    serde_json::from_str(&read(&fixture("golden.json")).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}
