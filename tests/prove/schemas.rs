//! Formatted answers of millrace-nano: which schemas of the official JSON Schema test suite are kept, whether the answers are
//! valid, and what formats cost in tokens per second. The suite comes in the source package of Python's `jsonschema`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use engine::{Completion, Engine, FinishReason, Format, Message, ModelSource, Options, Prompt, Request, Sampling};
use serde_json::{Value, json};
use tests::servers::repository;

use crate::figures::Figures;

const PACKAGE: &str = "jsonschema==4.26.0";
/// The folders of the suite, and the `$schema` of those cases that do not say theirs.
const DRAFTS: [(&str, &str); 2] =
    [("draft2020-12", "https://json-schema.org/draft/2020-12/schema"), ("draft7", "http://json-schema.org/draft-07/schema#")];
const SCHEMAS: usize = 500;
const ANSWER_TOKENS: u32 = 512;
/// Requests of the measurement of cost, all in one batch, and how often it is taken.
const BATCH: u64 = 64;
const ROUNDS: usize = 11;
const COST_TOKENS: u32 = 256;

pub(crate) fn prove(figures: &mut Figures) {
    let schemas = schemas();
    figures.at_least("schemas of the suite", schemas.len() as f64, SCHEMAS as f64);
    let mut engine = nano();
    let (mut kept, mut named, mut ended, mut cut, mut invalid, mut unjudged) = (0, 0, 0, 0, 0, 0);
    for schema in &schemas {
        match engine.add(0, request(ANSWER_TOKENS, Some(Format::JsonSchema(schema.clone())))) {
            Err(refusal) if names_its_cause(&refusal.message, schema) => named += 1,
            Err(refusal) => println!("cause not named: {} for {schema}", refusal.message),
            Ok(()) => {
                kept += 1;
                let answer = run(&mut engine).pop().expect("one answer");
                match (answer.finish_reason, is_valid(schema, &answer.text)) {
                    (FinishReason::Length, _) => cut += 1,
                    (FinishReason::Stop, Some(true)) => ended += 1,
                    (FinishReason::Stop, None) => unjudged += 1,
                    (FinishReason::Stop, Some(false)) => {
                        println!("invalid: {} for {schema}", answer.text);
                        invalid += 1;
                    }
                }
            }
        }
    }
    figures.at_least("schemas kept", f64::from(kept), 0.8 * SCHEMAS as f64);
    figures.at_least("share of the others refused with their cause", share(named, schemas.len() as i32 - kept), 1.0);
    figures.note("answers that ended in stop and are valid", f64::from(ended));
    figures.at_most("answers that ended in stop and are not valid", f64::from(invalid), 0.0);
    figures.note("answers to schemas that the validator itself does not take", f64::from(unjudged));
    figures.at_most("share of answers that ended in length", share(cut, kept), 0.02);
    cost(figures);
}

/// The same batch with and without a format, in turn; the median of the ratios counts. No answer can end before its last token.
fn cost(figures: &mut Figures) {
    let line = json!({ "type": "string", "minLength": 20, "maxLength": 60 });
    let schema = json!({ "type": "object", "properties": { "vendor": { "type": "string", "maxLength": 40 }, "total": { "type": "number" },
        "lines": { "type": "array", "items": line, "minItems": 100 } }, "required": ["vendor", "total", "lines"], "additionalProperties": false });
    let mut engine = nano();
    let rate = |engine: &mut Engine, format: Option<Format>| {
        for seed in 0..BATCH {
            let sampling = Sampling { temperature: Some(1.0), seed: Some(seed), ..Sampling::default() };
            let request = Request { sampling, ignore_eos: format.is_none(), ..request(COST_TOKENS, format.clone()) };
            engine.add(seed, request).expect("the request is taken");
        }
        let began = Instant::now();
        let tokens: u32 = run(engine).iter().map(|answer| answer.usage.completion).sum();
        assert_eq!(u64::from(tokens), BATCH * u64::from(COST_TOKENS), "both sides run the same tokens");
        f64::from(tokens) / began.elapsed().as_secs_f64()
    };
    let mut pairs: Vec<[f64; 2]> =
        (0..ROUNDS).map(|_| [rate(&mut engine, None), rate(&mut engine, Some(Format::JsonSchema(schema.clone())))]).collect();
    pairs.sort_by(|[free, formatted], [other_free, other_formatted]| (formatted / free).total_cmp(&(other_formatted / other_free)));
    let [free, formatted] = pairs[ROUNDS / 2];
    figures.note("tokens per second without a format, 64 requests at once", free);
    figures.note("tokens per second with a JSON schema", formatted);
    figures.at_most("share of the speed that the format costs", 1.0 - formatted / free, 0.05);
}

fn nano() -> Engine {
    let source = ModelSource::Directory(repository("models/millrace-nano"));
    Engine::load(&source, &Options { threads: 2, ..Options::default() }).expect("millrace-nano loads")
}

/// What a client sends who leaves sampling to the model's own settings.
fn request(max_tokens: u32, format: Option<Format>) -> Request {
    let text = "Return the following as compact JSON.\n\nKorti Medical LLC\nInvoice\nInvoice no: RE-29720\n16 x lamps 245.28\nAmount due: 663.37 USD";
    let message = Message { role: "user".to_owned(), content: Some(text.to_owned()), ..Message::default() };
    Request {
        max_tokens: Some(max_tokens),
        format,
        template_arguments: [("enable_thinking".to_owned(), json!(false))].into_iter().collect(),
        ..Request::new(Prompt::Chat(vec![message]))
    }
}

fn run(engine: &mut Engine) -> Vec<Completion> {
    let mut answers = Vec::new();
    while !engine.is_idle() {
        answers.extend(engine.step().into_iter().map(|finished| finished.outcome.expect("an answer")));
    }
    answers
}

/// None if the validator refuses the schema, as it does those whose `$schema` lies on a test server.
fn is_valid(schema: &Value, text: &str) -> Option<bool> {
    let validator = jsonschema::options().should_validate_formats(true).build(schema).ok()?;
    Some(serde_json::from_str(text).is_ok_and(|value| validator.is_valid(&value)))
}

/// The message quotes a keyword of the schema, or a value of one.
fn names_its_cause(message: &str, schema: &Value) -> bool {
    let mut words = Vec::new();
    collect_words(schema, &mut words);
    words.iter().any(|word| message.contains(word.as_str())) || message.contains("schema is false")
}

fn collect_words(schema: &Value, words: &mut Vec<String>) {
    match schema {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            words.push(name.clone());
            collect_words(value, words);
        }),
        Value::Array(list) => list.iter().for_each(|value| collect_words(value, words)),
        Value::String(text) if text.len() > 2 => words.push(text.clone()),
        _ => {}
    }
}

/// As many schemas of the suite as are wanted, in the order of drafts, files and cases.
fn schemas() -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let done = |command: &mut Command| assert!(command.status().expect("the command can be run").success(), "{command:?} failed");
    done(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", PACKAGE, "-d"])
            .arg(folder.path()),
    );
    let package = fs::read_dir(folder.path()).expect("the folder").next().expect("a package").expect("an entry").path();
    done(Command::new("tar").arg("-xzf").arg(package).arg("--strip-components=1").arg("-C").arg(folder.path()));
    let files = DRAFTS.iter().flat_map(|(name, dialect)| {
        let files = json_files(&folder.path().join("json/tests").join(name));
        files.into_iter().map(move |file| (file, *dialect))
    });
    let cases = files.flat_map(|(file, dialect)| {
        let cases: Vec<Value> = serde_json::from_slice(&fs::read(file).expect("a file of the suite")).expect("cases");
        cases.into_iter().map(move |mut case| with_dialect(case["schema"].take(), dialect))
    });
    cases.take(SCHEMAS).collect()
}

fn with_dialect(mut schema: Value, dialect: &str) -> Value {
    if let Some(keywords) = schema.as_object_mut() {
        keywords.entry("$schema").or_insert_with(|| dialect.into());
    }
    schema
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a draft of the suite");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    files
}

fn share(part: i32, whole: i32) -> f64 {
    f64::from(part) / f64::from(whole.max(1))
}
