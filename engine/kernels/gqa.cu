// Attention of single rows over plain keys and values: the query heads that share a key are the M of a product, up to sixteen of them.
//
// Bound by memory. The four warps of a block take tiles of sixteen positions in turn, each with its own two stages of `cp.async` and its
// own softmax, and never wait for each other before the end, when their sums become one.
//
// queries [rows, heads, HEAD], cache [slots, keys groups x HEAD | values groups x HEAD], out [rows, heads, HEAD];
// partial [listed, heads, splits, HEAD], lse [listed, heads, splits].
// launch: gqa_decode_64 threads=128 shared=36864 tile=16
// launch: gqa_decode_128 threads=128 shared=69632 tile=16
#include "attend.cuh"

constexpr int WARPS = 4, TOKENS = 16;

template <int HEAD> __device__ __forceinline__ void gqa_decode(const bf16* queries, const bf16* cache, const Paged& paged, const int* rows,
                                                               int groups, int heads, float scale, int split_tokens, int splits, bf16* out,
                                                               float* partial, float* lse) {
    constexpr int STRIDE = HEAD + 8, HALF = TOKENS * STRIDE, CHUNKS = HEAD / 8, TILES = HEAD / 8;
    DYNAMIC_SHARED(shared);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, listed = blockIdx.y, row = rows ? rows[listed] : listed;
    const Context context(paged, row);
    const Split split(context, blockIdx.z, split_tokens);
    if (split.begin >= split.end) return;
    const int size = heads / groups, tiles_of_group = ceil_div(size, 16), group = blockIdx.x / tiles_of_group;
    const int first_head = group * size + blockIdx.x % tiles_of_group * 16, here = min(16, (group + 1) * size - first_head);
    const int entry = 2 * groups * HEAD;

    u32 q[HEAD / 16][4];
    const bf16* query = queries + ((u64)row * heads + first_head + lane / 4) * HEAD;
#pragma unroll
    for (int k = 0; k < HEAD / 16; k++)
        load_operand(q[k], lane / 4 < here ? query + k * 16 : nullptr, lane / 4 + 8 < here ? query + 8 * HEAD + k * 16 : nullptr);

    bf16* stages = (bf16*)shared + warp * 4 * HALF;  // two stages of keys and values
    const int tiles = ceil_div(split.end - split.begin, TOKENS);
    auto copy = [&](int index) {
        if (index < tiles) {
            // Lanes 0-15 know the slots of the tile.
            int position = split.begin + index * TOKENS + lane % 16;
            int slot = position < split.end ? context.slot(position) : -1;
            bf16* stage = stages + index / WARPS % 2 * 2 * HALF;
#pragma unroll
            for (int i = 0; i < 2 * TOKENS * CHUNKS / 32; i++) {
                int chunk = i * 32 + lane, part = chunk % CHUNKS, token = chunk / CHUNKS % TOKENS, side = chunk / CHUNKS / TOKENS;
                int from = shuffle(slot, token);
                const bf16* address = cache + (u64)max(from, 0) * entry + (side * groups + group) * HEAD + part * 8;
                copy16(stage + side * HALF + token * STRIDE + part * 8, address, from >= 0);
            }
        }
        copies_commit();
    };

    float sums[TILES][4] = {};
    Softmax softmax;
    copy(warp);
    for (int index = warp; index < tiles; index += WARPS) {
        copy(index + WARPS);
        copies_wait<1>();
        sync_warp();
        const bf16* keys = stages + index / WARPS % 2 * 2 * HALF;
        float scores[2][4] = {};
#pragma unroll
        for (int k = 0; k < HEAD / 16; k++) {
            u32 b[4];
            load_matrices(b, keys + (lane % 8 + lane / 16 * 8) * STRIDE + lane / 8 % 2 * 8 + k * 16);
            multiply_bf16(scores[0], q[k], b[0], b[1]);
            multiply_bf16(scores[1], q[k], b[2], b[3]);
        }
        const int first = split.begin + index * TOKENS + lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int c = 0; c < 4; c++) scores[j][c] = first + j * 8 + c % 2 < split.end ? scores[j][c] * (scale * LOG2_E) : -INFINITY_F;
        float correction[2];
        softmax.next(scores, correction);
        u32 p[4];
        as_operand(p, scores[0], scores[1]);
#pragma unroll
        for (int j = 0; j < TILES / 2; j++) {
            u32 b[4];
            load_matrices_transposed(b, keys + HALF + lane % 16 * STRIDE + lane / 16 * 8 + j * 16);
#pragma unroll
            for (int c = 0; c < 4; c++) sums[2 * j][c] *= correction[c / 2], sums[2 * j + 1][c] *= correction[c / 2];
            multiply_bf16(sums[2 * j], p, b[0], b[1]);
            multiply_bf16(sums[2 * j + 1], p, b[2], b[3]);
        }
        sync_warp();  // before the place of this tile is filled again
    }
    copies_wait<0>();
    sync_block();

    // [warp][16][HEAD] of sums, then [warp][16] of highest scores and of totals: what the stages held is not needed any more.
    float *all = (float*)shared, *highest = all + WARPS * 16 * HEAD, *totals = highest + WARPS * 16;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int head = lane / 4 + half * 8;
#pragma unroll
        for (int j = 0; j < TILES; j++)
            *(float2*)(all + (warp * 16 + head) * HEAD + j * 8 + lane % 4 * 2) = make_float2(sums[j][2 * half], sums[j][2 * half + 1]);
        if (lane % 4 == 0) highest[warp * 16 + head] = softmax.highest[half], totals[warp * 16 + head] = softmax.total[half];
    }
    sync_block();
    for (int i = threadIdx.x * 2; i < here * HEAD; i += 2 * WARPS * 32) {
        const int head = i / HEAD, channel = i % HEAD;
        float best = -INFINITY_F, total = 0.0f, x = 0.0f, y = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) best = fmaxf(best, highest[w * 16 + head]);
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            float factor = exp2_fast(highest[w * 16 + head] - best);
            float2 part = *(const float2*)(all + (w * 16 + head) * HEAD + channel);
            total += factor * totals[w * 16 + head], x += factor * part.x, y += factor * part.y;
        }
        if (split.only) {
            *(u32*)(out + ((u64)row * heads + first_head + head) * HEAD + channel) = pack(x / total, y / total);
            continue;
        }
        const u64 place = ((u64)listed * heads + first_head + head) * splits + blockIdx.z;
        *(float2*)(partial + place * HEAD + channel) = make_float2(x / total, y / total);
        if (channel == 0) lse[place] = log_sum(best, total);
    }
}

#define GQA_DECODE(head, blocks)                                                                                                \
    KERNEL(128, blocks)                                                                                                         \
    gqa_decode_##head(const bf16* queries, const bf16* cache, Paged paged, const int* rows, int groups, int heads, float scale, \
                      int split_tokens, int splits, bf16* out, float* partial, float* lse) {                                    \
        gqa_decode<head>(queries, cache, paged, rows, groups, heads, scale, split_tokens, splits, out, partial, lse);           \
    }
GQA_DECODE(64, 4)
GQA_DECODE(128, 3)
