// Words of all kernels: number formats, exchange within a warp, asynchronous copies, matrix instructions, and the paged context of a row.
// No CUDA header is included. With EMULATOR the same words come from `emulator/device.h`, and kernels run on the host.
#pragma once

typedef unsigned char u8;
typedef unsigned short bf16;  // its bits
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef EMULATOR
#include "emulator/device.h"
#else

#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) u8 name[]

__device__ __forceinline__ float as_float(u32 bits) { return __uint_as_float(bits); }
__device__ __forceinline__ u32 as_bits(float x) { return __float_as_uint(x); }

// Two numbers rounded to bf16, the first in the low half.
__device__ __forceinline__ u32 pack(float low, float high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

template <class T> __device__ __forceinline__ T shuffle(T x, int lane) { return __shfl_sync(~0u, x, lane); }
template <class T> __device__ __forceinline__ T shuffle_xor(T x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
template <class T> __device__ __forceinline__ T shuffle_up(T x, int lanes) { return __shfl_up_sync(~0u, x, lanes); }
__device__ __forceinline__ u32 ballot(bool yes) { return __ballot_sync(~0u, yes); }
__device__ __forceinline__ void sync_block() { __syncthreads(); }
__device__ __forceinline__ void sync_warp() { __syncwarp(); }

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Copies 16 bytes to shared memory, or zeros if they are not `valid`; `from` must be an address of the buffer even then.
__device__ __forceinline__ void copy16(void* to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most so many of the latest groups of this thread are on their way.
template <int PENDING> __device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

// Four 8x8 matrices of 16-bit numbers; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_matrices(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c[16, 8] += a[16, 16] b[8, 16]^T
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Atomic, in shared memory; returns what was there. Sums of integers do not depend on the order.
__device__ __forceinline__ u32 add_shared(u32* to, u32 x) { return atomicAdd(to, x); }

#if __CUDA_ARCH__ >= 890
// c[16, 8] += a[16, 32] b[8, 32]^T
__device__ __forceinline__ void multiply_e4m3(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Two numbers rounded to e4m3, the first in the low byte; beyond 448 they are cut off.
__device__ __forceinline__ u32 pack_e4m3(float low, float high) {
    unsigned short both;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(both) : "f"(high), "f"(low));
    return both;
}
#endif
#endif

#define INFINITY_F as_float(0x7f800000u)
#define LOG2_E 1.44269504f
#define LN_2 0.69314718f

__device__ __forceinline__ float to_float(bf16 x) { return as_float((u32)x << 16); }
__device__ __forceinline__ float low_float(u32 pair) { return as_float(pair << 16); }
__device__ __forceinline__ float high_float(u32 pair) { return as_float(pair & 0xffff0000u); }
__device__ __forceinline__ bf16 to_bf16(float x) { return (bf16)pack(x, 0.0f); }
__device__ __forceinline__ float silu(float x) { return x / (1.0f + exp2_fast(-LOG2_E * x)); }
__device__ __forceinline__ int ceil_div(int a, int b) { return (a + b - 1) / b; }

// 64 bits as two halves with a carry, in that order in memory: an atomic of 64 bits would be a loop of compare and swap.
__device__ __forceinline__ void add_shared(u64* to, u64 x) {
    u32 low = (u32)x, before = add_shared((u32*)to, low), high = (u32)(x >> 32) + (before + low < before);
    if (high) add_shared((u32*)to + 1, high);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
    return x;
}

// Eight bf16 as 16 bytes, and as floats.
__device__ __forceinline__ void unpack8(uint4 chunk, float (&x)[8]) {
    const u32 pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
    for (int i = 0; i < 4; i++) x[2 * i] = low_float(pairs[i]), x[2 * i + 1] = high_float(pairs[i]);
}
__device__ __forceinline__ uint4 pack8(const float (&x)[8]) {
    return make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7]));
}

// Where each row looks: `batch.rs` on the device.
struct Paged {
    const int *span, *position;     // [rows]
    const int *first, *page_start;  // [spans]
    const int* pages;
    int page_tokens;
};

// The positions `begin..end` that a row looks at, and the pages of its span.
struct Context {
    const int* pages;
    int page_tokens, begin, end;

    __device__ __forceinline__ Context(const Paged& paged, int row) {
        end = paged.position[row] + 1;
        int span = end > 0 ? paged.span[row] : 0;
        begin = end > 0 ? paged.first[span] : 0;
        pages = paged.pages + (end > 0 ? paged.page_start[span] : 0);
        page_tokens = paged.page_tokens;
    }
    __device__ __forceinline__ int slot(int position) const { return pages[position / page_tokens] * page_tokens + position % page_tokens; }
};

// Cosines and sines of every position: `model/rope.rs` on the device.
struct Rotary {
    const float *cosines, *sines;  // [positions, pairs]
    int pairs;
};
