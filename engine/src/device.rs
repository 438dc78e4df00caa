//! Which device and number format the engine takes, and why. What the caller asked for is in `options.rs`.

use std::panic;

use cudarc::driver::{CudaContext, sys};

use crate::backend::cpu::Format;
use crate::error::LoadError;
use crate::options::{Device, Dtype};

/// The device taken, and the reason for the log.
pub(crate) struct Choice {
    pub(crate) device: &'static str,
    pub(crate) reason: String,
}

/// There are no CUDA kernels yet, so the choice is between the CPU and a refusal.
pub(crate) fn choose(asked: Device) -> Result<Choice, LoadError> {
    let reason = match asked {
        Device::Cpu => "asked for".to_owned(),
        Device::Auto => format!("{}; this build computes on the CPU", cuda_found()),
        Device::Cuda => {
            let reason = format!("cuda has no kernels in this build ({}); use auto or cpu", cuda_found());
            return Err(LoadError::option("device", reason));
        }
    };
    Ok(Choice { device: "cpu", reason })
}

/// The number format computed in. Left to us it is bf16 for weights that fit it, exactly or by design: half of f32's memory, and more than its speed
/// where the processor has AVX-512. Nobody gets int8 unasked, since that rounds the weights.
pub(crate) fn format(asked: Dtype, fits_bf16: bool) -> Format {
    match asked {
        Dtype::Auto if fits_bf16 => Format::Bf16,
        Dtype::Auto | Dtype::F32 => Format::F32,
        Dtype::Bf16 => Format::Bf16,
        Dtype::Int8 => Format::Int8,
    }
}

fn cuda_found() -> String {
    // SAFETY: the check only tries to open the driver library.
    let present = unsafe { sys::is_culib_present() };
    if !present {
        return "no CUDA driver found".to_owned();
    }
    // A driver library that lacks a symbol makes cudarc panic; to us that is a driver of no use.
    match panic::catch_unwind(CudaContext::device_count) {
        Ok(Ok(devices)) => format!("CUDA driver with {devices} device(s) found"),
        Ok(Err(_)) | Err(_) => "CUDA driver found, but it does not start".to_owned(),
    }
}
