//! `quantization_config`: of all ways to store weights in fewer bits, DeepSeek's FP8 blocks are read.

use crate::config::fields::Fields;
use crate::error::LoadError;

/// Rows and columns that share one scale; None where no weights are quantised.
pub(super) fn parse(root: &Fields) -> Result<Option<[usize; 2]>, LoadError> {
    let Some(config) = root.object("quantization_config")? else {
        return Ok(None);
    };
    config.expect("quant_method", None, &["fp8"])?;
    config.expect("fmt", Some("e4m3"), &["e4m3"])?;
    config.expect("activation_scheme", Some("dynamic"), &["dynamic"])?;
    let sizes = config.numbers("weight_block_size")?.unwrap_or_default();
    config.check("weight_block_size", sizes.len() == 2 && !sizes.contains(&0), "a number of rows and one of columns")?;
    Ok(Some([sizes[0] as usize, sizes[1] as usize]))
}
