//! The tensors of a checkpoint: one or several safetensors files, mapped. What is in a tensor is read in `weights/tensor.rs`.

mod fp8;
mod identity;
mod tensor;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::error::LoadError;
use crate::options::ModelSource;
use crate::shape::random_tensor;
use crate::source::FileBytes;
use tensor::Numbers;
pub(crate) use tensor::Tensor;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What follows the name of an FP8 tensor in the name of its scales.
const SCALES: &str = "_scale_inv";

/// Where every tensor of the model lies.
pub(crate) struct Weights {
    /// The files by name, in order.
    shards: Vec<(String, FileBytes)>,
    places: HashMap<String, Place>,
    /// Rows and columns of an FP8 tensor that share a scale.
    block: Option<[usize; 2]>,
    /// Numbers made up so far, where there are no files.
    random: Option<AtomicU64>,
}

struct Place {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Weights {
    /// Reads the headers; the numbers stay where they are. `block` is that of FP8 tensors.
    pub(crate) fn open(source: &ModelSource, block: Option<[usize; 2]>) -> Result<Weights, LoadError> {
        let random = matches!(source, ModelSource::Random { .. }).then(AtomicU64::default);
        let mut weights = Weights { shards: Vec::new(), places: HashMap::new(), block, random };
        if weights.random.is_some() {
            return Ok(weights);
        }
        for name in shard_names(source)? {
            let bytes = source.map(&name)?.ok_or_else(|| LoadError::Missing(name.clone()))?;
            weights.add_shard(&name, bytes)?;
        }
        Ok(weights)
    }

    /// Numbers in all tensors together, but for scales; of random ones, in those that were asked for.
    pub(crate) fn parameters(&self) -> u64 {
        if let Some(random) = &self.random {
            return random.load(Relaxed);
        }
        let weights = self.places.iter().filter(|(name, _)| !name.ends_with(SCALES));
        weights.map(|(_, place)| place.shape.iter().map(|size| *size as u64).product::<u64>()).sum()
    }

    /// Whether all matrices are stored in bf16, or in the blocks of FP8 that are made for it. Vectors are computed with in f32 anyway.
    pub(crate) fn fit_bf16(&self) -> bool {
        let mut matrices = self.places.iter().filter(|(name, place)| place.shape.len() > 1 && !name.ends_with(SCALES)).peekable();
        matrices.peek().is_some() && matrices.all(|(_, place)| matches!(place.dtype, Dtype::BF16 | Dtype::F8_E4M3))
    }

    /// Whether any tensor lies under this prefix; of random ones, all are there.
    pub(crate) fn has(&self, prefix: &str) -> bool {
        self.random.is_some() || self.places.keys().any(|name| name.starts_with(prefix))
    }

    /// A tensor, if it has exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>, LoadError> {
        Ok(Tensor::new(shape, self.numbers(name, shape)?))
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers<'_>, LoadError> {
        if let Some(random) = &self.random {
            random.fetch_add(shape.iter().map(|size| *size as u64).product(), Relaxed);
            return Ok(Numbers::Random(random_tensor(name, shape)));
        }
        let place = self.place(name, shape)?;
        let bytes = self.bytes(place);
        match place.dtype {
            Dtype::F32 => Ok(Numbers::F32(bytes)),
            Dtype::BF16 => Ok(Numbers::Bf16(bytes)),
            Dtype::F16 => Ok(Numbers::F16(bytes)),
            Dtype::F8_E4M3 => self.fp8(name, shape, bytes).map(Numbers::Fp8),
            other => Err(wrong(name, format!("has dtype {other:?}; F32, BF16, F16 and F8_E4M3 are read"))),
        }
    }

    /// An FP8 matrix, which has its scales beside it.
    fn fp8<'a>(&self, name: &str, shape: &[usize], bytes: &'a [u8]) -> Result<fp8::Blocks<'a>, LoadError> {
        let ([rows, columns], Some(block)) = (shape, self.block) else {
            return Err(wrong(name, "is F8_E4M3, but no matrix of blocks that config.json knows".to_owned()));
        };
        let scales_name = format!("{name}{SCALES}");
        let scales = self.place(&scales_name, &[rows.div_ceil(block[0]), columns.div_ceil(block[1])])?;
        let unknown = || wrong(&scales_name, format!("has dtype {:?}; F32, BF16 and F8_E8M0 are read", scales.dtype));
        let scales = fp8::scales(self.bytes(scales), scales.dtype).ok_or_else(unknown)?;
        Ok(fp8::Blocks::new(bytes, *columns, block, scales))
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<&Place, LoadError> {
        let place = self.places.get(name).ok_or_else(|| wrong(name, "missing".to_owned()))?;
        if place.shape != shape {
            return Err(wrong(name, format!("has shape {:?}, config.json asks for {shape:?}", place.shape)));
        }
        Ok(place)
    }

    fn bytes(&self, place: &Place) -> &[u8] {
        &self.shards[place.shard].1[place.start..place.end]
    }

    fn add_shard(&mut self, name: &str, bytes: FileBytes) -> Result<(), LoadError> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| LoadError::malformed(name, error))?;
        let data = header + size_of::<u64>();
        for (tensor, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let place =
                Place { shard: self.shards.len(), dtype: info.dtype, shape: info.shape.clone(), start: data + start, end: data + end };
            if self.places.insert(tensor.clone(), place).is_some() {
                return Err(LoadError::malformed(name, format!("{tensor} is in more than one file")));
            }
        }
        self.shards.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// The weight files, in order; an index may only name files beside it.
fn shard_names(source: &ModelSource) -> Result<Vec<String>, LoadError> {
    let Some(bytes) = source.read(INDEX)? else {
        return Ok(vec![SINGLE.to_owned()]);
    };
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| LoadError::malformed(INDEX, error))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    match names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        Some(name) => Err(LoadError::malformed(INDEX, format!("{name:?} is not a plain file name"))),
        None => Ok(names),
    }
}

fn wrong(name: &str, reason: String) -> LoadError {
    LoadError::Tensor { name: name.to_owned(), reason }
}
