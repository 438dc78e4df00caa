// Draws a token from logits as `engine/src/sample.rs` does: the random number depends on seed and position alone.
//
// Every restriction (top-k, min-p, top-p) leaves a beginning of the candidates ordered best first, the lower id first among equals, and so
// does a draw: it is the candidate at which the sum of weights passes a random share. All are one search for the place where a sum of
// counts or of weights reaches a target. It goes down the bits of the logits in three histograms of 2048 bins, so nothing is sorted.
// Weights are whole numbers, of which 2^40 is the best candidate's: sums are exact in any order, and atomics in shared memory do no harm.
// Without top-k and top-p candidates are passed in order of ids, which sample.rs does, too.
//
// logits [rows, vocabulary], one block a row.
// launch: sample threads=512
#include "common.cuh"

constexpr int THREADS = 512, WARPS = THREADS / 32, BINS = 2048;

struct Draw {
    float temperature, top_p, min_p;
    u32 top_k;  // 0 is no limit
    u64 seed, position;
};

// Numbers that stand in the same order as the floats they come from.
__device__ __forceinline__ u32 key_of(float x) { return as_bits(x) & 0x80000000u ? ~as_bits(x) : as_bits(x) | 0x80000000u; }
__device__ __forceinline__ float of_key(u32 key) { return as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// What all threads of a block work in.
struct Row {
    const float* logits;
    const u32* mask;  // null allows all
    int vocabulary;
    float highest, temperature, min_p;
    u64* bins;      // [BINS]
    u64* of_warps;  // [WARPS + 2]

    __device__ __forceinline__ bool allows(int id) const { return !mask || mask[id / 32] >> id % 32 & 1; }
    __device__ __forceinline__ u64 weight(float logit) const {
        float distance = (logit - highest) / temperature;
        float weight = distance < -80.0f ? 0.0f : expf(distance);
        return weight < min_p ? 0 : (u64)((double)weight * (double)(1ull << 40));
    }
    __device__ u64 sum(u64 x) const;
    __device__ u64 scan(u64 x, u64& all) const;
};

// The sum over all threads, in all threads.
__device__ u64 Row::sum(u64 x) const {
    u64 all;
    scan(x, all);
    return all;
}

// The sum over all threads before this one.
__device__ u64 Row::scan(u64 x, u64& all) const {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    u64 sums = x;
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        u64 other = shuffle_up(sums, lanes);
        if (lane >= lanes) sums += other;
    }
    if (lane == 31) of_warps[warp] = sums;
    sync_block();
    u64 before = 0;
    all = 0;
    for (int w = 0; w < WARPS; w++) {
        if (w < warp) before += of_warps[w];
        all += of_warps[w];
    }
    sync_block();
    return before + sums - x;
}

// A beginning of the candidates, best first: all with keys above `key`, and the first `equal` of those that have it.
struct Cut {
    u32 key;
    u64 equal, sum;  // what all that are left amount to
};

// The shortest beginning that amounts to `target` or more, where a candidate counts one or its weight.
template <bool BY_WEIGHT> __device__ Cut shortest(const Row& row, u64 target) {
    u32 key = 0;
    u64 above = 0;  // what all candidates with a higher beginning of the key amount to
    for (int digit = 0; digit < 3; digit++) {
        const int shift = digit == 0 ? 21 : digit == 1 ? 10 : 0, bits = digit == 2 ? 10 : 11;
        for (int i = threadIdx.x; i < BINS; i += THREADS) row.bins[i] = 0;
        sync_block();
        for (int id = threadIdx.x; id < row.vocabulary; id += THREADS) {
            u32 other = key_of(row.logits[id]);
            if ((digit > 0 && (other ^ key) >> (shift + bits)) || !row.allows(id)) continue;
            u64 amount = BY_WEIGHT ? row.weight(row.logits[id]) : 1;
            if (amount) add_shared(&row.bins[other >> shift & ((1u << bits) - 1)], amount);
        }
        sync_block();
        // Thread 0 has the highest bins.
        constexpr int OWN = BINS / THREADS;
        u64 own = 0, all;
        for (int i = 0; i < OWN; i++) own += row.bins[BINS - 1 - threadIdx.x * OWN - i];
        u64 before = above + row.scan(own, all);
        if (before < target && target <= before + own) {
            int bin = BINS - 1 - threadIdx.x * OWN;
            while (before + row.bins[bin] < target) before += row.bins[bin--];
            row.of_warps[WARPS] = (u64)bin;
            row.of_warps[WARPS + 1] = before;
        }
        sync_block();
        key |= (u32)row.of_warps[WARPS] << shift;
        above = row.of_warps[WARPS + 1];
        sync_block();
    }
    u64 each = BY_WEIGHT ? row.weight(of_key(key)) : 1;
    u64 equal = (target - above + each - 1) / each;
    return {key, equal, above + equal * each};
}

// The id of candidate number `equal` (from one) among those with this key, in order of ids.
__device__ u32 find(const Row& row, Cut cut) {
    u64 seen = 0, all;
    for (int begin = 0; begin < row.vocabulary; begin += THREADS) {
        int id = begin + threadIdx.x;
        u64 hit = id < row.vocabulary && key_of(row.logits[id]) == cut.key && row.allows(id);
        u64 before = seen + row.scan(hit, all);
        if (hit && before + 1 == cut.equal) row.of_warps[WARPS] = id;
        seen += all;
        sync_block();
        if (seen >= cut.equal) break;
    }
    return row.of_warps[WARPS];
}

// The first id at which the sum of weights, in order of ids, passes `left`.
__device__ u32 pass(const Row& row, u64 left) {
    u64 seen = 0, all;
    for (int begin = 0; begin < row.vocabulary; begin += THREADS) {
        int id = begin + threadIdx.x;
        u64 weight = id < row.vocabulary && row.allows(id) ? row.weight(row.logits[id]) : 0;
        u64 before = seen + row.scan(weight, all);
        if (before <= left && left < before + weight) row.of_warps[WARPS] = id;
        seen += all;
        sync_block();
        if (seen > left) break;
    }
    return row.of_warps[WARPS];
}

__device__ __forceinline__ u64 mix(u64 bits) {
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9ull;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebull;
    return bits ^ bits >> 31;
}

KERNEL(THREADS, 2) sample(const float* logits, const Draw* draws, const u32* masks, int mask_words, u32* out, int vocabulary) {
    __shared__ u64 bins[BINS], of_warps[WARPS + 2];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Draw draw = draws ? draws[blockIdx.x] : Draw{0.0f, 1.0f, 0.0f, 0, 0, 0};
    Row row = {logits + (u64)blockIdx.x * vocabulary,
               masks ? masks + (u64)blockIdx.x * mask_words : nullptr,
               vocabulary,
               0.0f,
               draw.temperature,
               draw.min_p,
               bins,
               of_warps};

    // The best: the highest key, then the lowest id. A logit that is not a number spoils the row.
    u64 best = 0;
    bool number = true;
    for (int id = threadIdx.x; id < vocabulary; id += THREADS) {
        float logit = row.logits[id];
        number &= logit == logit;
        u64 candidate = (u64)key_of(logit == 0.0f ? 0.0f : logit) << 32 | ~(u32)id;
        if (row.allows(id) && candidate > best) best = candidate;
    }
    if (!number) best = ~0ull;
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        u64 other = shuffle_xor(best, mask);
        best = other > best ? other : best;
    }
    if (lane == 0) of_warps[warp] = best;
    sync_block();
    for (int w = 0; w < WARPS; w++) best = of_warps[w] > best ? of_warps[w] : best;
    sync_block();
    if (best == 0 || best == ~0ull || draw.temperature < 1e-5f) {
        if (threadIdx.x == 0) out[blockIdx.x] = best == 0 || best == ~0ull ? ~0u : ~(u32)best;
        return;
    }
    row.highest = of_key((u32)(best >> 32));

    u64 total = 0, allowed = 0;
    for (int id = threadIdx.x; id < vocabulary; id += THREADS)
        if (row.allows(id)) total += row.weight(row.logits[id]), allowed++;
    total = row.sum(total), allowed = row.sum(allowed);
    const bool few = draw.top_k > 0 && draw.top_k < allowed, nucleus = draw.top_p < 1.0f;
    if (few) {
        Cut cut = shortest<false>(row, draw.top_k);
        u64 kept = 0;
        for (int id = threadIdx.x; id < vocabulary; id += THREADS)
            if (row.allows(id) && key_of(row.logits[id]) > cut.key) kept += row.weight(row.logits[id]);
        total = row.sum(kept) + cut.equal * row.weight(of_key(cut.key));
    }
    if (nucleus) {
        u64 wanted = (u64)((double)total * (double)draw.top_p);
        total = shortest<true>(row, wanted > 0 ? wanted : 1).sum;
    }
    const u64 bits = mix(mix(draw.seed) + draw.position * 0x9e3779b97f4a7c15ull);
    const u64 left = min((u64)((double)(bits >> 11) / (double)(1ull << 53) * (double)total), total - 1);
    u32 token = few || nucleus ? find(row, shortest<true>(row, left + 1)) : pass(row, left);
    if (threadIdx.x == 0) out[blockIdx.x] = token;
}
