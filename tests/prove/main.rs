//! The long proofs: `prove` lists them, `prove NAME` runs one and writes what it measured to docs/figures. What a test can show is a test.

mod documents;
mod figures;
mod formats;
mod fuzz;
mod hostile;
mod large_file;
mod many_chats;
mod prefix;
mod run;
mod schemas;
mod speculation;

use std::process::ExitCode;

use figures::Figures;

const PROOFS: [(&str, &str); 9] = [
    ("documents", "millrace-nano answers examples/documents.jsonl as expected"),
    ("formats", "what bf16 and int8 cost: the error of each operation, and millrace-nano's scores on 2,000 documents"),
    ("fuzz", "broken model files, half an hour for each kind"),
    ("hostile", "10,000 requests with cancels, aborts and a tiny cache: all end once, answers stay the same, memory returns to its floor"),
    ("large-file", "50,000 lines in 200 MB, on both backings, without a model: time to queue, rate, memory"),
    ("many-chats", "1,000 chats that wait at once, and how fast others are accepted meanwhile"),
    ("prefix", "four prefixes in turn: the engine's order of admission against first come, first served"),
    ("schemas", "500 schemas of the official test suite: kept or refused by name, valid answers, cost"),
    ("speculation", "drafts of the multi-token prediction layer: share that is right, speed with and without, same answers"),
];

#[tokio::main]
async fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let mut figures = Figures::new(&name);
    match name.as_str() {
        "documents" => documents::prove(&mut figures),
        "formats" => formats::prove(&mut figures),
        "fuzz" => fuzz::prove(&mut figures),
        "hostile" => hostile::prove(&mut figures),
        "large-file" => large_file::prove(&mut figures).await,
        "many-chats" => many_chats::prove(&mut figures).await,
        "prefix" => prefix::prove(&mut figures),
        "schemas" => schemas::prove(&mut figures),
        "speculation" => speculation::prove(&mut figures),
        _ => {
            PROOFS.iter().for_each(|(name, about)| println!("make prove/{name:<12} {about}"));
            return if name.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    }
    figures.publish()
}
