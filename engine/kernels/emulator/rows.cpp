// Rows, norms, gates, rotation and what goes into the cache.
#include "emulator/check.h"

namespace {
#include "rope.cu"
#include "rows.cu"
}  // namespace

using namespace check;

TEST(embed_and_select) {
    const int rows = 5, width = 200, vocabulary = 17;
    auto table = random_bf16(vocabulary * width);
    Buffer<u32> tokens(rows);
    Buffer<float> out(rows * width);
    for (int i = 0; i < rows; i++) tokens[i] = whole(0, vocabulary - 1);
    launch(launch_embed, {rows}, [&] { embed(tokens.at(), table.at(), out.at(), width); }, out);
    std::vector<double> want;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < width; j++) want.push_back(to_float(table[tokens[i] * width + j]));
    report(text("embed [%d, %d]", rows, width), nmse(out, want), 0);
    for (int bytes : {4 * width, 12}) {
        Buffer<u32> chosen = of<u32>({4, 0, 4});
        Buffer<u8> selected(3 * bytes);
        launch(launch_select_rows, {3}, [&] { select_rows(chosen.at(), (const u8*)out.at(), selected.at(), bytes); }, selected);
        bool same = true;
        for (int i = 0; i < 3; i++) same &= !std::memcmp(&selected[i * bytes], (const u8*)out.at() + chosen[i] * bytes, bytes);
        expect(text("select_rows of %d bytes", bytes), same);
    }
}

static std::vector<double> normed(const std::vector<double>& x, const Buffer<float>& weight, double epsilon, int width) {
    std::vector<double> want(x.size());
    for (size_t first = 0; first < x.size(); first += width) {
        double sum = 0;
        for (int i = 0; i < width; i++) sum += x[first + i] * x[first + i];
        for (int i = 0; i < width; i++) want[first + i] = x[first + i] / std::sqrt(sum / width + epsilon) * weight[i];
    }
    return want;
}

TEST(rms_norm) {
    for (int width : {24, 192, 2048}) {
        const int rows = 3;
        auto x = random_f32(rows * width), weight = random_f32(width, 1.0f, 0.2f);
        auto delta = random_bf16(rows * width);
        Buffer<bf16> out(rows * width);
        for (bool adds : {false, true}) {
            std::vector<double> sum;
            for (int i = 0; i < rows * width; i++) sum.push_back(x[i] + (adds ? to_float(delta[i]) : 0.0f));
            launch(
                launch_rms_norm_f32, {rows},
                [&] { rms_norm_f32(x.at(), adds ? delta.at() : nullptr, weight.at(), 1e-5f, out.at(), width); }, x, out);
            report(text("rms_norm_f32 [%d, %d]%s", rows, width, adds ? " with residual" : ""), nmse(out, normed(sum, weight, 1e-5, width)),
                   1e-5);
            report("  its stream", nmse(x, sum), 1e-12);
        }
        const int parts = 19;
        auto y = random_bf16(parts * width);
        Buffer<bf16> parts_out(parts * width);
        std::vector<double> numbers;
        for (int i = 0; i < parts * width; i++) numbers.push_back(to_float(y[i]));
        launch(launch_rms_norm_bf16, {3}, [&] { rms_norm_bf16(y.at(), weight.at(), 1e-6f, parts_out.at(), width, parts); }, parts_out);
        report(text("rms_norm_bf16 [%d, %d]", parts, width), nmse(parts_out, normed(numbers, weight, 1e-6, width)), 1e-5);
    }
}

TEST(bias_clamp_swiglu) {
    const int rows = 7, width = 200, total = rows * width;
    auto bias = random_f32(width), stream = random_f32(total);
    auto x = random_bf16(total), gates = random_bf16(2 * total);
    std::vector<double> stream_want, x_want, clamp_want, gated;
    for (int i = 0; i < total; i++) {
        stream_want.push_back(stream[i] + bias[i % width]);
        x_want.push_back(to_float(x[i]) + bias[i % width]);
        double gate = to_float(gates[i / width * 2 * width + i % width]), up = to_float(gates[i / width * 2 * width + width + i % width]);
        gated.push_back(gate / (1 + std::exp(-gate)) * up);
    }
    const u32 blocks = (total + 1023) / 1024;
    launch(launch_add_bias_f32, {blocks}, [&] { add_bias_f32(bias.at(), stream.at(), width, total); }, stream);
    report("add_bias_f32 [7, 200]", nmse(stream, stream_want), 1e-12);
    launch(launch_add_bias_bf16, {blocks}, [&] { add_bias_bf16(bias.at(), x.at(), width, total); }, x);
    report("add_bias_bf16 [7, 200]", nmse(x, x_want), 1e-5);
    for (int i = 0; i < total; i++) clamp_want.push_back(std::clamp(to_float(x[i]), -0.5f, 0.5f));
    launch(launch_clamp, {blocks}, [&] { clamp(0.5f, x.at(), total); }, x);
    report("clamp [7, 200]", nmse(x, clamp_want), 1e-12);
    Buffer<bf16> out(total);
    launch(launch_swiglu, {blocks}, [&] { swiglu(gates.at(), out.at(), width, total); }, out);
    report("swiglu [7, 2 x 200]", nmse(out, gated), 1e-5);
}

struct Tables {
    Buffer<float> cosines, sines;
    Rotary rotary;
    Tables(int positions, int pairs) : cosines(positions * pairs), sines(positions * pairs), rotary{cosines.at(), sines.at(), pairs} {
        for (int i = 0; i < positions * pairs; i++) cosines[i] = std::cos(0.37f * i), sines[i] = std::sin(0.37f * i);
    }
    double turned(const bf16* x, int position, int i) const {
        int pair = i % rotary.pairs;
        double cosine = cosines[position * rotary.pairs + pair], sine = sines[position * rotary.pairs + pair];
        double first = to_float(x[pair]), second = to_float(x[pair + rotary.pairs]);
        return i < rotary.pairs ? first * cosine - second * sine : second * cosine + first * sine;
    }
};

TEST(rope_and_cache) {
    const int rows = 6, heads = 3, x_head = 48, out_head = 80;
    Buffer<int> position = of<int>({0, 7, 3, -1, 39, 12}), slot = of<int>({9, 2, 30, 0, 4, 11});
    for (int pairs : {4, 16}) {
        Tables tables(40, pairs);
        auto x = random_bf16(rows * heads * x_head);
        auto out = random_bf16(rows * heads * out_head);
        std::vector<double> want;
        for (int i = 0; i < rows * heads * out_head; i++) {
            int head = i / out_head, place = i % out_head - (out_head - 2 * pairs), at = position[head / heads];
            want.push_back(place < 0 || at < 0 ? to_float(out[i]) : tables.turned(&x[head * x_head + x_head - 2 * pairs], at, place));
        }
        launch(
            launch_rope_heads, {u32(rows * heads * pairs + 255) / 256},
            [&] { rope_heads(x.at(), x_head, out.at(), out_head, heads, tables.rotary, position.at(), rows); }, out);
        report(text("rope_heads [%d, %d x %d] -> [%d, %d x %d], %d pairs", rows, heads, x_head, rows, heads, out_head, pairs),
               nmse(out, want), 1e-5);
    }
    for (int latent : {16, 512}) {
        const int pairs = 32, width = latent + 64, slots = 33;
        Tables tables(40, pairs);
        auto x = random_bf16(rows * width), cache = random_bf16(slots * width);
        auto weight = random_f32(latent, 1.0f, 0.2f);
        std::vector<double> want;
        for (int i = 0; i < slots * width; i++) want.push_back(to_float(cache[i]));
        for (int row = 0; row < rows; row++) {
            if (position[row] < 0) continue;
            std::vector<double> numbers;
            for (int i = 0; i < latent; i++) numbers.push_back(to_float(x[row * width + i]));
            numbers = normed(numbers, weight, 1e-6, latent);
            for (int i = 0; i < width; i++)
                want[slot[row] * width + i] = i < latent ? numbers[i] : tables.turned(&x[row * width + latent], position[row], i - latent);
        }
        launch(
            launch_mla_cache, {2},
            [&] { mla_cache(x.at(), weight.at(), 1e-6f, tables.rotary, position.at(), slot.at(), cache.at(), latent, rows); }, cache);
        report(text("mla_cache [%d, %d + 64] into %d slots", rows, latent, slots), nmse(cache, want), 1e-5);
    }
    const int pairs = 8, width = 3 * 16, slots = 33;
    Tables tables(40, pairs);
    auto keys = random_bf16(rows * width), values = random_bf16(rows * width), cache = random_bf16(slots * 2 * width);
    std::vector<double> want;
    for (int i = 0; i < slots * 2 * width; i++) want.push_back(to_float(cache[i]));
    for (int row = 0; row < rows; row++)
        for (int i = 0; i < width && position[row] >= 0; i++) {
            want[slot[row] * 2 * width + i] = tables.turned(&keys[row * width + i / 16 * 16], position[row], i % 16);
            want[slot[row] * 2 * width + width + i] = to_float(values[row * width + i]);
        }
    launch(
        launch_gqa_cache, {rows},
        [&] { gqa_cache(keys.at(), values.at(), tables.rotary, position.at(), slot.at(), cache.at(), width, rows); }, cache);
    report("gqa_cache [6, 3 x 16] into 33 slots", nmse(cache, want), 1e-5);
}
