// Grouped GEMMs of the experts in e4m3 with block scales, and the rounding of activations to it. The tensor core's sums go over to f32
// every 128 channels, where the scales change anyway.
// launch: moe_gate_up_fp8_n16 threads=128 shared=73728 tile=16
// launch: moe_gate_up_fp8_n32 threads=128 shared=81920 tile=32
// launch: moe_gate_up_fp8_n64 threads=128 shared=98304 tile=64
// launch: moe_gate_up_fp8_n128 threads=256 shared=98304 tile=128
// launch: moe_down_fp8_n16 threads=128 shared=73728 tile=16
// launch: moe_down_fp8_n32 threads=128 shared=81920 tile=32
// launch: moe_down_fp8_n64 threads=128 shared=98304 tile=64
// launch: moe_down_fp8_n128 threads=256 shared=98304 tile=128
// launch: quantise threads=128
#define HAS_FP8
#include "moe.cuh"

#define EXPERTS_FP8(n, blocks)                                                                                                          \
    KERNEL(Tile<n>::THREADS, blocks)                                                                                                    \
    moe_gate_up_fp8_n##n(const u8* x, const float* x_scales, const int* order, const ExpertTile* tiles, const u8* const* weights,       \
                         const float* const* scales, bf16* out, int inputs, int inner, int routes_of_row) {                             \
        gate_up<n, true>(x, order, tiles, (const void* const*)weights, Fp8Scales{x_scales, scales}, out, inputs, inner, routes_of_row); \
    }                                                                                                                                   \
    KERNEL(Tile<n>::THREADS, blocks)                                                                                                    \
    moe_down_fp8_n##n(const u8* h, const float* h_scales, const int* order, const ExpertTile* tiles, const u8* const* weights,          \
                      const float* const* scales, const float* route_weights, bf16* out, int inputs, int outputs) {                     \
        down<n, true>(h, order, tiles, (const void* const*)weights, Fp8Scales{h_scales, scales}, route_weights, out, inputs, outputs);  \
    }
EXPERTS_FP8(16, 3)
EXPERTS_FP8(32, 2)
EXPERTS_FP8(64, 2)
EXPERTS_FP8(128, 1)

// out = x / scale in e4m3, scales [rows, ceil(width / 128)] = max |x| / 448 of 128 channels, rounded up to a power of two where asked. One
// warp a block of channels: four channels a lane.
KERNEL(128, 8) quantise(const bf16* x, u8* out, float* scales, int width, int power_of_two) {
    const int block = blockIdx.x * 4 + threadIdx.x / 32, blocks = ceil_div(width, 128), channel = block * 128 + threadIdx.x % 32 * 4;
    if (block >= blocks) return;
    const u64 row = blockIdx.y;
    uint2 four = channel < width ? *(const uint2*)(x + row * width + channel) : make_uint2(0, 0);
    float v[4] = {low_float(four.x), high_float(four.x), low_float(four.y), high_float(four.y)};
    float highest = warp_max(fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3]))));
    float scale = fmaxf(highest, 1e-4f) / 448.0f;
    if (power_of_two) scale = as_float((as_bits(scale) + 0x7fffffu) & 0x7f800000u);
    if (channel < width)
        *(u32*)(out + row * width + channel) = pack_e4m3(v[0] / scale, v[1] / scale) | pack_e4m3(v[2] / scale, v[3] / scale) << 16;
    if (threadIdx.x % 32 == 0) scales[row * blocks + block] = scale;
}
