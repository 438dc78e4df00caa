// A GPU on the host: the words of `common.cuh`, so that g++ compiles kernels as they are. Every thread of a block is a fibre; blocks run
// one after another.
//
// What one lane gives, others see only at a barrier or in an exchange of the whole warp, which every lane must reach: a block that hangs is
// an error with the threads' places. The order in which fibres run, and whether asynchronous copies happen at once or at the last moment,
// are settings: a kernel whose result depends on them lacks a barrier. Shared memory has its exact size and begins as NaN; the sanitizers
// watch its ends, as they do those of all buffers.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __shared__ static
#define KERNEL(threads, blocks) static void
#define DYNAMIC_SHARED(name) u8* name = (u8*)emulator::block.shared.get()

using std::max;
using std::min;
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    u32 x, y;
};
struct alignas(16) uint4 {
    u32 x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
struct dim3 {
    u32 x = 1, y = 1, z = 1;
};

// As a launch line says it.
struct Launch {
    const char* kernel;
    u32 threads, shared_bytes;
};

namespace emulator {

// A sanitizer clears its notes on the whole stack at every change of fibre, so that a large one is slow.
constexpr size_t STACK = 48 << 10;

// A point that `size` threads must reach before one goes on.
struct Barrier {
    u32 size = 0, arrived = 0, round = 0;
};

// What the lanes of a warp show each other. Two sets of places take turns, so that one barrier an exchange is enough.
struct Warp {
    Barrier barrier;
    alignas(16) u8 places[2][32][64];
    alignas(16) u8 results[2][32][64];
};

struct Copy {
    void* to;
    const void* from;
    bool valid;
};

struct Fibre {
    ucontext_t context;
    std::unique_ptr<u8[]> stack;
    u32 thread = 0, exchanges = 0;
    bool done = false;
    const Barrier* waits_for = nullptr;
    u32 round = 0;
    std::vector<std::vector<Copy>> groups;  // of copies not yet waited for; the last is open
};

struct Block {
    dim3 index, grid;
    u32 threads = 0;
    std::unique_ptr<void, void (*)(void*)> shared{nullptr, std::free};
    Barrier barrier;
    std::vector<Warp> warps;
    std::vector<Fibre> fibres;
    std::vector<u32> order;  // in which fibres run
    u32 running = 0;         // place in `order`
    ucontext_t host;
    const std::function<void()>* kernel = nullptr;
};

inline Block block;
inline bool late_copies = false;
inline Fibre& self() { return block.fibres[block.order[block.running]]; }

inline bool can_run(const Fibre& fibre) { return !fibre.done && !(fibre.waits_for && fibre.waits_for->round == fibre.round); }

// Lets the next fibre run that can.
inline void yield() {
    const u32 from = block.running, count = (u32)block.order.size();
    for (u32 step = 1; step <= count; step++) {
        u32 next = (from + step) % count;
        if (!can_run(block.fibres[block.order[next]])) continue;
        Fibre& me = self();
        block.running = next;
        if (next != from) swapcontext(&me.context, &self().context);
        return;
    }
    bool all_done = std::all_of(block.fibres.begin(), block.fibres.end(), [](const Fibre& fibre) { return fibre.done; });
    if (!all_done) {
        std::fprintf(stderr, "block (%u, %u, %u) hangs:", block.index.x, block.index.y, block.index.z);
        for (const Fibre& fibre : block.fibres)
            std::fprintf(stderr, " %u%s", fibre.thread, fibre.done ? "=done" : fibre.waits_for == &block.barrier ? "=block" : "=warp");
        std::fprintf(stderr, "\n");
        std::abort();
    }
    swapcontext(&self().context, &block.host);
}

inline void wait(Barrier& barrier) {
    if (++barrier.arrived == barrier.size) {
        barrier.arrived = 0;
        barrier.round++;
        return;
    }
    Fibre& me = self();
    me.waits_for = &barrier, me.round = barrier.round;
    yield();
    me.waits_for = nullptr;
}

inline void start() {
    (*block.kernel)();
    Fibre& me = self();
    me.done = true;
    // Threads that are gone do not hold up the others at a barrier of the block.
    block.barrier.size--;
    if (block.barrier.size > 0 && block.barrier.arrived == block.barrier.size) block.barrier.arrived = 0, block.barrier.round++;
    yield();
}

inline void perform(const Copy& copy) {
    if (copy.valid) *(uint4*)copy.to = *(const uint4*)copy.from;
    else *(uint4*)copy.to = uint4{0, 0, 0, 0};
}

// Runs a kernel on a grid. `order` permutes the threads of a block.
inline void run(dim3 grid, Launch launch, const std::vector<u32>& order, bool copies_late, const std::function<void()>& kernel) {
    late_copies = copies_late;
    block.grid = grid, block.threads = launch.threads, block.kernel = &kernel, block.order = order;
    block.warps.assign(launch.threads / 32, Warp());
    block.fibres.clear();
    block.fibres.resize(launch.threads);
    for (Fibre& fibre : block.fibres) fibre.stack.reset(new u8[STACK]);
    for (u32 z = 0; z < grid.z; z++)
        for (u32 y = 0; y < grid.y; y++)
            for (u32 x = 0; x < grid.x; x++) {
                block.index = {x, y, z};
                void* shared = nullptr;
                if (posix_memalign(&shared, 128, launch.shared_bytes)) std::abort();
                block.shared.reset(shared);
                std::memset(block.shared.get(), 0xff, launch.shared_bytes);
                block.barrier = {launch.threads, 0, 0};
                for (Warp& warp : block.warps) warp.barrier = {32, 0, 0};
                for (u32 thread = 0; thread < launch.threads; thread++) {
                    Fibre& fibre = block.fibres[thread];
                    fibre.thread = thread, fibre.done = false, fibre.waits_for = nullptr, fibre.exchanges = 0;
                    fibre.groups.assign(1, {});
                    getcontext(&fibre.context);
                    fibre.context.uc_stack.ss_sp = fibre.stack.get();
                    fibre.context.uc_stack.ss_size = STACK;
                    fibre.context.uc_link = nullptr;
                    makecontext(&fibre.context, start, 0);
                }
                block.running = 0;
                swapcontext(&block.host, &self().context);
            }
}

// Shows `mine` to the warp; `finish` runs once, when all have, and gives each lane its result.
template <class In, class Out, class Finish> Out exchange(const In& mine, Finish finish) {
    static_assert(sizeof(In) <= 64 && sizeof(Out) <= 64);
    Fibre& me = self();
    Warp& warp = block.warps[me.thread / 32];
    const u32 lane = me.thread % 32, set = me.exchanges++ % 2;
    std::memcpy(warp.places[set][lane], &mine, sizeof(In));
    if (warp.barrier.arrived == 31)
        finish(
            [&](u32 lane) {
                In in;
                std::memcpy(&in, warp.places[set][lane], sizeof(In));
                return in;
            },
            [&](u32 lane, const Out& out) { std::memcpy(warp.results[set][lane], &out, sizeof(Out)); });
    wait(warp.barrier);
    Out out;
    std::memcpy(&out, warp.results[set][lane], sizeof(Out));
    return out;
}

// What each lane gets is what the lane `from(i)` shows.
template <class T, class From> T shuffled(T x, From from) {
    struct In {
        T x;
        int from;
    };
    const int lane = self().thread % 32;
    return exchange<In, T>({x, from(lane)}, [](auto in, auto out) {
        for (u32 i = 0; i < 32; i++) out(i, in(in(i).from).x);
    });
}
}  // namespace emulator

#define threadIdx (dim3{emulator::self().thread, 0, 0})
#define blockIdx (emulator::block.index)
#define blockDim (dim3{emulator::block.threads, 1, 1})
#define gridDim (emulator::block.grid)

inline float as_float(u32 bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
inline u32 as_bits(float x) {
    u32 bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline u32 round_bf16(float x) {
    u32 bits = as_bits(x);
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
inline u32 pack(float low, float high) { return round_bf16(low) | round_bf16(high) << 16; }
inline float exp2_fast(float x) { return std::exp2(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int __popc(u32 x) { return __builtin_popcount(x); }

template <class T> T shuffle(T x, int lane) {
    return emulator::shuffled(x, [=](int) { return lane % 32; });
}
template <class T> T shuffle_xor(T x, int mask) {
    return emulator::shuffled(x, [=](int lane) { return lane ^ mask; });
}
template <class T> T shuffle_up(T x, int lanes) {
    return emulator::shuffled(x, [=](int lane) { return std::max(lane - lanes, lane - lanes < 0 ? lane : 0); });
}
inline u32 ballot(bool yes) {
    return emulator::exchange<bool, u32>(yes, [](auto in, auto out) {
        u32 lanes = 0;
        for (u32 i = 0; i < 32; i++) lanes |= (u32)in(i) << i;
        for (u32 i = 0; i < 32; i++) out(i, lanes);
    });
}
inline void sync_block() { emulator::wait(emulator::block.barrier); }
inline void sync_warp() { ballot(true); }

inline void copy16(void* to, const void* from, bool valid) {
    emulator::Copy copy{to, from, valid};
    if (emulator::late_copies) emulator::self().groups.back().push_back(copy);
    else emulator::perform(copy);
}
inline void copies_commit() { emulator::self().groups.emplace_back(); }
template <int PENDING> void copies_wait() {
    auto& groups = emulator::self().groups;
    while (groups.size() > PENDING + 1) {
        for (const emulator::Copy& copy : groups.front()) emulator::perform(copy);
        groups.erase(groups.begin());
    }
}

struct Registers {
    u32 r[4];
};
inline void matrices(u32 (&r)[4], const void* row, bool transposed) {
    Registers got = emulator::exchange<const bf16*, Registers>((const bf16*)row, [=](auto in, auto out) {
        for (u32 lane = 0; lane < 32; lane++) {
            Registers of_lane;
            for (u32 j = 0; j < 4; j++) {
                u32 a = lane / 4, b = lane % 4 * 2;
                bf16 low = transposed ? in(8 * j + b)[a] : in(8 * j + a)[b],
                     high = transposed ? in(8 * j + b + 1)[a] : in(8 * j + a)[b + 1];
                of_lane.r[j] = low | (u32)high << 16;
            }
            out(lane, of_lane);
        }
    });
    for (int j = 0; j < 4; j++) r[j] = got.r[j];
}
inline void aligned16(const void* row) {
    if ((uintptr_t)row % 16) std::fprintf(stderr, "a row of ldmatrix is not aligned\n"), std::abort();
}
inline void load_matrices(u32 (&r)[4], const void* row) { aligned16(row), matrices(r, row, false); }
inline void load_matrices_transposed(u32 (&r)[4], const void* row) { aligned16(row), matrices(r, row, true); }

inline float e4m3(u8 byte) {
    int exponent = byte >> 3 & 15, mantissa = byte & 7;
    float x = exponent == 0                     ? std::ldexp((float)mantissa, -9)
              : exponent == 15 && mantissa == 7 ? NAN
                                                : std::ldexp(8.0f + mantissa, exponent - 10);
    return byte & 128 ? -x : x;
}

struct Operands {
    u32 a[4], b[2];
    float c[4];
};
struct Sums {
    float c[4];
};
// c[16, 8] += a[16, K] b[8, K]^T, where a register holds PER numbers that `value` reads.
template <int PER, class Value> void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, Value value) {
    Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
    Sums sums = emulator::exchange<Operands, Sums>(mine, [=](auto in, auto out) {
        constexpr int K = 8 * PER;
        float left[16][K], right[8][K];
        Operands all[32];
        for (u32 lane = 0; lane < 32; lane++) {
            all[lane] = in(lane);
            for (int i = 0; i < PER; i++)
                for (int half = 0; half < 2; half++) {
                    int k = (lane % 4) * PER + i + half * 4 * PER;
                    left[lane / 4][k] = value(all[lane].a[2 * half], i);
                    left[lane / 4 + 8][k] = value(all[lane].a[2 * half + 1], i);
                    right[lane / 4][k] = value(all[lane].b[half], i);
                }
        }
        for (u32 lane = 0; lane < 32; lane++) {
            Sums of_lane;
            for (int i = 0; i < 4; i++) {
                const float *m = left[lane / 4 + i / 2 * 8], *n = right[lane % 4 * 2 + i % 2];
                float sum = 0.0f;
                for (int k = 0; k < K; k++) sum += m[k] * n[k];
                of_lane.c[i] = all[lane].c[i] + sum;
            }
            out(lane, of_lane);
        }
    });
    for (int i = 0; i < 4; i++) c[i] = sums.c[i];
}
inline void multiply_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    multiply<2>(c, a, b0, b1, [](u32 bits, int i) { return as_float(i ? bits & 0xffff0000u : bits << 16); });
}
inline void multiply_e4m3(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    multiply<4>(c, a, b0, b1, [](u32 bits, int i) { return e4m3((u8)(bits >> 8 * i)); });
}

inline u32 add_shared(u32* to, u32 x) {
    u32 before = *to;
    *to += x;
    return before;
}

// The nearest of all 256, ties to the even one.
inline u8 round_e4m3(float x) {
    u8 best = 0;
    float magnitude = std::min(std::fabs(x), 448.0f);
    for (u8 byte = 0; byte <= 0x7e; byte++) {
        float distance = std::fabs(e4m3(byte) - magnitude), before = std::fabs(e4m3(best) - magnitude);
        if (distance < before || (distance == before && byte % 2 == 0)) best = byte;
    }
    return best | (std::signbit(x) ? 0x80 : 0);
}
inline u32 pack_e4m3(float low, float high) { return round_e4m3(low) | (u32)round_e4m3(high) << 8; }
