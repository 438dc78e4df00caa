//! From a prompt to token ids: template, tokenizer and the one BOS. The way back is `answer.rs`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::{Answer, ThinkTokens};
use crate::chat::ChatTemplate;
use crate::error::LoadError;
use crate::options::ModelSource;
use crate::request::{Message, Prompt, Refusal};
use crate::tokenizer::{Added, Tokenizer};

const CONFIG: &str = "tokenizer_config.json";

/// Everything about a model that concerns text.
pub(crate) struct Text {
    pub(crate) tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// The token every prompt begins with, where the model wants one.
    bos: Option<u32>,
    think: ThinkTokens,
}

/// The part of `tokenizer_config.json` that matters here.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    add_bos_token: Option<bool>,
    chat_template: Option<Template>,
    #[serde(default)]
    added_tokens_decoder: BTreeMap<u32, Added>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Token {
    Plain(String),
    Described { content: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl Text {
    pub(crate) fn load(source: &ModelSource) -> Result<Text, LoadError> {
        let config: TokenizerConfig = match source.read(CONFIG)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| LoadError::malformed(CONFIG, error))?,
            None => TokenizerConfig::default(),
        };
        let tokenizer = Tokenizer::load(source, &config.added_tokens_decoder)?;
        let separate = source.read("chat_template.jinja")?;
        let separate = separate.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let bos_token = config.bos_token.map(Token::content);
        let named_bos = bos_token.as_deref().and_then(|token| tokenizer.id(token));
        let wants_bos = config.add_bos_token.unwrap_or(named_bos.is_some() && tokenizer.first_added() == named_bos);
        let template = separate.or(config.chat_template.and_then(Template::chosen)).map(|template| {
            let eos_token = config.eos_token.map(Token::content).unwrap_or_default();
            ChatTemplate::parse(template, bos_token.unwrap_or_default(), eos_token)
        });
        Ok(Text { bos: named_bos.filter(|_| wants_bos), think: ThinkTokens::of(&tokenizer), template: template.transpose()?, tokenizer })
    }

    /// The prompt's token ids, and the answer that is to grow from them.
    pub(crate) fn prepare(
        &self,
        prompt: Prompt,
        tools: &[Value],
        arguments: &Map<String, Value>,
        stops: Vec<String>,
    ) -> Result<(Vec<u32>, Answer), Refusal> {
        match prompt {
            Prompt::Tokens(tokens) => Ok((tokens, Answer::plain(stops))),
            Prompt::Text(text) => Ok((self.encode(&text, "prompt")?, Answer::plain(stops))),
            Prompt::Chat(messages) => {
                let rendered = self.render(&messages, tools, arguments)?;
                let mut answer = Answer::chat(stops, self.think, &rendered);
                if arguments.values().any(|switch| *switch == Value::Bool(false)) {
                    answer.forbid_thinking();
                }
                Ok((self.encode(&rendered, "messages")?, answer))
            }
        }
    }

    fn render(&self, messages: &[Message], tools: &[Value], arguments: &Map<String, Value>) -> Result<String, Refusal> {
        let missing = || Refusal::invalid("messages", "this model has no chat template; use completions".to_owned());
        self.template.as_ref().ok_or_else(missing)?.render(messages, tools, arguments)
    }

    /// A template usually writes BOS itself, a plain text does not: afterwards it is there once.
    fn encode(&self, text: &str, param: &'static str) -> Result<Vec<u32>, Refusal> {
        let encoded = self.tokenizer.encode(text);
        let mut ids = encoded.map_err(|error| Refusal::invalid(param, format!("cannot be tokenised: {error}")))?;
        if let Some(bos) = self.bos.filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }
}

impl Token {
    fn content(self) -> String {
        match self {
            Token::Plain(content) | Token::Described { content } => content,
        }
    }
}

impl Template {
    fn chosen(self) -> Option<String> {
        match self {
            Template::One(template) => Some(template),
            Template::Named(templates) => {
                templates.into_iter().find(|template| template.name == "default").map(|template| template.template)
            }
        }
    }
}

#[cfg(test)]
mod tests;
