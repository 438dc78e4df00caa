// Causal attention of up to 64 consecutive rows of a span, one head a block: each of four warps has 16 rows, all share tiles of 64 keys and
// values, and the next keys are on their way while values are multiplied.
//
// queries [rows, heads, HEAD], cache [slots, keys groups x HEAD | values groups x HEAD], blocks {first row, rows}, out [rows, heads, HEAD],
// lse [rows, heads] or null.
// launch: gqa_prefill_64 threads=128 shared=36864 tile=64
// launch: gqa_prefill_128 threads=128 shared=69632 tile=64
#include "attend.cuh"

constexpr int TOKENS = 64;

template <int HEAD> __device__ __forceinline__ void gqa_prefill(const bf16* queries, const bf16* cache, const Paged& paged,
                                                                const int2* blocks, int groups, int heads, float scale, bf16* out,
                                                                float* lse) {
    constexpr int STRIDE = HEAD + 8, HALF = TOKENS * STRIDE, CHUNKS = HEAD / 8, TILES = HEAD / 8;
    DYNAMIC_SHARED(shared);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.x, group = head / (heads / groups),
              entry = 2 * groups * HEAD;
    const int2 block = blocks[gridDim.y - 1 - blockIdx.y];  // the longest contexts first
    const Context context(paged, block.x + block.y - 1);
    const int tiles = ceil_div(context.end - context.begin, TOKENS);

    u32 q[HEAD / 16][4];
    int ends[2];
    const bf16* rows[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int index = warp * 16 + lane / 4 + half * 8;
        rows[half] = index < block.y ? queries + ((u64)(block.x + index) * heads + head) * HEAD : nullptr;
        ends[half] = index < block.y ? paged.position[block.x + index] + 1 : 0;
    }
#pragma unroll
    for (int k = 0; k < HEAD / 16; k++) load_operand(q[k], rows[0] ? rows[0] + k * 16 : nullptr, rows[1] ? rows[1] + k * 16 : nullptr);
    const int warp_last = min(warp * 16 + 15, block.y - 1), warp_end = warp * 16 < block.y ? paged.position[block.x + warp_last] + 1 : 0;

    // Keys (side 0) or values (side 1) of a tile: two stages of both.
    bf16* stages = (bf16*)shared;
    auto copy = [&](int index, int side) {
        if (index < tiles) {
            bf16* to = stages + (index % 2 * 2 + side) * HALF;
#pragma unroll
            for (int i = 0; i < TOKENS * CHUNKS / 128; i++) {
                int chunk = i * 128 + threadIdx.x, part = chunk % CHUNKS, token = chunk / CHUNKS,
                    position = context.begin + index * TOKENS + token;
                bool valid = position < context.end;
                const bf16* from = cache + (u64)(valid ? context.slot(position) : 0) * entry + (side * groups + group) * HEAD + part * 8;
                copy16(to + token * STRIDE + part * 8, from, valid);
            }
        }
        copies_commit();
    };

    float sums[TILES][4] = {};
    Softmax softmax;
    copy(0, 0);
    copy(0, 1);
    for (int index = 0; index < tiles; index++) {
        copies_wait<1>();
        sync_block();  // keys are here, and the other stage is free
        copy(index + 1, 0);
        const int first = context.begin + index * TOKENS;
        const bf16* keys = stages + index % 2 * 2 * HALF;
        const bool looks = first < warp_end;  // the same for all lanes
        u32 p[TOKENS / 16][4];
        float correction[2];
        if (looks) {
            float scores[TOKENS / 8][4] = {};
#pragma unroll
            for (int k = 0; k < HEAD / 16; k++)
#pragma unroll
                for (int j = 0; j < TOKENS / 16; j++) {
                    u32 b[4];
                    load_matrices(b, keys + (j * 16 + lane % 8 + lane / 16 * 8) * STRIDE + lane / 8 % 2 * 8 + k * 16);
                    multiply_bf16(scores[2 * j], q[k], b[0], b[1]);
                    multiply_bf16(scores[2 * j + 1], q[k], b[2], b[3]);
                }
#pragma unroll
            for (int j = 0; j < TOKENS / 8; j++)
#pragma unroll
                for (int c = 0; c < 4; c++)
                    scores[j][c] = first + j * 8 + lane % 4 * 2 + c % 2 < ends[c / 2] ? scores[j][c] * (scale * LOG2_E) : -INFINITY_F;
            softmax.next(scores, correction);
#pragma unroll
            for (int k = 0; k < TOKENS / 16; k++) as_operand(p[k], scores[2 * k], scores[2 * k + 1]);
        }
        copies_wait<1>();
        sync_block();  // values are here
        copy(index + 1, 1);
        if (looks) {
#pragma unroll
            for (int j = 0; j < TILES; j++)
#pragma unroll
                for (int c = 0; c < 4; c++) sums[j][c] *= correction[c / 2];
#pragma unroll
            for (int k = 0; k < TOKENS / 16; k++)
#pragma unroll
                for (int j = 0; j < TILES / 2; j++) {
                    u32 b[4];
                    load_matrices_transposed(b, keys + HALF + (k * 16 + lane % 16) * STRIDE + lane / 16 * 8 + j * 16);
                    multiply_bf16(sums[2 * j], p[k], b[0], b[1]);
                    multiply_bf16(sums[2 * j + 1], p[k], b[2], b[3]);
                }
        }
    }

#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = block.x + warp * 16 + lane / 4 + half * 8;
        if (ends[half] <= 0) continue;
        bf16* to = out + ((u64)row * heads + head) * HEAD + lane % 4 * 2;
        const float share = 1.0f / softmax.total[half];
#pragma unroll
        for (int j = 0; j < TILES; j++) *(u32*)(to + j * 8) = pack(sums[j][2 * half] * share, sums[j][2 * half + 1] * share);
        if (lse && lane % 4 == 0) lse[(u64)row * heads + head] = log_sum(softmax.highest[half], softmax.total[half]);
    }
}

#define GQA_PREFILL(head, blocks_of_sm)                                                                                             \
    KERNEL(128, blocks_of_sm)                                                                                                       \
    gqa_prefill_##head(const bf16* queries, const bf16* cache, Paged paged, const int2* blocks, int groups, int heads, float scale, \
                       bf16* out, float* lse) {                                                                                     \
        gqa_prefill<head>(queries, cache, paged, blocks, groups, heads, scale, out, lse);                                           \
    }
GQA_PREFILL(64, 4)
GQA_PREFILL(128, 2)
