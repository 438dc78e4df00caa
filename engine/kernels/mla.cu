// Latent attention in the absorbed form: all heads of a row share one cached entry [latent 512 | key 64], which is key and value at once.
//
// Sixteen heads of a row are the M of a product, so nothing is padded. A block has four warps for each such tile of queries and walks over
// 32 positions at a time, two stages of `cp.async`. Scores: each warp multiplies its quarter of the 576 channels, whose queries stay in
// registers; the quarters are added up through shared memory in the order in which they lie in registers, so that this is free of bank
// conflicts. Values: each warp has its quarter of the 512 latents. An entry is so read from shared memory twice for each tile of queries
// and from device memory once.
//
// Two tiles of queries are 32 heads of one row, or the 16 heads of two rows of a span; each sees the same tiles of positions as alone, so
// the bits are the same.
//
// queries [rows, heads, 576], cache [slots, 576], out [rows, heads, 512];
// partial [listed, heads, splits, 512], lse [listed, heads, splits].
// launch: mla_decode_h16 threads=128 shared=82944 tile=16
// launch: mla_decode_h32 threads=256 shared=91136 tile=32
// launch: mla_prefill threads=256 shared=91136 tile=2
#include "attend.cuh"

constexpr int LATENT = 512, ENTRY = 576, STRIDE = ENTRY + 8, TOKENS = 32, STAGE = TOKENS * STRIDE;

struct Query {
    int row, head;  // head of the tile's first; row < 0 if there is none
};

template <int TILES> struct Latents {
    // `entries` of two stages, then [tile][quarter][token tile][lane] of partial scores.
    bf16* entries;
    float4* quarters;
    int warp, lane;

    __device__ __forceinline__ Latents(u8* shared)
        : entries((bf16*)shared), quarters((float4*)(entries + 2 * STAGE)), warp(threadIdx.x / 32), lane(threadIdx.x % 32) {}

    // Lane i holds the slot of token i, or -1 beyond the end.
    __device__ __forceinline__ void copy(int stage, const bf16* cache, int slot) {
#pragma unroll
        for (int i = 0; i < TOKENS / (4 * TILES); i++) {
            int token = i * 4 * TILES + warp, from = shuffle(slot, token);
            const bf16* entry = cache + (u64)max(from, 0) * ENTRY;
            bf16* to = entries + stage * STAGE + token * STRIDE;
#pragma unroll
            for (int chunk = lane; chunk < ENTRY / 8; chunk += 32) copy16(to + chunk * 8, entry + chunk * 8, from >= 0);
        }
        copies_commit();
    }

    // Attends from `begin` to `query_end` (at most `end`) for this warp's tile: sums of its quarter of the latents, not yet divided.
    __device__ __forceinline__ void attend(const bf16* queries, int heads, Query query, const bf16* cache, const Context& context,
                                           int begin, int end, int query_end, float scale, float (&sums)[16][4], Softmax& softmax) {
        const int tile = warp / 4, quarter = warp % 4;
        u32 q[9][4];
        const bf16* low = query.row < 0 ? nullptr : queries + ((u64)query.row * heads + query.head + lane / 4) * ENTRY + quarter * 144;
#pragma unroll
        for (int k = 0; k < 9; k++) load_operand(q[k], low ? low + k * 16 : nullptr, low ? low + 8 * ENTRY + k * 16 : nullptr);

        const int tiles = ceil_div(end - begin, TOKENS);
        auto slot_of = [&](int index) {
            int position = begin + index * TOKENS + lane;
            return position < end ? context.slot(position) : -1;
        };
        if (tiles == 0) return;
        copy(0, cache, slot_of(0));
        int slot = slot_of(1);
        for (int index = 0; index < tiles; index++) {
            copies_wait<0>();
            sync_block();  // the tile is here for all, and all are done with the one before, whose place is filled next
            if (index + 1 < tiles) copy((index + 1) % 2, cache, slot);
            slot = slot_of(index + 2);
            const bf16* stage = entries + index % 2 * STAGE;

            float scores[4][4] = {};
            const bf16* key = stage + (lane % 8 + lane / 16 * 8) * STRIDE + quarter * 144 + lane / 8 % 2 * 8;
#pragma unroll
            for (int k = 0; k < 9; k++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    u32 b[4];
                    load_matrices(b, key + j * 16 * STRIDE + k * 16);
                    multiply_bf16(scores[2 * j], q[k], b[0], b[1]);
                    multiply_bf16(scores[2 * j + 1], q[k], b[2], b[3]);
                }
            float4* all = quarters + tile * 4 * 4 * 32 + lane;
#pragma unroll
            for (int j = 0; j < 4; j++) all[(quarter * 4 + j) * 32] = make_float4(scores[j][0], scores[j][1], scores[j][2], scores[j][3]);
            sync_block();
            const int first = begin + index * TOKENS + lane % 4 * 2;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float4 a = all[j * 32], b = all[(4 + j) * 32], c = all[(8 + j) * 32], d = all[(12 + j) * 32];
                bool left = first + j * 8 < query_end, right = first + j * 8 + 1 < query_end;
                scores[j][0] = left ? (a.x + b.x + (c.x + d.x)) * scale : -INFINITY_F;
                scores[j][1] = right ? (a.y + b.y + (c.y + d.y)) * scale : -INFINITY_F;
                scores[j][2] = left ? (a.z + b.z + (c.z + d.z)) * scale : -INFINITY_F;
                scores[j][3] = right ? (a.w + b.w + (c.w + d.w)) * scale : -INFINITY_F;
            }
            float correction[2];
            softmax.next(scores, correction);
#pragma unroll
            for (int j = 0; j < 16; j++)
#pragma unroll
                for (int c = 0; c < 4; c++) sums[j][c] *= correction[c / 2];
            const bf16* value = stage + (lane % 16) * STRIDE + quarter * 128 + lane / 16 * 8;
#pragma unroll
            for (int k = 0; k < 2; k++) {
                u32 p[4];
                as_operand(p, scores[2 * k], scores[2 * k + 1]);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    u32 b[4];
                    load_matrices_transposed(b, value + k * 16 * STRIDE + j * 16);
                    multiply_bf16(sums[2 * j], p, b[0], b[1]);
                    multiply_bf16(sums[2 * j + 1], p, b[2], b[3]);
                }
            }
        }
    }

    // out [16 heads, 512] of this warp's tile.
    __device__ __forceinline__ void store(bf16* out, const float (&sums)[16][4], const Softmax& softmax) {
        bf16* to = out + lane / 4 * LATENT + warp % 4 * 128 + lane % 4 * 2;
        const float low = 1.0f / softmax.total[0], high = 1.0f / softmax.total[1];
#pragma unroll
        for (int j = 0; j < 16; j++) {
            *(u32*)(to + j * 8) = pack(sums[j][0] * low, sums[j][1] * low);
            *(u32*)(to + 8 * LATENT + j * 8) = pack(sums[j][2] * high, sums[j][3] * high);
        }
    }
};

template <int TILES> __device__ __forceinline__ void mla_decode(const bf16* queries, const bf16* cache, const Paged& paged, const int* rows,
                                                                int heads, float scale, int split_tokens, int splits, bf16* out,
                                                                float* partial, float* lse) {
    DYNAMIC_SHARED(shared);
    const int listed = blockIdx.y, row = rows ? rows[listed] : listed;
    const Context context(paged, row);
    const Split split(context, blockIdx.z, split_tokens);
    if (split.begin >= split.end) return;
    Latents<TILES> latents(shared);
    const int lane = latents.lane, head = (blockIdx.x * TILES + latents.warp / 4) * 16;
    float sums[16][4] = {};
    Softmax softmax;
    latents.attend(queries, heads, {row, head}, cache, context, split.begin, split.end, split.end, scale * LOG2_E, sums, softmax);
    if (split.only) return latents.store(out + ((u64)row * heads + head) * LATENT, sums, softmax);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u64 place = ((u64)listed * heads + head + lane / 4 + half * 8) * splits + blockIdx.z;
        float* to = partial + place * LATENT + latents.warp % 4 * 128 + lane % 4 * 2;
        float share = 1.0f / softmax.total[half];
#pragma unroll
        for (int j = 0; j < 16; j++) *(float2*)(to + j * 8) = make_float2(sums[j][2 * half] * share, sums[j][2 * half + 1] * share);
        if (latents.warp % 4 == 0 && lane % 4 == 0) lse[place] = log_sum(softmax.highest[half], softmax.total[half]);
    }
}

KERNEL(128, 2)
mla_decode_h16(const bf16* queries, const bf16* cache, Paged paged, const int* rows, int heads, float scale, int split_tokens, int splits,
               bf16* out, float* partial, float* lse) {
    mla_decode<1>(queries, cache, paged, rows, heads, scale, split_tokens, splits, out, partial, lse);
}

KERNEL(256, 1)
mla_decode_h32(const bf16* queries, const bf16* cache, Paged paged, const int* rows, int heads, float scale, int split_tokens, int splits,
               bf16* out, float* partial, float* lse) {
    mla_decode<2>(queries, cache, paged, rows, heads, scale, split_tokens, splits, out, partial, lse);
}

// Sixteen heads; blocks [.] are {first row, rows}: one or two consecutive rows of a span.
KERNEL(256, 1) mla_prefill(const bf16* queries, const bf16* cache, Paged paged, const int2* blocks, int heads, float scale, bf16* out) {
    DYNAMIC_SHARED(shared);
    const int2 block = blocks[blockIdx.x];
    const Context last(paged, block.x + block.y - 1);
    Latents<2> latents(shared);
    const int tile = latents.warp / 4, row = tile < block.y ? block.x + tile : -1;
    float sums[16][4] = {};
    Softmax softmax;
    latents.attend(queries, heads, {row, 0}, cache, last, last.begin, last.end, row < 0 ? 0 : paged.position[row] + 1, scale * LOG2_E, sums,
                   softmax);
    if (row >= 0 && softmax.total[0] > 0.0f) latents.store(out + (u64)row * heads * LATENT, sums, softmax);
}
