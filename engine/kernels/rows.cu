// Operations on rows alone: embedding, selection, norms, biases, gates. All are bound by memory: 16 bytes a thread and access.
// launch: embed threads=128
// launch: select_rows threads=128
// launch: rms_norm_f32 threads=256
// launch: rms_norm_bf16 threads=256
// launch: add_bias_f32 threads=128
// launch: add_bias_bf16 threads=128
// launch: clamp threads=128
// launch: swiglu threads=128
#include "common.cuh"

// out[row] = table[tokens[row]]; table [vocabulary, width] bf16, out f32.
KERNEL(128, 8) embed(const u32* tokens, const bf16* table, float* out, int width) {
    const uint4* from = (const uint4*)(table + (u64)tokens[blockIdx.x] * width);
    float4* to = (float4*)(out + (u64)blockIdx.x * width);
    for (int i = threadIdx.x; i < width / 8; i += blockDim.x) {
        float x[8];
        unpack8(from[i], x);
        to[2 * i] = make_float4(x[0], x[1], x[2], x[3]);
        to[2 * i + 1] = make_float4(x[4], x[5], x[6], x[7]);
    }
}

// out[i] = x[rows[i]], whatever the numbers are.
KERNEL(128, 8) select_rows(const u32* rows, const u8* x, u8* out, int row_bytes) {
    const u8* from = x + (u64)rows[blockIdx.x] * row_bytes;
    u8* to = out + (u64)blockIdx.x * row_bytes;
    if (row_bytes % 16 == 0) {
        for (int i = threadIdx.x; i < row_bytes / 16; i += blockDim.x) ((uint4*)to)[i] = ((const uint4*)from)[i];
    } else {
        for (int i = threadIdx.x; i < row_bytes / 4; i += blockDim.x) ((u32*)to)[i] = ((const u32*)from)[i];
    }
}

// x += delta; out = x / rms(x) * weight. One block a row: the stream is wide.
KERNEL(256, 4) rms_norm_f32(float* x, const bf16* delta, const float* weight, float epsilon, bf16* out, int width) {
    __shared__ float sums[8];
    float* row = x + (u64)blockIdx.x * width;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width / 4; i += blockDim.x) {
        float4 v = ((float4*)row)[i];
        if (delta) {
            uint2 d = ((const uint2*)(delta + (u64)blockIdx.x * width))[i];
            v = make_float4(v.x + low_float(d.x), v.y + high_float(d.x), v.z + low_float(d.y), v.w + high_float(d.y));
            ((float4*)row)[i] = v;
        }
        sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    sync_block();
    float total = 0.0f;
#pragma unroll
    for (int warp = 0; warp < 8; warp++) total += sums[warp];
    float scale = rsqrtf(total / width + epsilon);
    for (int i = threadIdx.x; i < width / 4; i += blockDim.x) {
        float4 v = ((float4*)row)[i], w = ((const float4*)weight)[i];
        uint2 rounded = make_uint2(pack(v.x * scale * w.x, v.y * scale * w.y), pack(v.z * scale * w.z, v.w * scale * w.w));
        ((uint2*)(out + (u64)blockIdx.x * width))[i] = rounded;
    }
}

// The same for bf16 rows, or for parts of rows as wide as the weights: one warp a part, since heads are narrow.
KERNEL(256, 4) rms_norm_bf16(const bf16* x, const float* weight, float epsilon, bf16* out, int width, int parts) {
    int part = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (part >= parts) return;
    const uint4* row = (const uint4*)(x + (u64)part * width);
    float sum = 0.0f, v[8];
    for (int i = lane; i < width / 8; i += 32) {
        unpack8(row[i], v);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += v[j] * v[j];
    }
    float scale = rsqrtf(warp_sum(sum) / width + epsilon);
    for (int i = lane; i < width / 8; i += 32) {
        unpack8(row[i], v);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = v[j] * scale * weight[8 * i + j];
        ((uint4*)(out + (u64)part * width))[i] = pack8(v);
    }
}

KERNEL(128, 8) add_bias_f32(const float* bias, float* out, int width, int total) {
    for (int i = blockIdx.x * 1024 + threadIdx.x; i < min(total, (int)blockIdx.x * 1024 + 1024); i += blockDim.x) out[i] += bias[i % width];
}

KERNEL(128, 8) add_bias_bf16(const float* bias, bf16* out, int width, int total) {
    int i = (blockIdx.x * 128 + threadIdx.x) * 8;
    if (i >= total) return;
    float v[8];
    unpack8(*(uint4*)(out + i), v);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] += bias[i % width + j];
    *(uint4*)(out + i) = pack8(v);
}

KERNEL(128, 8) clamp(float limit, bf16* out, int total) {
    int i = (blockIdx.x * 128 + threadIdx.x) * 8;
    if (i >= total) return;
    float v[8];
    unpack8(*(uint4*)(out + i), v);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = fminf(fmaxf(v[j], -limit), limit);
    *(uint4*)(out + i) = pack8(v);
}

// out = silu(gate) * up; x holds the gates of a row, then its ups.
KERNEL(128, 8) swiglu(const bf16* x, bf16* out, int width, int total) {
    int i = (blockIdx.x * 128 + threadIdx.x) * 8;
    if (i >= total) return;
    const bf16* row = x + (u64)(i / width) * 2 * width + i % width;
    float gate[8], up[8];
    unpack8(*(const uint4*)row, gate);
    unpack8(*(const uint4*)(row + width), up);
#pragma unroll
    for (int j = 0; j < 8; j++) gate[j] = silu(gate[j]) * up[j];
    *(uint4*)(out + i) = pack8(gate);
}
