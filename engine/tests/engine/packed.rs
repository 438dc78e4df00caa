//! Packed weights in a file: a later start computes the same bits from it, and never from a file that is damaged or of other weights.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use engine::{Completion, Dtype, Engine, ModelSource, Options};
use tempfile::TempDir;

use crate::invariance::{DTYPES, assert_same, subject};
use crate::tiny::{FILES, options, run};

/// A folder with a model, and one for its packed weights.
struct Scene(TempDir);

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        fs::create_dir(scene.model()).unwrap();
        FILES.iter().for_each(|(name, bytes)| fs::write(scene.model().join(name), bytes).unwrap());
        scene
    }

    fn model(&self) -> PathBuf {
        self.0.path().join("model")
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("packed")
    }

    /// The answer after a start. The engine is gone when it returns, and the file is written.
    fn answer(&self, dtype: Dtype) -> Completion {
        self.answer_with(&Options { dtype, packed_cache: Some(self.cache()), ..options() })
    }

    fn answer_with(&self, options: &Options) -> Completion {
        run(&mut Engine::load(&ModelSource::Directory(self.model()), options).unwrap(), subject())
    }

    /// The answer of an engine that packs for itself.
    fn fresh_answer(&self, dtype: Dtype) -> Completion {
        self.answer_with(&Options { dtype, ..options() })
    }

    fn file(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

fn assert_different(a: &Completion, b: &Completion) {
    assert!(std::panic::catch_unwind(|| assert_same(a, b, "")).is_err());
}

/// Writes over a file and leaves its time as it was.
fn overwrite(path: &Path, bytes: &[u8]) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_later_start_computes_the_same_bits_from_the_file() {
    for dtype in DTYPES {
        let scene = Scene::new();
        let fresh = scene.fresh_answer(dtype);
        for start in ["first", "second"] {
            assert_same(&scene.answer(dtype), &fresh, &format!("{dtype:?}, {start} start"));
        }
        // With zeros for the words in its second half the answer is another: so it is this file that is computed from.
        let mut bytes = fs::read(scene.file()).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        fs::write(scene.file(), &bytes).unwrap();
        assert_different(&scene.answer(dtype), &fresh);
        assert!(fs::read(scene.file()).unwrap() == bytes, "it is not written again");
    }
}

#[test]
fn a_file_that_is_damaged_is_packed_again() {
    let scene = Scene::new();
    let whole = scene.answer(Dtype::Bf16);
    let bytes = fs::read(scene.file()).unwrap();
    let cut = [0, 5, 12, 50, 100, 5000, bytes.len() / 2, bytes.len() - 1].map(|length| bytes[..length].to_vec());
    let flipped = [0, 9, 15, 20, 79, 80, 200].map(|place| {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x41;
        bytes
    });
    for damaged in cut.into_iter().chain(flipped).chain([[bytes.as_slice(), &[0]].concat(), vec![7; bytes.len()]]) {
        fs::write(scene.file(), damaged).unwrap();
        assert_same(&scene.answer(Dtype::Bf16), &whole, "damaged");
        assert!(fs::read(scene.file()).unwrap() == bytes, "it is whole again");
    }
}

#[test]
fn other_weights_of_the_same_name_size_and_time_do_not_find_it() {
    let scene = Scene::new();
    let first = scene.answer(Dtype::F32);
    let weights = scene.model().join("model.safetensors");
    let original = fs::read(&weights).unwrap();
    let mut other = original.clone();
    let data = other.len() / 2;
    // Low bits of every second number.
    other[data..].chunks_exact_mut(4).for_each(|numbers| numbers[0] ^= 0x3f);
    overwrite(&weights, &other);
    let second = scene.answer(Dtype::F32);
    assert_different(&second, &first);
    assert_same(&second, &scene.fresh_answer(Dtype::F32), "other weights");
    overwrite(&weights, &original);
    assert_same(&scene.answer(Dtype::F32), &first, "the first weights again");
}

#[test]
fn weights_that_are_read_in_another_way_do_not_find_it() {
    let scene = Scene::new();
    let first = scene.answer(Dtype::F32);
    let config = scene.model().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    fields["rope_interleave"] = serde_json::json!(false);
    overwrite(&config, fields.to_string().as_bytes());
    let second = scene.answer(Dtype::F32);
    assert_different(&second, &first);
    assert_same(&second, &scene.fresh_answer(Dtype::F32), "not interleaved");
}

#[test]
fn each_format_has_a_file_of_its_own() {
    let scene = Scene::new();
    let answers = DTYPES.map(|dtype| scene.answer(dtype));
    assert_eq!(fs::read_dir(scene.cache()).unwrap().count(), 3);
    for (dtype, answer) in DTYPES.into_iter().zip(&answers) {
        assert_same(&scene.answer(dtype), answer, "beside others");
    }
}

#[test]
fn starts_at_the_same_time_do_not_disturb_each_other() {
    let scene = Scene::new();
    let fresh = scene.fresh_answer(Dtype::Int8);
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| scene.answer(Dtype::Int8))).collect();
        starts.into_iter().for_each(|start| assert_same(&start.join().unwrap(), &fresh, "at the same time"));
    });
    assert_same(&scene.answer(Dtype::Int8), &fresh, "afterwards");
    scene.file();
}

#[test]
fn a_folder_that_cannot_be_written_is_no_fault() {
    let scene = Scene::new();
    fs::write(scene.cache(), "a file is no folder").unwrap();
    assert_same(&scene.answer(Dtype::Bf16), &scene.fresh_answer(Dtype::Bf16), "without a file");
    assert_eq!(fs::read(scene.cache()).unwrap(), b"a file is no folder");
}

#[test]
fn nothing_is_kept_of_an_embedded_model() {
    let scene = Scene::new();
    drop(Engine::load(&ModelSource::Embedded(FILES), &Options { packed_cache: Some(scene.cache()), ..options() }).unwrap());
    assert!(!scene.cache().exists());
}

/// Files that an earlier version has left must not be taken for those of a later one that packs in another way. If this fails, raise
/// `VERSION` in `engine/src/backend/cpu/packed_file.rs`, and only then write the new sums here.
#[test]
fn what_is_packed_is_what_the_version_stands_for() {
    let sums = DTYPES.map(|dtype| {
        let scene = Scene::new();
        scene.answer(dtype);
        let bytes = fs::read(scene.file()).unwrap();
        let table = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
        let words = &bytes[(80 + table).next_multiple_of(4096)..];
        words.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    });
    assert_eq!(sums.map(|sum| format!("{sum:016x}")), ["7ed0dc5a52323b1f", "745e7ea8c37fa5d3", "55c3e44dd74ec0cc"]);
}
