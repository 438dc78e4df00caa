// Every head's own matrix: latent attention's way into the space of the cache and out of it.
// x [rows, x_row] holds head h from h * x_head on; weights[h] [outputs, inputs]; out likewise. N is 16 or 64 rows.
// launch: linear_heads_n16 threads=128 shared=73728 tile=16
// launch: linear_heads_n64 threads=128 shared=98304 tile=64
#include "gemm.cuh"

template <int N> __device__ __forceinline__ void linear_heads(const bf16* x, int x_row, int x_head, const bf16* const* weights, bf16* out,
                                                              int out_row, int out_head, int outputs, int inputs, int rows) {
    DYNAMIC_SHARED(shared);
    const int first_n = blockIdx.x * N, first_m = blockIdx.y * Tile<N>::M, head = blockIdx.z;
    auto weight = [&](int m) { return first_m + m < outputs ? (const u8*)(weights[head] + (u64)(first_m + m) * inputs) : nullptr; };
    auto token = [&](int n) { return first_n + n < rows ? (const u8*)(x + (u64)(first_n + n) * x_row + head * x_head) : nullptr; };
    Product<N> product;
    product.template run<false>(shared, inputs * 2, weights[head], weight, token, NoScales());

    auto value = [&](int i, int j, int c) { return product.sums[i][j][c]; };
    auto place = [&](int i, int c) { return product.m_of(i, c); };
    auto to = [&](int n) { return first_n + n < rows ? out + (u64)(first_n + n) * out_row + head * out_head + first_m : nullptr; };
    product.template store<Tile<N>::M>(shared, outputs - first_m, value, place, to);
}

#define LINEAR_HEADS(n, blocks)                                                                                                            \
    KERNEL(128, blocks)                                                                                                                    \
    linear_heads_n##n(const bf16* x, int x_row, int x_head, const bf16* const* weights, bf16* out, int out_row, int out_head, int outputs, \
                      int inputs, int rows) {                                                                                              \
        linear_heads<n>(x, x_row, x_head, weights, out, out_row, out_head, outputs, inputs, rows);                                         \
    }
LINEAR_HEADS(16, 3)
LINEAR_HEADS(64, 2)
