// What the tests share: random numbers, buffers of exact size, runs of a kernel in several orders, and comparison by normalised mean square
// error.
#pragma once
#include <random>
#include <set>
#include <string>

#include "common.cuh"
#include "launches.h"

namespace check {

struct Test {
    const char* name;
    void (*run)();
};
inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}
inline bool add(const char* name, void (*run)()) { return tests().push_back({name, run}), true; }
#define TEST(name)                                                   \
    static void test_##name();                                       \
    static const bool added_##name = check::add(#name, test_##name); \
    static void test_##name()

inline bool failed = false;
inline std::set<std::string> launched;  // names of kernels
inline std::mt19937_64 generator(1);

// A buffer of exact size, so that a sanitizer sees what lies beside it. It begins as NaN in every format.
template <class T> struct Buffer {
    std::unique_ptr<T[]> data;
    size_t size;

    explicit Buffer(size_t size) : data(new T[size]), size(size) { std::memset((void*)data.get(), 0xff, size * sizeof(T)); }
    T& operator[](size_t index) { return data[index]; }
    const T& operator[](size_t index) const { return data[index]; }
    T* at() { return data.get(); }
    const T* at() const { return data.get(); }
    std::vector<u8> bytes() const { return {(const u8*)at(), (const u8*)(at() + size)}; }
    void restore(const std::vector<u8>& bytes) { std::memcpy((void*)at(), bytes.data(), bytes.size()); }
};

inline float normal(float spread = 1.0f) { return std::normal_distribution<float>(0.0f, spread)(generator); }
inline int whole(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

inline Buffer<bf16> random_bf16(size_t size, float spread = 1.0f) {
    Buffer<bf16> buffer(size);
    for (size_t i = 0; i < size; i++) buffer[i] = to_bf16(normal(spread));
    return buffer;
}
inline Buffer<float> random_f32(size_t size, float center = 0.0f, float spread = 1.0f) {
    Buffer<float> buffer(size);
    for (size_t i = 0; i < size; i++) buffer[i] = center + normal(spread);
    return buffer;
}
template <class T> Buffer<T> of(const std::vector<T>& values) {
    Buffer<T> buffer(values.size());
    std::copy(values.begin(), values.end(), buffer.at());
    return buffer;
}

// Runs a kernel three times from the same contents of its outputs, in different orders of threads, with copies at once and at the last
// moment: the bits must be the same, or a barrier is missing.
template <class... Out> void launch(Launch launch, dim3 grid, const std::function<void()>& kernel, Out&... outs) {
    launched.insert(launch.kernel);
    std::vector<std::vector<u8>> before{outs.bytes()...}, first;
    std::vector<u32> order(launch.threads);
    for (int round = 0; round < 3; round++) {
        size_t place = 0;
        (outs.restore(before[place++]), ...);
        for (u32 i = 0; i < launch.threads; i++) order[i] = round == 1 ? launch.threads - 1 - i : i;
        if (round == 2) std::shuffle(order.begin(), order.end(), generator);
        emulator::run(grid, launch, order, round > 0, kernel);
        std::vector<std::vector<u8>> after{outs.bytes()...};
        if (round == 0) first = after;
        if (first != after) std::printf("  FAILED: the bits depend on the order of threads or copies\n"), failed = true;
    }
}

inline void report(const std::string& what, double error, double bound) {
    bool ok = error <= bound;  // false for NaN
    std::printf("  %-88s NMSE %.1e <= %.0e  %s\n", what.c_str(), error, bound, ok ? "ok" : "FAILED");
    std::fflush(stdout);
    failed |= !ok;
}
inline void expect(const std::string& what, bool holds) {
    std::printf("  %-88s %s\n", what.c_str(), holds ? "ok" : "FAILED");
    std::fflush(stdout);
    failed |= !holds;
}

inline double value(float x) { return x; }
inline double value(bf16 x) { return to_float(x); }

// Sum of squared differences as a share of the sum of squares: that of the worst row, of rows as wide as `width`.
template <class T> double nmse(const Buffer<T>& got, const std::vector<double>& want, size_t width = 0) {
    double worst = 0;
    if (got.size != want.size()) return NAN;
    if (width == 0) width = got.size;
    for (size_t first = 0; first < got.size; first += width) {
        double difference = 0, power = 0;
        for (size_t i = first; i < first + width; i++) {
            double d = value(got[i]) - want[i];
            difference += d * d, power += want[i] * want[i];
        }
        double error = difference == 0 ? 0 : difference / power;
        if (!(error <= worst)) worst = error;
        if (error != error) return NAN;
    }
    return worst;
}

template <class... Args> std::string text(const char* format, Args... args) {
    char line[256];
    std::snprintf(line, sizeof line, format, args...);
    return line;
}
}  // namespace check
