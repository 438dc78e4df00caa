//! What a proof measured, as lines on the screen and one JSON file in docs/figures.

use std::{fs, process::ExitCode, thread};

use serde_json::{Value, json};
use tests::servers::repository;

/// Claims of one proof, with the numbers that bear them out or do not.
pub(crate) struct Figures {
    name: String,
    claims: Vec<Value>,
    all_hold: bool,
}

impl Figures {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), claims: Vec::new(), all_hold: true }
    }

    /// The measured number must not exceed the limit.
    pub(crate) fn at_most(&mut self, what: &str, measured: f64, limit: f64) {
        self.claim(what, measured, json!({ "at_most": limit }), measured <= limit);
    }

    /// The measured number must reach the goal.
    pub(crate) fn at_least(&mut self, what: &str, measured: f64, goal: f64) {
        self.claim(what, measured, json!({ "at_least": goal }), measured >= goal);
    }

    /// Only reported.
    pub(crate) fn note(&mut self, what: &str, measured: f64) {
        self.claim(what, measured, Value::Null, true);
    }

    fn claim(&mut self, what: &str, measured: f64, goal: Value, holds: bool) {
        let measured = rounded(measured);
        println!("{} {what}: {measured:?} {goal}", if holds { "holds " } else { "BROKEN" });
        self.claims.push(json!({ "what": what, "measured": measured, "goal": goal, "holds": holds }));
        self.all_hold &= holds;
    }

    /// Writes the file; the exit code says whether all claims hold.
    pub(crate) fn publish(self) -> ExitCode {
        let figures = json!({
            "proof": self.name,
            "command": format!("make prove/{}", self.name),
            "date": chrono::Utc::now().format("%Y-%m-%d").to_string(),
            "machine": { "cores": thread::available_parallelism().map_or(0, usize::from), "processor": processor() },
            "holds": self.all_hold,
            "claims": self.claims,
        });
        let folder = repository("docs/figures");
        fs::create_dir_all(&folder).expect("the folder for figures");
        let file = folder.join(&self.name).with_extension("json");
        fs::write(&file, format!("{figures:#}\n")).expect("the figures are written");
        println!("written to {}", file.display());
        if self.all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The middle one of an odd number of measurements.
pub(crate) fn median<const N: usize>(mut numbers: [f64; N]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[N / 2]
}

/// To three places, and a small number to three digits.
fn rounded(number: f64) -> f64 {
    let digits = if number == 0.0 { 3 } else { (2 - number.abs().log10().floor() as i32).max(3) };
    format!("{number:.*}", digits as usize).parse().unwrap_or(number)
}

fn processor() -> String {
    let table = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}
