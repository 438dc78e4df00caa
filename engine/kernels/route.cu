// The router's choice, one warp a row, for every family: scores by softmax or sigmoid, a bias that only selects, groups that are let in
// whole. Ties go to the lower index. Chosen experts stand in rising order, then the shared ones with weight 1. A warp
// keeps a row's scores in shared memory, lane i those of experts i, i + 32, ….
// logits [rows, experts] f32, bias [experts], ids and weights [rows, per_token + shared].
// launch: route threads=128
#include "common.cuh"

constexpr int EXPERTS = 512, SIGMOID = 1, NORMALISE = 2;

// The highest of `count` values and the lowest index that has it, in all lanes; index `count` if all are -inf or not numbers.
struct Best {
    float value;
    int index;

    __device__ __forceinline__ Best(const float* values, int count) : value(-INFINITY_F), index(count) {
        for (int i = threadIdx.x % 32; i < count; i += 32)
            if (values[i] > value) value = values[i], index = i;
#pragma unroll
        for (int mask = 16; mask > 0; mask /= 2) {
            float other = shuffle_xor(value, mask);
            int other_index = shuffle_xor(index, mask);
            if (other > value || (other == value && other_index < index)) value = other, index = other_index;
        }
    }
};

// Sets all experts of all but the best groups to -inf. A group counts by its best, or by the sum of its two best.
__device__ __forceinline__ void close_groups(float* choice, float* groups, int experts, int count, int kept, bool by_two) {
    const int lane = threadIdx.x % 32, size = experts / count;
    for (int group = lane; group < count; group += 32) {
        float first = -INFINITY_F, second = -INFINITY_F;
        for (int i = group * size; i < (group + 1) * size; i++) {
            float x = choice[i];
            second = fmaxf(second, fminf(first, x)), first = fmaxf(first, x);
        }
        groups[group] = by_two ? first + second : first;
    }
    sync_warp();
    u64 open[2] = {0, 0};  // bits of at most 128 groups
    for (int i = 0; i < kept; i++) {
        int best = Best(groups, count).index;
        if (best == count) break;
        open[best / 64] |= 1ull << best % 64;
        sync_warp();
        if (lane == 0) groups[best] = -INFINITY_F;
        sync_warp();
    }
    for (int i = lane; i < experts; i += 32)
        if (!(open[i / size / 64] >> i / size % 64 & 1)) choice[i] = -INFINITY_F;
    sync_warp();
}

KERNEL(128, 8)
route(const float* logits, const float* bias, const int* position, int* ids, float* weights, int experts, int per_token, int shared,
      int flags, int groups, int groups_kept, float scale, int rows) {
    __shared__ float all_scores[4][EXPERTS], all_choices[4][EXPERTS], all_groups[4][128];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.x * 4 + warp, routes = per_token + shared;
    if (row >= rows) return;
    int* to = ids + (u64)row * routes;
    float* weigh = weights + (u64)row * routes;
    if (position && position[row] < 0) {
        for (int i = lane; i < routes; i += 32) to[i] = -1, weigh[i] = 0.0f;
        return;
    }
    float *scores = all_scores[warp], *choice = all_choices[warp];
    const float* logit = logits + (u64)row * experts;
    float highest = -INFINITY_F, total = 0.0f;
    for (int i = lane; i < experts; i += 32) highest = fmaxf(highest, logit[i]);
    highest = warp_max(highest);
    for (int i = lane; i < experts; i += 32) {
        scores[i] = flags & SIGMOID ? 1.0f / (1.0f + expf(-logit[i])) : expf(logit[i] - highest);
        total += scores[i];
    }
    total = flags & SIGMOID ? 1.0f : warp_sum(total);
    for (int i = lane; i < experts; i += 32) {
        scores[i] /= total;
        choice[i] = scores[i] + (bias ? bias[i] : 0.0f);
    }
    sync_warp();
    if (groups_kept < groups) close_groups(choice, all_groups[warp], experts, groups, groups_kept, flags & SIGMOID);

    // Lane i keeps the i-th best.
    int mine = experts;
    for (int i = 0; i < per_token; i++) {
        int best = min(Best(choice, experts).index, experts - 1);  // scores that are not numbers choose something all the same
        if (lane == i) mine = best;
        sync_warp();
        if (lane == 0) choice[best] = -INFINITY_F;
        sync_warp();
    }
    float weight = lane < per_token ? scores[mine] : 0.0f, sum = warp_sum(weight);
    int rank = 0;
    for (int i = 0; i < per_token; i++) rank += shuffle(mine, i) < mine;
    if (lane < per_token) to[rank] = mine, weigh[rank] = weight / (flags & NORMALISE ? sum + 1e-20f : 1.0f) * scale;
    for (int i = lane; i < shared; i += 32) to[per_token + i] = experts + i, weigh[per_token + i] = 1.0f;
}
