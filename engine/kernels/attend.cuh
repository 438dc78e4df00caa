// What the attention kernels share: softmax that goes along, and how a tile of probabilities becomes an operand.
#pragma once
#include "common.cuh"

// Rows `lane / 4` and `lane / 4 + 8` of a 16-row tile, as the sums of a 16x8 product lie: highest score so far (times log2 e), and the sum
// of exponentials.
struct Softmax {
    float highest[2], total[2];

    __device__ __forceinline__ Softmax() {
        highest[0] = highest[1] = -INFINITY_F;
        total[0] = total[1] = 0.0f;
    }

    // Turns scores (times log2 e, -inf where masked) into exponentials; returns what older sums must be multiplied with.
    template <int TILES> __device__ __forceinline__ void next(float (&scores)[TILES][4], float (&correction)[2]) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float best = highest[half];
#pragma unroll
            for (int j = 0; j < TILES; j++) best = fmaxf(best, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
            best = fmaxf(best, shuffle_xor(best, 1));
            best = fmaxf(best, shuffle_xor(best, 2));
            float origin = best == -INFINITY_F ? 0.0f : best;  // nothing to look at yet
            correction[half] = exp2_fast(highest[half] - origin);
            highest[half] = best;
            float sum = 0.0f;
#pragma unroll
            for (int j = 0; j < TILES; j++)
#pragma unroll
                for (int c = 2 * half; c < 2 * half + 2; c++) sum += scores[j][c] = exp2_fast(scores[j][c] - origin);
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            total[half] = total[half] * correction[half] + sum;
        }
    }
};

// Probabilities of 16 positions, two tiles of sums, as the left operand of the next product.
__device__ __forceinline__ void as_operand(u32 (&a)[4], const float (&first)[4], const float (&second)[4]) {
    a[0] = pack(first[0], first[1]);
    a[1] = pack(first[2], first[3]);
    a[2] = pack(second[0], second[1]);
    a[3] = pack(second[2], second[3]);
}

// Rows `lane / 4` and `+ 8` of 16 rows in device memory as a left operand of 16 channels; null for rows that do not exist.
__device__ __forceinline__ void load_operand(u32 (&a)[4], const bf16* low, const bf16* high) {
    const int column = threadIdx.x % 4 * 2;
    a[0] = low ? *(const u32*)(low + column) : 0;
    a[1] = high ? *(const u32*)(high + column) : 0;
    a[2] = low ? *(const u32*)(low + column + 8) : 0;
    a[3] = high ? *(const u32*)(high + column + 8) : 0;
}

// Natural logarithm of the sum of exponentials.
__device__ __forceinline__ float log_sum(float highest, float total) {
    return total > 0.0f ? (highest + log2f(total)) * LN_2 : -INFINITY_F;
}

// A split of a row's context, which depends on that context alone.
struct Split {
    int begin, end;
    bool only;  // the whole context lies in it

    __device__ __forceinline__ Split(const Context& context, int index, int split_tokens) {
        begin = max(context.begin, index * split_tokens);
        end = min(context.end, (index + 1) * split_tokens);
        only = context.begin / split_tokens == (context.end - 1) / split_tokens;
    }
};
