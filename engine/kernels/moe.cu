// Grouped GEMMs of the experts in bf16, and the sum of their answers. Shapes and ideas are in `moe.cuh` and `gemm.cuh`.
// launch: moe_gate_up_n16 threads=128 shared=73728 tile=16
// launch: moe_gate_up_n32 threads=128 shared=81920 tile=32
// launch: moe_gate_up_n64 threads=128 shared=98304 tile=64
// launch: moe_gate_up_n128 threads=256 shared=98304 tile=128
// launch: moe_down_n16 threads=128 shared=73728 tile=16
// launch: moe_down_n32 threads=128 shared=81920 tile=32
// launch: moe_down_n64 threads=128 shared=98304 tile=64
// launch: moe_down_n128 threads=256 shared=98304 tile=128
// launch: moe_reduce threads=128
#include "moe.cuh"

#define EXPERTS(n, blocks)                                                                                                          \
    KERNEL(Tile<n>::THREADS, blocks)                                                                                                \
    moe_gate_up_n##n(const bf16* x, const int* order, const ExpertTile* tiles, const bf16* const* weights, bf16* out, int inputs,   \
                     int inner, int routes_of_row) {                                                                                \
        gate_up<n, false>(x, order, tiles, (const void* const*)weights, Fp8Scales(), out, inputs, inner, routes_of_row);            \
    }                                                                                                                               \
    KERNEL(Tile<n>::THREADS, blocks)                                                                                                \
    moe_down_n##n(const bf16* h, const int* order, const ExpertTile* tiles, const bf16* const* weights, const float* route_weights, \
                  bf16* out, int inputs, int outputs) {                                                                             \
        down<n, false>(h, order, tiles, (const void* const*)weights, Fp8Scales(), route_weights, out, inputs, outputs);             \
    }
EXPERTS(16, 3)
EXPERTS(32, 2)
EXPERTS(64, 2)
EXPERTS(128, 2)

// stream[row] += the answers of the row's routes, in the order of rising expert; y [rows, routes_of_row, width]. Routes of no expert were
// not written.
KERNEL(128, 8) moe_reduce(const bf16* y, const int* ids, float* stream, int routes_of_row, int width) {
    const int row = blockIdx.x;
    for (int i = threadIdx.x; i < width / 8; i += blockDim.x) {
        float4* to = (float4*)(stream + (u64)row * width) + 2 * i;
        float4 low = to[0], high = to[1];
        for (int route = row * routes_of_row; route < (row + 1) * routes_of_row; route++) {
            if (ids[route] < 0) continue;
            float v[8];
            unpack8(((const uint4*)(y + (u64)route * width))[i], v);
            low = make_float4(low.x + v[0], low.y + v[1], low.z + v[2], low.w + v[3]);
            high = make_float4(high.x + v[4], high.y + v[5], high.z + v[6], high.w + v[7]);
        }
        to[0] = low, to[1] = high;
    }
}
