// The router, the order of routes, and the experts themselves, against sums in doubles: empty experts, one token, widths that no tile
// divides, padding rows.
#define HAS_FP8
#include "emulator/check.h"
#include "moe.cuh"

namespace {
#include "linear_heads.cu"
#include "moe.cu"
#include "moe_fp8.cu"
namespace router {
#include "route.cu"
}
namespace sorting {
#include "permute.cu"
}
}  // namespace

using namespace check;

struct Family {
    const char* name;
    int experts, per_token, shared;
    bool sigmoid, normalise;
    int groups, kept;
    float scale;
};

// The indices of the highest, the lower first among equals.
static std::vector<int> best(const std::vector<double>& values, int count) {
    std::vector<int> order(values.size());
    for (size_t i = 0; i < order.size(); i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return values[a] > values[b]; });
    order.resize(count);
    return order;
}

TEST(route) {
    const Family families[] = {
        {"Moonlight", 64, 6, 2, true, true, 1, 1, 2.446f}, {"V3", 256, 8, 1, true, true, 8, 4, 2.5f},
        {"V2-Lite", 64, 6, 2, false, false, 1, 1, 1.0f},   {"V2", 160, 6, 2, false, false, 8, 3, 16.0f},
        {"Qwen3", 128, 8, 0, false, true, 1, 1, 1},        {"Mixtral", 8, 2, 0, false, true, 1, 1, 1},
    };
    for (const Family& family : families) {
        const int rows = 9, routes = family.per_token + family.shared, E = family.experts;
        auto logits = random_f32(rows * E), bias = random_f32(E, 0.0f, family.sigmoid ? 0.1f : 0.0f);
        for (int i = 0; i < E; i++)
            logits[i] = 0.25f * whole(-2, 2), bias[i] = family.sigmoid ? 0.25f * whole(0, 1) : 0;  // many ties in the first row
        Buffer<int> position(rows), ids(rows * routes);
        Buffer<float> weights(rows * routes);
        for (int row = 0; row < rows; row++) position[row] = row == 5 ? -1 : row;
        const int flags = family.sigmoid * router::SIGMOID + family.normalise * router::NORMALISE;
        launch(
            launch_route, {3},
            [&] {
                router::route(logits.at(), family.sigmoid ? bias.at() : nullptr, position.at(), ids.at(), weights.at(), E, family.per_token,
                              family.shared, flags, family.groups, family.kept, family.scale, rows);
            },
            ids, weights);
        bool same = true;
        std::vector<double> want;
        for (int row = 0; row < rows; row++) {
            std::vector<double> scores(E), choice(E);
            double total = 0;
            for (int i = 0; i < E; i++)
                total += scores[i] =
                    family.sigmoid ? 1 / (1 + std::exp(-(double)logits[row * E + i])) : std::exp((double)logits[row * E + i]);
            for (int i = 0; i < E; i++) choice[i] = (family.sigmoid ? scores[i] : scores[i] /= total) + (family.sigmoid ? bias[i] : 0);
            if (family.kept < family.groups) {
                const int size = E / family.groups;
                std::vector<double> groups;
                for (int group = 0; group < family.groups; group++) {
                    std::vector<double> members(choice.begin() + group * size, choice.begin() + (group + 1) * size);
                    std::sort(members.rbegin(), members.rend());
                    groups.push_back(members[0] + (family.sigmoid ? members[1] : 0));
                }
                auto open = best(groups, family.kept);
                for (int i = 0; i < E; i++)
                    if (std::find(open.begin(), open.end(), i / size) == open.end()) choice[i] = -INFINITY;
            }
            auto chosen = best(choice, family.per_token);
            std::sort(chosen.begin(), chosen.end());
            double sum = 0;
            for (int expert : chosen) sum += scores[expert];
            for (int j = 0; j < routes; j++) {
                const bool routed = j < family.per_token, live = position[row] >= 0;
                same &= ids[row * routes + j] == (!live ? -1 : routed ? chosen[j] : E + j - family.per_token);
                want.push_back(!live ? 0 : routed ? scores[chosen[j]] / (family.normalise ? sum : 1) * family.scale : 1);
            }
        }
        expect(text("route %s: %d of %d experts, %d shared, %d of %d groups: the same choice", family.name, family.per_token, E,
                    family.shared, family.kept, family.groups),
               same);
        report("  weights", nmse(weights, want), 1e-10);
    }
}

// Routes in order of experts, as `permute` makes it.
struct Order {
    int routes, experts, n, tiles_max;
    Buffer<int> ids, order;
    Buffer<int4> tiles;

    Order(const std::vector<int>& given, int experts, int n)
        : routes(given.size()), experts(experts), n(n), tiles_max(routes / n + experts), ids(of(given)), order(routes), tiles(tiles_max) {
        for (int i = 0; i < routes; i++) order[i] = 1 << 30;
        launch(
            launch_permute, {(u32)experts}, [&] { sorting::permute(ids.at(), order.at(), tiles.at(), routes, experts, n, tiles_max); },
            order, tiles);
    }
    const ExpertTile* at() const { return (const ExpertTile*)tiles.at(); }
};

// Rows choose experts at random; some experts get none, and row `padding` goes nowhere.
static std::vector<int> choices(int rows, int per_token, int experts, int padding = -1) {
    std::vector<int> ids;
    for (int row = 0; row < rows; row++) {
        std::vector<int> all;
        for (int i = 0; i < experts; i += i % 3 == 1 ? 2 : 1) all.push_back(i);
        std::shuffle(all.begin(), all.end(), generator);
        std::sort(all.begin(), all.begin() + per_token);
        for (int j = 0; j < per_token; j++) ids.push_back(row == padding ? -1 : all[j]);
    }
    return ids;
}

TEST(permute) {
    for (auto [rows, per_token, experts, n] : {std::tuple{1, 2, 8, 16}, {130, 6, 66, 16}, {40, 8, 257, 32}, {700, 2, 5, 64}}) {
        auto ids = choices(rows, per_token, experts, 0);
        if (rows == 1) ids = {7, 3};
        Order order(ids, experts, n);
        std::vector<int> want;
        for (int expert = 0; expert < experts; expert++)
            for (size_t route = 0; route < ids.size(); route++)
                if (ids[route] == expert) want.push_back(route);
        bool same = std::equal(want.begin(), want.end(), order.order.at());
        std::vector<int> covered(want.size(), 0);
        for (int i = 0; i < order.tiles_max; i++)
            for (int j = 0; j < order.at()[i].count; j++) {
                int place = order.at()[i].first + j;
                same &= order.at()[i].count <= n && place < (int)want.size() && ids[want[place]] == order.at()[i].expert;
                if (place < (int)want.size()) covered[place]++;
            }
        for (int times : covered) same &= times == 1;
        expect(text("permute: %d routes, %d experts, tiles of %d", order.routes, experts, n), same);
    }
}

static double silu(double x) { return x / (1 + std::exp(-x)); }

TEST(experts) {
    std::vector<u8> first_bits;
    for (auto [n, rows, per_token, experts, inputs, inner, outputs] : {std::tuple{16, 40, 2, 5, 200, 72, 136},
                                                                       {32, 40, 2, 5, 200, 72, 136},
                                                                       {64, 40, 2, 5, 200, 72, 136},
                                                                       {128, 40, 2, 5, 200, 72, 136},
                                                                       {16, 1, 2, 4, 64, 64, 128},
                                                                       {64, 150, 1, 2, 320, 40, 24},
                                                                       {128, 300, 1, 2, 72, 168, 264}}) {
        generator.seed(7);
        Order order(choices(rows, per_token, experts, rows > 1 ? 1 : -1), experts, n);
        const int routes = order.routes;
        auto x = random_bf16(rows * inputs);
        std::vector<Buffer<bf16>> gated, down;  // gate and up of each expert in turn
        std::vector<const bf16*> gated_at, down_at;
        for (int i = 0; i < experts; i++) {
            for (int side = 0; side < 2; side++) gated.push_back(random_bf16(inner * inputs, 0.1f)), gated_at.push_back(gated.back().at());
            down.push_back(random_bf16(outputs * inner, 0.2f)), down_at.push_back(down[i].at());
        }
        auto gated_table = of(gated_at), down_table = of(down_at);
        auto weights = random_f32(routes, 0.5f, 0.2f), stream = random_f32(rows * outputs);
        Buffer<bf16> h(routes * inner), y(routes * outputs);
        for (size_t i = 0; i < h.size; i++) h[i] = 0;
        for (size_t i = 0; i < y.size; i++) y[i] = 0;
        auto gate_up = n == 16 ? moe_gate_up_n16 : n == 32 ? moe_gate_up_n32 : n == 64 ? moe_gate_up_n64 : moe_gate_up_n128;
        auto last = n == 16 ? moe_down_n16 : n == 32 ? moe_down_n32 : n == 64 ? moe_down_n64 : moe_down_n128;
        const Launch gate_up_launch[] = {launch_moe_gate_up_n16, launch_moe_gate_up_n32, launch_moe_gate_up_n64, launch_moe_gate_up_n128};
        const Launch down_launch[] = {launch_moe_down_n16, launch_moe_down_n32, launch_moe_down_n64, launch_moe_down_n128};
        const int which = n == 16 ? 0 : n == 32 ? 1 : n == 64 ? 2 : 3;
        launch(
            gate_up_launch[which], {(u32)order.tiles_max, (u32)ceil_div(inner, 64)},
            [&] { gate_up(x.at(), order.order.at(), order.at(), gated_table.at(), h.at(), inputs, inner, per_token); }, h);
        std::vector<double> h_want(routes * inner, 0), y_want(routes * outputs, 0), stream_want;
        for (int place = 0; place < routes && order.order[place] < routes; place++) {
            const int route = order.order[place], row = route / per_token, expert = order.ids[route];
            for (int i = 0; i < inner; i++) {
                double gate = 0, raised = 0;
                for (int k = 0; k < inputs; k++) {
                    gate += (double)to_float(x[row * inputs + k]) * to_float(gated[2 * expert][i * inputs + k]);
                    raised += (double)to_float(x[row * inputs + k]) * to_float(gated[2 * expert + 1][i * inputs + k]);
                }
                h_want[place * inner + i] = silu(gate) * raised;
            }
        }
        report(text("moe_gate_up_n%d: %d rows, %d of %d experts, %d -> 2 x %d", n, rows, per_token, experts, inputs, inner),
               nmse(h, h_want), 1e-5);
        launch(
            down_launch[which], {(u32)order.tiles_max, (u32)ceil_div(outputs, 128)},
            [&] { last(h.at(), order.order.at(), order.at(), down_table.at(), weights.at(), y.at(), inner, outputs); }, y);
        for (int place = 0; place < routes && order.order[place] < routes; place++) {
            const int route = order.order[place], expert = order.ids[route];
            for (int i = 0; i < outputs; i++) {
                double sum = 0;
                for (int k = 0; k < inner; k++) sum += (double)to_float(h[place * inner + k]) * to_float(down[expert][i * inner + k]);
                y_want[route * outputs + i] = sum * weights[route];
            }
        }
        report(text("moe_down_n%d: %d -> %d", n, inner, outputs), nmse(y, y_want), 1e-5);
        for (int i = 0; i < rows * outputs; i++) {
            double sum = stream[i];
            for (int j = 0; j < per_token; j++)
                if (order.ids[i / outputs * per_token + j] >= 0) sum += to_float(y[(i / outputs * per_token + j) * outputs + i % outputs]);
            stream_want.push_back(sum);
        }
        launch(launch_moe_reduce, {(u32)rows}, [&] { moe_reduce(y.at(), order.ids.at(), stream.at(), per_token, outputs); }, stream);
        report("moe_reduce", nmse(stream, stream_want), 1e-12);
        if (rows == 40) {
            if (n == 16) first_bits = stream.bytes();
            expect("the bits are those of tiles of 16", stream.bytes() == first_bits);
        }
    }
}

TEST(linear_heads) {
    for (auto [n, rows, heads, x_head, inputs, out_head, outputs] :
         {std::tuple{16, 5, 3, 192, 128, 576, 512}, {64, 70, 2, 512, 512, 128, 128}, {16, 17, 2, 24, 16, 40, 24}}) {
        auto x = random_bf16(rows * heads * x_head);
        std::vector<Buffer<bf16>> matrices;
        std::vector<const bf16*> at;
        for (int head = 0; head < heads; head++) matrices.push_back(random_bf16(outputs * inputs, 0.1f)), at.push_back(matrices[head].at());
        auto table = of(at);
        auto out = random_bf16(rows * heads * out_head);
        std::vector<double> want;
        for (int i = 0; i < rows * heads * out_head; i++) {
            const int head = i / out_head % heads, row = i / out_head / heads, output = i % out_head;
            double sum = to_float(out[i]);
            if (output < outputs) {
                sum = 0;
                for (int k = 0; k < inputs; k++)
                    sum += (double)to_float(x[(row * heads + head) * x_head + k]) * to_float(matrices[head][output * inputs + k]);
            }
            want.push_back(sum);
        }
        launch(
            n == 16 ? launch_linear_heads_n16 : launch_linear_heads_n64, {(u32)ceil_div(rows, n), (u32)ceil_div(outputs, 128), (u32)heads},
            [&] {
                (n == 16 ? linear_heads_n16 : linear_heads_n64)(x.at(), heads * x_head, x_head, table.at(), out.at(), heads * out_head,
                                                                out_head, outputs, inputs, rows);
            },
            out);
        report(text("linear_heads_n%d: %d rows, %d heads, %d of %d -> %d of %d", n, rows, heads, inputs, x_head, outputs, out_head),
               nmse(out, want), 1e-5);
    }
}

TEST(quantise) {
    for (auto [rows, width, power_of_two] : {std::tuple{3, 576, 0}, {2, 64, 1}, {4, 1024, 1}}) {
        const int blocks = ceil_div(width, 128);
        auto x = random_bf16(rows * width, 3.0f);
        for (int i = 0; i < 64; i++) x[i] = 0;
        Buffer<u8> out(rows * width);
        Buffer<float> scales(rows * blocks);
        launch(
            launch_quantise, {(u32)ceil_div(blocks, 4), (u32)rows}, [&] { quantise(x.at(), out.at(), scales.at(), width, power_of_two); },
            out, scales);
        double difference = 0, power = 0;
        bool right = true;
        for (int i = 0; i < rows * width; i++) {
            float scale = scales[i / width * blocks + i % width / 128];
            double d = e4m3(out[i]) * scale - to_float(x[i]);
            difference += d * d, power += (double)to_float(x[i]) * to_float(x[i]);
            int exponent;
            right &= !power_of_two || std::frexp(scale, &exponent) == 0.5f;
        }
        report(text("quantise [%d, %d]%s", rows, width, power_of_two ? " by powers of two" : ""), difference / power, 1e-3);
        for (int i = 0; i < rows * blocks; i++) {
            float highest = 1e-4f;
            for (int j = i % blocks * 128; j < std::min(width, i % blocks * 128 + 128); j++)
                highest = std::max(highest, std::fabs(to_float(x[i / blocks * width + j])));
            right &=
                power_of_two ? scales[i] >= highest / 448 && scales[i] < highest / 224 : std::fabs(scales[i] * 448 / highest - 1) < 1e-6;
        }
        expect("  its scales", right);
    }
}

TEST(fp8_experts) {
    for (auto [n, rows, per_token, experts, inputs, inner, outputs] : {std::tuple{16, 20, 2, 4, 576, 96, 144},
                                                                       {32, 20, 2, 4, 576, 96, 144},
                                                                       {64, 20, 2, 4, 576, 96, 144},
                                                                       {128, 20, 2, 4, 576, 96, 144},
                                                                       {16, 1, 1, 3, 128, 256, 272},
                                                                       {64, 90, 1, 2, 144, 160, 32}}) {
        Order order(choices(rows, per_token, experts, rows > 1 ? 1 : -1), experts, n);
        const int routes = order.routes, k_blocks = ceil_div(inputs, 128), inner_blocks = ceil_div(inner, 128),
                  out_blocks = ceil_div(outputs, 128);
        auto bytes = [](size_t size) {
            Buffer<u8> buffer(size);
            for (size_t i = 0; i < size; i++) buffer[i] = round_e4m3(normal(30.0f));
            return buffer;
        };
        auto scales = [](size_t size) {
            Buffer<float> buffer(size);
            for (size_t i = 0; i < size; i++) buffer[i] = 0.001f * std::exp(normal(0.5f));
            return buffer;
        };
        auto x = bytes(rows * inputs), h = bytes(routes * inner);
        auto x_scales = scales(rows * k_blocks), h_scales = scales(routes * inner_blocks);
        std::vector<Buffer<u8>> gated, down;  // gate and up of each expert in turn
        std::vector<Buffer<float>> gated_scales, down_scales;
        std::vector<const u8*> gated_at, down_at;
        std::vector<const float*> gated_scales_at, down_scales_at;
        for (int i = 0; i < experts; i++) {
            for (int side = 0; side < 2; side++) {
                gated.push_back(bytes(inner * inputs)), gated_at.push_back(gated.back().at());
                gated_scales.push_back(scales(inner_blocks * k_blocks)), gated_scales_at.push_back(gated_scales.back().at());
            }
            down.push_back(bytes(outputs * inner)), down_at.push_back(down[i].at());
            down_scales.push_back(scales(out_blocks * inner_blocks)), down_scales_at.push_back(down_scales[i].at());
        }
        auto gated_table = of(gated_at), down_table = of(down_at);
        auto gated_scale_table = of(gated_scales_at), down_scale_table = of(down_scales_at);
        auto weights = random_f32(routes, 0.5f, 0.2f);
        Buffer<bf16> raised(routes * inner), y(routes * outputs);
        for (size_t i = 0; i < raised.size; i++) raised[i] = 0;
        for (size_t i = 0; i < y.size; i++) y[i] = 0;
        auto gate_up = n == 16 ? moe_gate_up_fp8_n16 : n == 32 ? moe_gate_up_fp8_n32 : n == 64 ? moe_gate_up_fp8_n64 : moe_gate_up_fp8_n128;
        auto last = n == 16 ? moe_down_fp8_n16 : n == 32 ? moe_down_fp8_n32 : n == 64 ? moe_down_fp8_n64 : moe_down_fp8_n128;
        const Launch gate_up_launch[] = {launch_moe_gate_up_fp8_n16, launch_moe_gate_up_fp8_n32, launch_moe_gate_up_fp8_n64,
                                         launch_moe_gate_up_fp8_n128};
        const Launch down_launch[] = {launch_moe_down_fp8_n16, launch_moe_down_fp8_n32, launch_moe_down_fp8_n64, launch_moe_down_fp8_n128};
        const int which = n == 16 ? 0 : n == 32 ? 1 : n == 64 ? 2 : 3;
        launch(
            gate_up_launch[which], {(u32)order.tiles_max, (u32)ceil_div(inner, 64)},
            [&] {
                gate_up(x.at(), x_scales.at(), order.order.at(), order.at(), gated_table.at(), gated_scale_table.at(), raised.at(), inputs,
                        inner, per_token);
            },
            raised);
        launch(
            down_launch[which], {(u32)order.tiles_max, (u32)ceil_div(outputs, 128)},
            [&] {
                last(h.at(), h_scales.at(), order.order.at(), order.at(), down_table.at(), down_scale_table.at(), weights.at(), y.at(),
                     inner, outputs);
            },
            y);
        std::vector<double> raised_want(routes * inner, 0), y_want(routes * outputs, 0);
        for (int place = 0; place < routes && order.order[place] < routes; place++) {
            const int route = order.order[place], row = route / per_token, expert = order.ids[route];
            for (int i = 0; i < inner; i++) {
                double sides[2] = {0, 0};
                for (int side = 0; side < 2; side++)
                    for (int k = 0; k < inputs; k++)
                        sides[side] += (double)e4m3(x[row * inputs + k]) * x_scales[row * k_blocks + k / 128] *
                                       e4m3(gated[2 * expert + side][i * inputs + k]) *
                                       gated_scales[2 * expert + side][i / 128 * k_blocks + k / 128];
                raised_want[place * inner + i] = silu(sides[0]) * sides[1];
            }
            for (int i = 0; i < outputs; i++) {
                double sum = 0;
                for (int k = 0; k < inner; k++)
                    sum += (double)e4m3(h[place * inner + k]) * h_scales[place * inner_blocks + k / 128] *
                           e4m3(down[expert][i * inner + k]) * down_scales[expert][i / 128 * inner_blocks + k / 128];
                y_want[route * outputs + i] = sum * weights[route];
            }
        }
        report(text("moe_gate_up_fp8_n%d: %d rows, %d of %d experts, %d -> 2 x %d", n, rows, per_token, experts, inputs, inner),
               nmse(raised, raised_want), 1e-5);
        report(text("moe_down_fp8_n%d: %d -> %d", n, inner, outputs), nmse(y, y_want), 1e-5);
    }
}
