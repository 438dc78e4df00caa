// Rotation by position, of queries and on the way into the cache. Pairs lie in two halves: (x[i], x[i + pairs]).
// launch: rope_heads threads=256
// launch: mla_cache threads=128
// launch: gqa_cache threads=128
#include "common.cuh"

struct Pair {
    float first, second;
};

__device__ __forceinline__ Pair rotate(const bf16* x, const Rotary& rotary, int position, int pair) {
    u64 angle = (u64)position * rotary.pairs + pair;
    float cosine = rotary.cosines[angle], sine = rotary.sines[angle];
    float first = to_float(x[pair]), second = to_float(x[pair + rotary.pairs]);
    return {first * cosine - second * sine, second * cosine + first * sine};
}

__device__ __forceinline__ void put(bf16* out, const Rotary& rotary, int pair, Pair x) {
    out[pair] = to_bf16(x.first);
    out[pair + rotary.pairs] = to_bf16(x.second);
}

// The last 2 x pairs channels of each head of x [rows, heads, x_head], rotated, to the last of each head of out [rows, heads, out_head].
// One thread a pair.
KERNEL(256, 4)
rope_heads(const bf16* x, int x_head, bf16* out, int out_head, int heads, Rotary rotary, const int* position, int rows) {
    u64 index = (u64)blockIdx.x * 256 + threadIdx.x;
    u64 head = index / rotary.pairs;
    int pair = index % rotary.pairs, row = head / heads;
    if (row >= rows || position[row] < 0) return;
    const bf16* from = x + (head + 1) * x_head - 2 * rotary.pairs;
    put(out + (head + 1) * out_head - 2 * rotary.pairs, rotary, pair, rotate(from, rotary, position[row], pair));
}

// cache[slot] = [rms_norm(latent) | rope(key)]; x [rows, latent + 2 x pairs]. One warp a row.
KERNEL(128, 8)
mla_cache(const bf16* x, const float* weight, float epsilon, Rotary rotary, const int* position, const int* slot, bf16* cache, int latent,
          int rows) {
    int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows || position[row] < 0) return;
    int width = latent + 2 * rotary.pairs;
    const bf16* from = x + (u64)row * width;
    bf16* entry = cache + (u64)slot[row] * width;
    float sum = 0.0f, v[8];
    for (int i = lane; i < latent / 8; i += 32) {
        unpack8(((const uint4*)from)[i], v);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += v[j] * v[j];
    }
    float scale = rsqrtf(warp_sum(sum) / latent + epsilon);
    for (int i = lane; i < latent / 8; i += 32) {
        unpack8(((const uint4*)from)[i], v);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = v[j] * scale * weight[8 * i + j];
        ((uint4*)entry)[i] = pack8(v);
    }
    for (int pair = lane; pair < rotary.pairs; pair += 32)
        put(entry + latent, rotary, pair, rotate(from + latent, rotary, position[row], pair));
}

// cache[slot] = [rope(keys) | values]; keys and values [rows, width] of heads that rotate whole. One block a row.
KERNEL(128, 8)
gqa_cache(const bf16* keys, const bf16* values, Rotary rotary, const int* position, const int* slot, bf16* cache, int width, int rows) {
    int row = blockIdx.x;
    if (row >= rows || position[row] < 0) return;
    bf16* entry = cache + (u64)slot[row] * 2 * width;
    for (int i = threadIdx.x; i < width / 2; i += blockDim.x) {
        int first = i / rotary.pairs * 2 * rotary.pairs, pair = i % rotary.pairs;
        put(entry + first, rotary, pair, rotate(keys + (u64)row * width + first, rotary, position[row], pair));
    }
    for (int i = threadIdx.x; i < width / 8; i += blockDim.x) ((uint4*)(entry + width))[i] = ((const uint4*)(values + (u64)row * width))[i];
}
