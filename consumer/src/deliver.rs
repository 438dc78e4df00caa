//! What has ended reaches its owner: result files and webhooks. Everything stays readable by polling, whatever happens here.

pub mod assemble;
pub mod webhooks;
