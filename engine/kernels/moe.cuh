// The chosen experts, each run once over the rows that chose it: `permute` has cut each expert's places into tiles of N.
// A route is one row's choice of one expert; its place is where it stands in the order by expert.
#pragma once
#include "gemm.cuh"

// What `permute` says of one tile; count is 0 where there is none.
struct ExpertTile {
    int expert, first, count, unused;
};

// FP8 rows with a scale for each 128 channels, and weights with one for each 128 x 128.
struct Fp8Scales {
    const float *x, *const *weights;
};

// out[place] = silu(gate x) * up x, where x is the row of the route in that place. weights[2 * expert] is its gate and weights[2 * expert +
// 1] its up, both [inner, inputs], and so with the scales of FP8. A block takes 64 rows of each, sixteen by sixteen, so that a thread holds
// both sides of every product.
template <int N, bool FP8> __device__ __forceinline__ void gate_up(const void* x, const int* order, const ExpertTile* tiles,
                                                                   const void* const* weights, Fp8Scales fp8, bf16* out, int inputs,
                                                                   int inner, int routes_of_row) {
    typedef Tile<N> T;
    DYNAMIC_SHARED(shared);
    const ExpertTile tile = tiles[blockIdx.x];
    if (tile.count == 0) return;
    const int first_m = blockIdx.y * 64, bytes = FP8 ? inputs : inputs * 2, scales_k = ceil_div(inputs, 128);
    const u8 *gate = (const u8*)weights[2 * tile.expert], *up = (const u8*)weights[2 * tile.expert + 1];
    auto inner_row = [&](int m) { return first_m + m / 32 * 16 + m % 16; };
    auto weight = [&](int m) {
        int row = inner_row(m);
        return row < inner ? (m / 16 % 2 ? up : gate) + (u64)row * bytes : nullptr;
    };
    auto row_of = [&](int n) { return order[tile.first + n] / routes_of_row; };
    auto token = [&](int n) { return n < tile.count ? (const u8*)x + (u64)row_of(n) * bytes : nullptr; };
    __shared__ int scale_rows[FP8 ? N : 1];  // seen by all after the first step's barrier
    if constexpr (FP8)
        if (threadIdx.x < N) scale_rows[threadIdx.x] = threadIdx.x < tile.count ? row_of(threadIdx.x) : -1;
    auto scales = [&](const Product<N>& product, int step, float (&row)[T::MT], float (&column)[T::NT][2]) {
#pragma unroll
        for (int i = 0; i < T::MT; i++) {
            int m = product.warp_m + i * 16, block = min(inner_row(m), inner - 1) / 128;
            row[i] = fp8.weights[2 * tile.expert + i % 2][block * scales_k + step];  // a warp begins with a gate
        }
#pragma unroll
        for (int j = 0; j < T::NT; j++)
#pragma unroll
            for (int c = 0; c < 2; c++) {
                int row = scale_rows[product.n_of(j, c)];
                column[j][c] = row >= 0 ? fp8.x[(u64)row * scales_k + step] : 0.0f;
            }
    };
    Product<N> product;
    product.template run<FP8>(shared, bytes, gate, weight, token, scales);

    auto value = [&](int i, int j, int c) { return silu(product.sums[i][j][c]) * product.sums[(i + 1) % T::MT][j][c]; };
    auto place = [&](int i, int c) { return i % 2 == 0 ? product.m_of(i, c) / 32 * 16 + product.m_of(i, c) % 16 : -1; };
    auto to = [&](int n) { return n < tile.count ? out + (u64)(tile.first + n) * inner + first_m : nullptr; };
    product.template store<64>(shared, inner - first_m, value, place, to);
}

// out[route] = route_weights[route] * weights[expert] h[place]; weights[expert] [outputs, inputs].
template <int N, bool FP8> __device__ __forceinline__ void down(const void* h, const int* order, const ExpertTile* tiles,
                                                                const void* const* weights, Fp8Scales fp8, const float* route_weights,
                                                                bf16* out, int inputs, int outputs) {
    typedef Tile<N> T;
    DYNAMIC_SHARED(shared);
    const ExpertTile tile = tiles[blockIdx.x];
    if (tile.count == 0) return;
    const int first_m = blockIdx.y * T::M, bytes = FP8 ? inputs : inputs * 2, scales_k = ceil_div(inputs, 128);
    const u8* matrix = (const u8*)weights[tile.expert];
    auto weight = [&](int m) { return first_m + m < outputs ? matrix + (u64)(first_m + m) * bytes : nullptr; };
    auto token = [&](int n) { return n < tile.count ? (const u8*)h + (u64)(tile.first + n) * bytes : nullptr; };
    auto scales = [&](const Product<N>& product, int step, float (&row)[T::MT], float (&column)[T::NT][2]) {
        float block = fp8.weights[tile.expert][blockIdx.y * scales_k + step];
#pragma unroll
        for (int i = 0; i < T::MT; i++) row[i] = block;
#pragma unroll
        for (int j = 0; j < T::NT; j++)
#pragma unroll
            for (int c = 0; c < 2; c++)
                column[j][c] = product.n_of(j, c) < tile.count ? fp8.x[(u64)(tile.first + product.n_of(j, c)) * scales_k + step] : 0.0f;
    };
    Product<N> product;
    product.template run<FP8>(shared, bytes, matrix, weight, token, scales);

    float factors[T::NT][2];
#pragma unroll
    for (int j = 0; j < T::NT; j++)
#pragma unroll
        for (int c = 0; c < 2; c++)
            factors[j][c] = product.n_of(j, c) < tile.count ? route_weights[order[tile.first + product.n_of(j, c)]] : 0.0f;
    auto value = [&](int i, int j, int c) { return product.sums[i][j][c] * factors[j][c % 2]; };
    auto place = [&](int i, int c) { return product.m_of(i, c); };
    auto to = [&](int n) { return n < tile.count ? out + (u64)order[tile.first + n] * outputs + first_m : nullptr; };
    product.template store<T::M>(shared, outputs - first_m, value, place, to);
}
