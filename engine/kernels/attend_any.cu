// Attention of single rows for sizes that no other kernel has: small models and tests. Plain loads, no matrix instructions, no alignment
// asked for. Four warps take positions in turn and add up at the end.
//
// With group = head / heads_of_group, a key lies at group * key_stride of an entry and its value at value_first + group * value_stride;
// latent attention has both strides 0. Strides and widths are in channels.
// queries [rows, heads, key_width], cache [slots, entry], out [rows, heads, value_width <= 512].
// launch: attend_any threads=128
#include "attend.cuh"

constexpr int WARPS = 4, VALUES = 512 / 32;

KERNEL(128, 4)
attend_any(const bf16* queries, const bf16* cache, int entry, Paged paged, const int* rows, int heads, int heads_of_group, int key_width,
           int key_stride, int value_first, int value_width, int value_stride, float scale, bf16* out) {
    __shared__ float all[WARPS][512], highest[WARPS], totals[WARPS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.x, row = rows ? rows[blockIdx.y] : blockIdx.y;
    const int group = head / heads_of_group;
    const Context context(paged, row);
    if (context.begin >= context.end) return;
    const bf16* query = queries + ((u64)row * heads + head) * key_width;
    float best = -INFINITY_F, total = 0.0f, sums[VALUES] = {};
    for (int position = context.begin + warp; position < context.end; position += WARPS) {
        const bf16* key = cache + (u64)context.slot(position) * entry + group * key_stride;
        const bf16* value = cache + (u64)context.slot(position) * entry + value_first + group * value_stride;
        float score = 0.0f;
        for (int i = lane; i < key_width; i += 32) score += to_float(query[i]) * to_float(key[i]);
        score = warp_sum(score) * (scale * LOG2_E);
        float higher = fmaxf(best, score), correction = exp2_fast(best - higher), weight = exp2_fast(score - higher);
        best = higher;
        total = total * correction + weight;
#pragma unroll
        for (int i = 0; i < VALUES; i++)
            if (lane + i * 32 < value_width) sums[i] = sums[i] * correction + weight * to_float(value[lane + i * 32]);
    }
#pragma unroll
    for (int i = 0; i < VALUES; i++)
        if (lane + i * 32 < value_width) all[warp][lane + i * 32] = sums[i];
    if (lane == 0) highest[warp] = best, totals[warp] = total;
    sync_block();
    for (int i = threadIdx.x; i < value_width; i += WARPS * 32) {
        float top = fmaxf(fmaxf(highest[0], highest[1]), fmaxf(highest[2], highest[3])), sum = 0.0f, weights = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            float factor = exp2_fast(highest[w] - top);
            sum += factor * all[w][i], weights += factor * totals[w];
        }
        out[((u64)row * heads + head) * value_width + i] = to_bf16(sum / weights);
    }
}
