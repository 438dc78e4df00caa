// Attention over paged contexts against sums in doubles: odd page sizes, pages in any order, contexts of one token and of many splits,
// windows, padding rows.
#include "attend.cuh"
#include "emulator/check.h"

namespace {
#include "combine.cu"
namespace any {
#include "attend_any.cu"
}
namespace mla {
#include "mla.cu"
}
namespace gqa {
#include "gqa.cu"
}
namespace prefill {
#include "gqa_prefill.cu"
}
}  // namespace

using namespace check;

// Spans of rows, each at the end of a context, with pages that lie anywhere.
struct Place {
    int context, rows, first;
};
struct Scene {
    int page_tokens, slots, rows = 0;
    std::vector<int> span, position, first, page_start, pages;
    Paged paged;

    Scene(int page_tokens, const std::vector<Place>& places, bool padding = false) : page_tokens(page_tokens) {
        int total = 1;
        for (const Place& place : places) total += (place.context + page_tokens - 1) / page_tokens;
        std::vector<int> free(total + 3);
        for (int i = 0; i < total + 3; i++) free[i] = i;
        std::shuffle(free.begin(), free.end(), generator);
        slots = (total + 3) * page_tokens;
        for (size_t i = 0; i < places.size(); i++) {
            page_start.push_back(pages.size());
            first.push_back(places[i].first);
            for (int page = 0; page * page_tokens < places[i].context; page++) pages.push_back(free.back()), free.pop_back();
            for (int row = 0; row < places[i].rows; row++) span.push_back(i), position.push_back(places[i].context - places[i].rows + row);
        }
        if (padding) span.push_back(1 << 30), position.push_back(-1);
        rows = span.size();
        for (auto* values : {&span, &position, &first, &page_start, &pages}) exact.push_back(of(*values));
        paged = {exact[0].at(), exact[1].at(), exact[2].at(), exact[3].at(), exact[4].at(), page_tokens};
    }
    std::vector<int> slots_of(int row) const {
        std::vector<int> found;
        for (int at = position[row] < 0 ? 0 : first[span[row]]; at <= position[row]; at++)
            found.push_back(pages[page_start[span[row]] + at / page_tokens] * page_tokens + at % page_tokens);
        return found;
    }

private:
    std::vector<Buffer<int>> exact;
};

struct Sizes {
    int heads, of_group, entry, key_width, key_stride, value_first, value_width, value_stride;
};

static std::vector<double> attended(const Scene& scene, const Sizes& sizes, const Buffer<bf16>& queries, const Buffer<bf16>& cache,
                                    double scale, const std::vector<int>& rows, const Buffer<bf16>& before,
                                    std::vector<double>* lse = nullptr) {
    std::vector<double> want;
    for (size_t i = 0; i < before.size; i++) want.push_back(to_float(before[i]));
    for (int row : rows)
        for (int head = 0; head < sizes.heads; head++) {
            const int group = head / sizes.of_group;
            std::vector<double> weights;
            double total = 0;
            for (int slot : scene.slots_of(row)) {
                double score = 0;
                for (int i = 0; i < sizes.key_width; i++)
                    score += (double)to_float(queries[(row * sizes.heads + head) * sizes.key_width + i]) *
                             to_float(cache[(size_t)slot * sizes.entry + group * sizes.key_stride + i]);
                weights.push_back(std::exp(score * scale)), total += weights.back();
            }
            if (lse && total > 0) (*lse)[row * sizes.heads + head] = std::log(total);
            for (int i = 0; i < sizes.value_width && total > 0; i++) {
                double sum = 0;
                int index = 0;
                for (int slot : scene.slots_of(row))
                    sum +=
                        weights[index++] * to_float(cache[(size_t)slot * sizes.entry + sizes.value_first + group * sizes.value_stride + i]);
                want[(row * sizes.heads + head) * sizes.value_width + i] = sum / total;
            }
        }
    return want;
}

static Buffer<bf16> blank(size_t size) {
    Buffer<bf16> buffer(size);
    std::memset(buffer.at(), 0, size * 2);
    return buffer;
}
static std::vector<int> all_rows(int rows) {
    std::vector<int> all;
    for (int i = 0; i < rows; i++) all.push_back(i);
    return all;
}

// A decode kernel with splits, then their combination. `run(rows, split_tokens, splits, out, partial, lse)` launches it.
template <class Run> static void decode(const std::string& name, const Scene& scene, const Sizes& sizes, const Buffer<bf16>& queries,
                                        const Buffer<bf16>& cache, float scale, int split_tokens, const std::vector<int>& listed, Run run) {
    int longest = *std::max_element(scene.position.begin(), scene.position.end()) + 1, splits = ceil_div(longest, split_tokens);
    auto rows = of(listed);
    auto out = blank((size_t)scene.rows * sizes.heads * sizes.value_width);
    auto want = attended(scene, sizes, queries, cache, scale, listed, out);
    Buffer<float> partial(listed.size() * sizes.heads * splits * sizes.value_width), lse(listed.size() * sizes.heads * splits);
    run(rows.at(), splits, out, partial, lse);
    launch(
        launch_attend_combine, {(u32)sizes.heads, (u32)listed.size()},
        [&] {
            attend_combine(partial.at(), lse.at(), scene.paged, rows.at(), sizes.heads, sizes.value_width, split_tokens, splits, out.at());
        },
        out);
    report(text("%s: %d heads, longest %d, splits of %d, pages of %d", name.c_str(), sizes.heads, longest, split_tokens, scene.page_tokens),
           nmse(out, want, sizes.value_width), 1e-4);
}

TEST(mla) {
    const float scale = 0.11f;
    for (auto [heads, page_tokens, split] : {std::tuple{16, 16, 64}, {16, 5, 512}, {64, 64, 128}}) {
        Scene scene(page_tokens, {{1, 1, 0}, {33, 2, 0}, {200, 1, 70}, {131, 1, 0}}, true);
        Sizes sizes{heads, heads, 576, 576, 0, 0, 512, 0};
        auto queries = random_bf16((size_t)scene.rows * heads * 576, 0.4f), cache = random_bf16((size_t)scene.slots * 576);
        decode("mla_decode_h16", scene, sizes, queries, cache, scale, split, {4, 0, 1, 5, 3},
               [&](const int* rows, int splits, auto& out, auto& partial, auto& lse) {
                   launch(
                       launch_mla_decode_h16, {(u32)heads / 16, 5, (u32)splits},
                       [&] {
                           mla::mla_decode_h16(queries.at(), cache.at(), scene.paged, rows, heads, scale, split, splits, out.at(),
                                               partial.at(), lse.at());
                       },
                       out, partial, lse);
               });
        if (heads % 32 == 0)
            decode("mla_decode_h32", scene, sizes, queries, cache, scale, split, {4, 0, 1},
                   [&](const int* rows, int splits, auto& out, auto& partial, auto& lse) {
                       launch(
                           launch_mla_decode_h32, {(u32)heads / 32, 3, (u32)splits},
                           [&] {
                               mla::mla_decode_h32(queries.at(), cache.at(), scene.paged, rows, heads, scale, split, splits, out.at(),
                                                   partial.at(), lse.at());
                           },
                           out, partial, lse);
                   });
    }
    Scene scene(7, {{5, 5, 0}, {90, 3, 0}, {64, 2, 40}, {1, 1, 0}}, true);
    Sizes sizes{16, 16, 576, 576, 0, 0, 512, 0};
    auto queries = random_bf16((size_t)scene.rows * 16 * 576, 0.4f), cache = random_bf16((size_t)scene.slots * 576);
    auto out = blank((size_t)scene.rows * 16 * 512), alone = blank((size_t)scene.rows * 16 * 512);
    auto blocks = of<int2>({{0, 2}, {2, 2}, {4, 1}, {5, 2}, {7, 1}, {8, 2}, {10, 1}, {11, 1}});
    launch(
        launch_mla_prefill, {8}, [&] { mla::mla_prefill(queries.at(), cache.at(), scene.paged, blocks.at(), 16, scale, out.at()); }, out);
    report("mla_prefill: 12 rows of 4 spans, pages of 7",
           nmse(out, attended(scene, sizes, queries, cache, scale, all_rows(scene.rows), alone), 512), 1e-4);
    launch(
        launch_mla_decode_h16, {1, (u32)scene.rows, 1},
        [&] { mla::mla_decode_h16(queries.at(), cache.at(), scene.paged, nullptr, 16, scale, 512, 1, alone.at(), nullptr, nullptr); },
        alone);
    expect("a row has the same bits alone and beside its neighbour", out.bytes() == alone.bytes());
}

TEST(gqa) {
    const float scale = 0.09f;
    for (auto [head, heads, groups, page_tokens, split] :
         {std::tuple{128, 8, 1, 16, 64}, {128, 3, 3, 5, 512}, {64, 8, 2, 64, 128}, {128, 24, 1, 16, 128}, {64, 14, 2, 3, 64}}) {
        Scene scene(page_tokens, {{1, 1, 0}, {33, 2, 0}, {200, 1, 70}, {131, 1, 0}}, true);
        Sizes sizes{heads, heads / groups, 2 * groups * head, head, head, groups * head, head, head};
        auto queries = random_bf16((size_t)scene.rows * heads * head), cache = random_bf16((size_t)scene.slots * sizes.entry);
        const u32 x = groups * ceil_div(heads / groups, 16);
        decode(text("gqa_decode_%d (%d groups)", head, groups), scene, sizes, queries, cache, scale, split, {4, 0, 1, 5, 3},
               [&](const int* rows, int splits, auto& out, auto& partial, auto& lse) {
                   auto kernel = head == 64 ? gqa::gqa_decode_64 : gqa::gqa_decode_128;
                   launch(
                       head == 64 ? launch_gqa_decode_64 : launch_gqa_decode_128, {x, 5, (u32)splits},
                       [&] {
                           kernel(queries.at(), cache.at(), scene.paged, rows, groups, heads, scale, split, splits, out.at(), partial.at(),
                                  lse.at());
                       },
                       out, partial, lse);
               });
    }
}

TEST(gqa_prefill) {
    const float scale = 0.09f;
    for (auto [head, heads, groups, page_tokens] : {std::tuple{128, 4, 2, 16}, {64, 3, 3, 5}}) {
        Scene scene(page_tokens, {{70, 70, 0}, {200, 9, 0}, {150, 20, 100}, {1, 1, 0}}, true);
        Sizes sizes{heads, heads / groups, 2 * groups * head, head, head, groups * head, head, head};
        auto queries = random_bf16((size_t)scene.rows * heads * head), cache = random_bf16((size_t)scene.slots * sizes.entry);
        auto out = blank((size_t)scene.rows * heads * head);
        std::vector<double> sums(scene.rows * heads, 0.0);
        auto want = attended(scene, sizes, queries, cache, scale, all_rows(scene.rows), out, &sums);
        Buffer<float> lse(scene.rows * heads);
        for (int i = 0; i < scene.rows * heads; i++) lse[i] = 0.0f;
        auto blocks = of<int2>({{0, 64}, {64, 6}, {70, 9}, {79, 20}, {99, 1}, {100, 1}});
        auto kernel = head == 64 ? prefill::gqa_prefill_64 : prefill::gqa_prefill_128;
        launch(
            head == 64 ? launch_gqa_prefill_64 : launch_gqa_prefill_128, {(u32)heads, 6},
            [&] { kernel(queries.at(), cache.at(), scene.paged, blocks.at(), groups, heads, scale, out.at(), lse.at()); }, out, lse);
        report(text("gqa_prefill_%d: %d rows of 4 spans, %d heads, %d groups", head, scene.rows, heads, groups), nmse(out, want, head),
               1e-4);
        report("  its lse", nmse(lse, sums), 1e-6);
    }
}

TEST(attend_any) {
    Scene scene(3, {{1, 1, 0}, {9, 2, 0}, {40, 1, 7}}, true);
    for (Sizes sizes : {Sizes{3, 3, 20, 20, 0, 0, 16, 0}, Sizes{6, 2, 2 * 3 * 10, 10, 10, 30, 10, 10}}) {
        auto queries = random_bf16(scene.rows * sizes.heads * sizes.key_width), cache = random_bf16(scene.slots * sizes.entry);
        auto out = blank(scene.rows * sizes.heads * sizes.value_width);
        auto want = attended(scene, sizes, queries, cache, 0.2, all_rows(scene.rows), out);
        launch(
            launch_attend_any, {(u32)sizes.heads, (u32)scene.rows},
            [&] {
                any::attend_any(queries.at(), cache.at(), sizes.entry, scene.paged, nullptr, sizes.heads, sizes.of_group, sizes.key_width,
                                sizes.key_stride, sizes.value_first, sizes.value_width, sizes.value_stride, 0.2f, out.at());
            },
            out);
        report(text("attend_any: %d heads, keys of %d, values of %d", sizes.heads, sizes.key_width, sizes.value_width),
               nmse(out, want, sizes.value_width), 1e-5);
    }
}
