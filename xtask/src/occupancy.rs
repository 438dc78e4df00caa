//! How many blocks of a kernel fit on a multiprocessor of an H100 or H200 at once.

const REGISTERS: u32 = 65_536;
const THREADS: u32 = 2048;
const BLOCKS: u32 = 32;
const SHARED_BYTES: u32 = 228 * 1024;
/// What the system keeps of a block's shared memory.
const RESERVED_BYTES: u32 = 1024;

/// Registers are given out to warps 256 at a time, shared memory to blocks 128 bytes at a time.
pub(crate) fn blocks(threads: u32, registers: u32, shared_bytes: u32) -> u32 {
    let warp_registers = (registers * 32).next_multiple_of(256).max(256);
    let by_registers = REGISTERS / warp_registers / threads.div_ceil(32);
    let by_shared = SHARED_BYTES / (shared_bytes + RESERVED_BYTES).next_multiple_of(128);
    BLOCKS.min(THREADS / threads).min(by_registers).min(by_shared)
}

/// Resident threads of all that could be, in percent.
pub(crate) fn percent(threads: u32, blocks: u32) -> u32 {
    threads * blocks * 100 / THREADS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_of_threads_registers_and_shared_memory_decides() {
        assert_eq!(blocks(1024, 32, 0), 2);
        assert_eq!(blocks(128, 168, 0), 3);
        assert_eq!(blocks(128, 32, 73_728), 3);
        assert_eq!(blocks(32, 16, 0), 32);
        assert_eq!(percent(128, 3), 18);
    }
}
