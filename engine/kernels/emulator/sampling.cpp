// Draws against the algorithm of `engine/src/sample.rs` written plainly: candidates sorted, weights added up in doubles.
#include "emulator/check.h"

namespace {
#include "sample.cu"
}

using namespace check;

static double uniform(u64 seed, u64 position) {
    return (double)(mix(mix(seed) + position * 0x9e3779b97f4a7c15ull) >> 11) / (double)(1ull << 53);
}

static u32 drawn(const float* logits, int vocabulary, const Draw& draw, const u32* mask) {
    struct Candidate {
        u32 id;
        float logit;
        double weight;
    };
    std::vector<Candidate> all;
    for (int id = 0; id < vocabulary; id++) {
        if (logits[id] != logits[id]) return ~0u;
        if (!mask || mask[id / 32] >> id % 32 & 1) all.push_back({(u32)id, logits[id], 0});
    }
    if (all.empty()) return ~0u;
    auto sorted = all;
    std::stable_sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return a.logit > b.logit; });
    if (draw.temperature < 1e-5f) return sorted[0].id;
    const bool few = draw.top_k > 0 && draw.top_k < all.size();
    auto& left = few || draw.top_p < 1 ? sorted : all;
    const float highest = sorted[0].logit;
    if (few) left.resize(draw.top_k);
    for (Candidate& candidate : left) candidate.weight = std::exp((candidate.logit - highest) / draw.temperature);
    std::erase_if(left, [&](auto& candidate) { return candidate.weight < draw.min_p; });
    double total = 0, reached = 0;
    for (Candidate& candidate : left) total += candidate.weight;
    if (draw.top_p < 1)
        for (size_t i = 0; i < left.size(); i++) {
            reached += left[i].weight;
            if (reached >= total * draw.top_p) {
                left.resize(i + 1), total = reached;
                break;
            }
        }
    double rest = uniform(draw.seed, draw.position) * total;
    for (Candidate& candidate : left)
        if ((rest -= candidate.weight) < 0) return candidate.id;
    return left.back().id;
}

TEST(sample) {
    int drawn_at_all = 0, different = 0;
    for (int vocabulary : {1, 37, 1201}) {
        const float temperatures[] = {0.0f, 0.3f, 1.0f, 2.5f}, top_ps[] = {1.0f, 0.9f, 0.3f, 0.0f}, min_ps[] = {0.0f, 0.02f};
        const u32 top_ks[] = {0, 1, 5, 50};
        std::vector<Draw> settings;
        for (float temperature : temperatures)
            for (float top_p : top_ps)
                for (u32 top_k : top_ks)
                    settings.push_back({temperature, top_p, min_ps[whole(0, 1)], top_k, generator(), (u64)whole(0, 9000)});
        const int rows = settings.size(), words = (vocabulary + 31) / 32;
        auto logits = random_f32(rows * vocabulary, 0.0f, 4.0f);
        for (int row = 0; row < rows; row++)
            for (int id = 0; id < vocabulary && row % 3 == 0; id++)
                logits[row * vocabulary + id] = std::round(logits[row * vocabulary + id]);  // ties
        Buffer<u32> masks(rows * words), out(rows);
        for (size_t i = 0; i < masks.size; i++) masks[i] = (u32)generator() | 1;
        auto draws = of(settings);
        for (bool masked : {false, true}) {
            launch(
                launch_sample, {(u32)rows},
                [&] { sample(logits.at(), draws.at(), masked ? masks.at() : nullptr, words, out.at(), vocabulary); }, out);
            for (int row = 0; row < rows; row++) {
                u32 want = drawn(&logits[row * vocabulary], vocabulary, settings[row], masked ? &masks[row * words] : nullptr);
                drawn_at_all++, different += out[row] != want;
            }
        }
    }
    expect(text("sample: %d draws, vocabularies of 1 to 1201, %d differ", drawn_at_all, different), different == 0);

    const int vocabulary = 1000;
    auto logits = random_f32(4 * vocabulary);
    for (int id : {3, 700, 999}) logits[id] = 9.0f;
    logits[2 * vocabulary + 500] = NAN;
    for (int id = 0; id < vocabulary; id++) logits[3 * vocabulary + id] = -INFINITY;
    logits[3 * vocabulary + 77] = -5.0f;
    Buffer<u32> out(4), masks(4 * 32);
    for (size_t i = 0; i < masks.size; i++) masks[i] = i / 32 == 1 ? 0 : ~0u;
    launch(launch_sample, {4}, [&] { sample(logits.at(), nullptr, masks.at(), 32, out.at(), vocabulary); }, out);
    expect("greedy: the lowest of equals, nothing allowed, not a number, all but one impossible",
           out[0] == 3 && out[1] == ~0u && out[2] == ~0u && out[3] == 77);
}

TEST(sample_follows_the_distribution) {
    const int vocabulary = 40, rows = 600;
    auto row = random_f32(vocabulary, 0.0f, 1.5f);
    Buffer<float> logits(rows * vocabulary);
    std::vector<Draw> settings;
    for (int i = 0; i < rows; i++) {
        std::copy(row.at(), row.at() + vocabulary, &logits[i * vocabulary]);
        settings.push_back({0.8f, i % 2 ? 1.0f : 0.99999f, 0.0f, 0, 5, (u64)i});
    }
    auto draws = of(settings);
    Buffer<u32> out(rows);
    emulator::run(
        {rows}, launch_sample,
        [] {
            std::vector<u32> order(512);
            for (u32 i = 0; i < 512; i++) order[i] = i;
            return order;
        }(),
        false, [&] { sample(logits.at(), draws.at(), nullptr, 0, out.at(), vocabulary); });
    double total = 0, chi = 0;
    for (int id = 0; id < vocabulary; id++) total += std::exp(row[id] / 0.8);
    for (int id = 0; id < vocabulary; id++) {
        double expected = rows * std::exp(row[id] / 0.8) / total, seen = std::count(out.at(), out.at() + rows, (u32)id);
        chi += (seen - expected) * (seen - expected) / expected;
    }
    expect(text("600 draws from 40 tokens: chi squared %.0f, below 73 in 999 of 1000 cases", chi), chi < 73);
}
