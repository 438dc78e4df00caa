//! The grouped product of experts on one core, as a share of the peak that is measured beside it:
//! `cargo bench -p engine --bench gemm`. It writes docs/figures/gemm.json.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::Dtype;
use engine::bench::{GroupedProduct, peak};
use serde_json::{Value, json};

const EXPERTS: usize = 64;
const OUTPUTS: usize = 2816;
const INPUTS: usize = 2048;
const TOKENS: [usize; 7] = [1, 2, 4, 8, 24, 96, 192];

/// Each figure is the best of so many, peak and product in turn: others use the machine too.
const ROUNDS: usize = 6;

/// The goal where each expert has 96 tokens or more: giga-operations per second, or this share of the peak.
const GOALS: [(Dtype, &str, f64); 2] = [(Dtype::Bf16, "bf16", 190.0), (Dtype::Int8, "int8", 380.0)];
const PEAK_SHARE: f64 = 0.82;

fn main() {
    println!("{EXPERTS} experts of {OUTPUTS} x {INPUTS}, one core, conversion of the activations included");
    let formats: Vec<Value> = GOALS.into_iter().map(|(dtype, name, goal)| measure(dtype, name, goal)).collect();
    let holds = formats.iter().all(|format| format["holds"] == true);
    let figures = json!({
        "command": "cargo bench -p engine --bench gemm",
        "date": date(),
        "machine": { "processor": processor(), "threads": 1 },
        "shape": { "experts": EXPERTS, "outputs": OUTPUTS, "inputs": INPUTS },
        "holds": holds,
        "formats": formats,
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/figures/gemm.json");
    std::fs::write(&file, format!("{figures:#}\n")).expect("the figures are written");
}

fn measure(dtype: Dtype, name: &str, goal: f64) -> Value {
    let mut product = GroupedProduct::new(dtype, EXPERTS, OUTPUTS, INPUTS);
    println!("{name}, giga-operations/s:");
    let mut holds = true;
    let by_tokens = TOKENS.map(|tokens| {
        let (mut highest, mut speed) = (0.0f64, 0.0f64);
        for _ in 0..ROUNDS {
            highest = highest.max(peak(dtype) / 1e9);
            speed = speed.max(product.measure(tokens) / 1e9);
        }
        let share = speed / highest;
        println!("  {tokens:>3} tokens/expert: {speed:>4.0} of {highest:.0} ({:.0} %)", 100.0 * share);
        holds &= tokens < 96 || speed >= goal || share >= PEAK_SHARE;
        json!({
            "tokens_per_expert": tokens,
            "giga_operations_per_second": speed.round(),
            "peak": highest.round(),
            "share_of_peak": (share * 1000.0).round() / 1000.0,
        })
    });
    json!({ "format": name, "goal": goal, "or_share_of_peak": PEAK_SHARE, "holds": holds, "by_tokens": by_tokens })
}

fn processor() -> String {
    let table = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

/// Today as year-month-day, from the days since 1970 (the civil calendar in 400-year cycles from 1 March).
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", cycle * 400 + year_of_cycle + carry)
}
