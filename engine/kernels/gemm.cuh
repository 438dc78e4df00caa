// The product behind all grouped GEMMs: out[m, n] = sum over k of weights[m, k] * tokens[n, k]. Weights are M and tokens are N, since N can
// then be as small as 16: an expert has few tokens, and rows of padding would be read and multiplied for nothing.
//
// A block makes 128 weight rows x N tokens in steps of 128 bytes of K: 64 bf16 or 128 e4m3. Copies run STAGES - 1 steps ahead. A row of a
// step is eight chunks of 16 bytes, chunk c at c ^ (row % 8), so that neither copies nor `ldmatrix` meet in a bank. Warps lie MW x NW. Bits
// do not depend on N: every output is summed over K by the same instructions in the same order.
#pragma once
#include "common.cuh"

template <int N> struct Tile {
    static constexpr int M = 128;
    static constexpr int THREADS = N == 128 ? 256 : 128;
    static constexpr int MW = N <= 32 ? 4 : 2, NW = THREADS / 32 / MW;
    static constexpr int MT = M / MW / 16, NT = N / NW / 8;  // 16x8 products of a warp
    static constexpr int STAGES = N == 128 ? 3 : 4;
    static constexpr int STAGE_BYTES = (M + N) * 128;
    static constexpr int PASS = THREADS / 8;  // rows that all threads copy at once
    static constexpr int OUT_STRIDE = M + 8;  // of a finished tile in shared memory, transposed to [N][M]
};

template <int N> struct Product {
    typedef Tile<N> T;
    float sums[T::MT][T::NT][4];
    int warp_m, warp_n, lane;

    __device__ __forceinline__ Product() {
        int warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        warp_m = warp % T::MW * (T::MT * 16);
        warp_n = warp / T::MW * (T::NT * 8);
#pragma unroll
        for (int i = 0; i < T::MT; i++)
            for (int j = 0; j < T::NT; j++)
                for (int c = 0; c < 4; c++) sums[i][j][c] = 0.0f;
    }

    // Row of the tile that holds sums[i][.][c], and column of sums[.][j][c].
    __device__ __forceinline__ int m_of(int i, int c) const { return warp_m + i * 16 + lane / 4 + c / 2 * 8; }
    __device__ __forceinline__ int n_of(int j, int c) const { return warp_n + j * 8 + lane % 4 * 2 + c % 2; }

    // `weight(m)` and `token(n)` are where rows begin, null for rows that do not exist; `bytes` is their length, `somewhere` any address to
    // copy nothing from. With FP8, `scales` fills the factors of the sums of a step: the tensor core's own sums are too short to run over
    // all of K.
    template <bool FP8, class Weight, class Token, class Scales>
    __device__ __forceinline__ void run(u8* shared, int bytes, const void* somewhere, Weight weight, Token token, Scales scales) {
        const u8 *weights[T::M / T::PASS], *tokens[(N + T::PASS - 1) / T::PASS];
        const int chunk = threadIdx.x % 8, first = threadIdx.x / 8, steps = ceil_div(bytes, 128);
#pragma unroll
        for (int i = 0; i < T::M / T::PASS; i++) weights[i] = weight(first + i * T::PASS);
#pragma unroll
        for (int i = 0; i < (N + T::PASS - 1) / T::PASS; i++) tokens[i] = first + i * T::PASS < N ? token(first + i * T::PASS) : nullptr;

        auto copy = [&](int step) {
            u8* stage = shared + step % T::STAGES * T::STAGE_BYTES;
            int byte = step * 128 + chunk * 16;
            bool inside = byte < bytes && step < steps;
            auto put = [&](int row, const u8* from) {
                bool exists = inside && from;
                copy16(stage + row * 128 + (chunk ^ row % 8) * 16, exists ? from + byte : somewhere, exists);
            };
            if (step < steps) {
#pragma unroll
                for (int i = 0; i < T::M / T::PASS; i++) put(first + i * T::PASS, weights[i]);
#pragma unroll
                for (int i = 0; i < (N + T::PASS - 1) / T::PASS; i++)
                    if (first + i * T::PASS < N) put(T::M + first + i * T::PASS, tokens[i]);
            }
            copies_commit();
        };

#pragma unroll
        for (int step = 0; step < T::STAGES - 1; step++) copy(step);
        for (int step = 0; step < steps; step++) {
            copies_wait<T::STAGES - 2>();
            sync_block();  // the step is here for all, and all are done with the one before, whose place is filled next
            copy(step + T::STAGES - 1);
            multiply<FP8>(shared + step % T::STAGES * T::STAGE_BYTES, step, scales);
        }
        copies_wait<0>();
        sync_block();
    }

    template <bool FP8, class Scales> __device__ __forceinline__ void multiply(const u8* stage, int step, Scales scales) {
        // Matrices of an `ldmatrix`: weights take rows 0-7, 8-15 at the first chunk, then both at the second; tokens take both chunks of
        // rows 0-7, then of 8-15.
        const int m = warp_m + lane % 16, m_chunk = lane / 16, n = warp_n + lane % 8 + lane / 16 * 8, n_chunk = lane / 8 % 2;
        auto load_weights = [&](u32(&a)[4], int i, int k) {
            load_matrices(a, stage + (m + i * 16) * 128 + ((2 * k + m_chunk) ^ m % 8) * 16);
        };
        auto load_tokens = [&](u32(&b)[4], int j, int k) {
            load_matrices(b, stage + (T::M + n + j * 16) * 128 + ((2 * k + n_chunk) ^ n % 8) * 16);
        };
        if constexpr (!FP8) {
#pragma unroll
            for (int k = 0; k < 4; k++) {
                u32 a[T::MT][4], b[T::NT / 2][4];
#pragma unroll
                for (int i = 0; i < T::MT; i++) load_weights(a[i], i, k);
#pragma unroll
                for (int j = 0; j < T::NT / 2; j++) load_tokens(b[j], j, k);
#pragma unroll
                for (int i = 0; i < T::MT; i++)
#pragma unroll
                    for (int j = 0; j < T::NT; j++) multiply_bf16(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
            }
        }
#ifdef HAS_FP8
        if constexpr (FP8) {
            float row[T::MT], column[T::NT][2];
            scales(*this, step, row, column);
            // One row of products at a time: the sums of a step lie beside those of all steps, and there are not registers for all.
#pragma unroll
            for (int i = 0; i < T::MT; i++) {
                float parts[T::NT][4] = {};
#pragma unroll 2
                for (int k = 0; k < 4; k++) {
                    u32 a[4], b[T::NT / 2][4];
                    load_weights(a, i, k);
#pragma unroll
                    for (int j = 0; j < T::NT / 2; j++) load_tokens(b[j], j, k);
#pragma unroll
                    for (int j = 0; j < T::NT; j++) multiply_e4m3(parts[j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
                }
#pragma unroll
                for (int j = 0; j < T::NT; j++)
#pragma unroll
                    for (int c = 0; c < 4; c++) sums[i][j][c] += parts[j][c] * (row[i] * column[j][c % 2]);
            }
        }
#endif
    }

    // Writes `value(i, j, c)` of the first `rows` (of at most ROWS) tile rows in bf16 to where `out(n)` says, null for nowhere, in chunks
    // of 16 bytes. `place(i, c)` is the row of sums[i][.][c] among ROWS, negative for none.
    template <int ROWS, class Value, class Place, class Out>
    __device__ __forceinline__ void store(u8* shared, int rows, Value value, Place place, Out out) {
        bf16* finished = (bf16*)shared;
#pragma unroll
        for (int i = 0; i < T::MT; i++)
#pragma unroll
            for (int j = 0; j < T::NT; j++)
#pragma unroll
                for (int c = 0; c < 4; c++)
                    if (place(i, c) >= 0) finished[n_of(j, c) * T::OUT_STRIDE + place(i, c)] = to_bf16(value(i, j, c));
        sync_block();
        for (int index = threadIdx.x; index < N * (ROWS / 8); index += T::THREADS) {
            int n = index / (ROWS / 8), m = index % (ROWS / 8) * 8;
            bf16* to = out(n);
            if (to && m < rows) *(uint4*)(to + m) = *(const uint4*)(finished + n * T::OUT_STRIDE + m);
        }
    }
};

struct NoScales {
    template <class P, class R, class C> __device__ void operator()(const P&, int, R&, C&) const {}
};
