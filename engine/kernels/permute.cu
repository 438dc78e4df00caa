// Sorts routes by expert, those of one expert in their own order, and cuts each expert's into tiles of `tile_rows`. A block belongs to one
// expert: it counts all routes, since an expert begins where those before it end, and then writes the places of its own. Nothing waits for
// another block or for the host, and the counts are integers, so that their order does not matter.
// ids [routes], order [routes]: place -> route; tiles [tiles_max] of {expert, first place, count, 0}, count 0 where there is none.
// launch: permute threads=256
#include "common.cuh"

constexpr int THREADS = 256, EXPERTS = 1024;

KERNEL(THREADS, 4) permute(const int* ids, int* order, int4* tiles, int routes, int experts, int tile_rows, int tiles_max) {
    __shared__ u32 counts[EXPERTS], of_warps[THREADS / 32];
    __shared__ int before[3];  // routes and tiles of the experts before this one, and tiles of all
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, expert = blockIdx.x;
    for (int i = threadIdx.x; i < experts; i += THREADS) counts[i] = 0;
    sync_block();
    for (int i = threadIdx.x; i < routes; i += THREADS)
        if (ids[i] >= 0 && ids[i] < experts) add_shared(&counts[ids[i]], 1u);
    sync_block();
    if (warp == 0) {
        int sums[3] = {0, 0, 0};
        for (int i = lane; i < experts; i += 32) {
            int count = counts[i], count_tiles = ceil_div(count, tile_rows);
            if (i < expert) sums[0] += count, sums[1] += count_tiles;
            sums[2] += count_tiles;
        }
#pragma unroll
        for (int mask = 16; mask > 0; mask /= 2)
#pragma unroll
            for (int j = 0; j < 3; j++) sums[j] += shuffle_xor(sums[j], mask);
        if (lane < 3) before[lane] = lane == 0 ? sums[0] : lane == 1 ? sums[1] : sums[2];
    }
    sync_block();
    const int first = before[0], count = counts[expert];
    for (int i = threadIdx.x; i < ceil_div(count, tile_rows); i += THREADS)
        tiles[before[1] + i] = make_int4(expert, first + i * tile_rows, min(tile_rows, count - i * tile_rows), 0);
    for (int i = before[2] + expert * THREADS + threadIdx.x; i < tiles_max; i += experts * THREADS) tiles[i] = make_int4(0, 0, 0, 0);

    int place = first;
    for (int begin = 0; begin < routes && place < first + count; begin += THREADS) {
        const int route = begin + threadIdx.x;
        const bool mine = route < routes && ids[route] == expert;
        const u32 lanes = ballot(mine);
        if (lane == 0) of_warps[warp] = __popc(lanes);
        sync_block();
        int earlier = place;
        for (int w = 0; w < THREADS / 32; w++) {
            if (w < warp) earlier += of_warps[w];
            place += of_warps[w];
        }
        if (mine) order[earlier + __popc(lanes & ((1u << lane) - 1))] = route;
        sync_block();
    }
}
