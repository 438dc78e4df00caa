// The splits of a row's context become one answer: each counts by its share of the exponentials. Rows in one split have been written
// already.
// partial [listed, heads, splits, width] f32, lse [listed, heads, splits], out [rows, heads, width].
// launch: attend_combine threads=128
#include "attend.cuh"

KERNEL(128, 8)
attend_combine(const float* partial, const float* lse, Paged paged, const int* rows, int heads, int width, int split_tokens, int splits,
               bf16* out) {
    const int head = blockIdx.x, listed = blockIdx.y, row = rows ? rows[listed] : listed;
    const Context context(paged, row);
    if (context.begin >= context.end || Split(context, 0, split_tokens).only) return;
    const int first = context.begin / split_tokens, end = ceil_div(context.end, split_tokens);
    const u64 place = ((u64)listed * heads + head) * splits;
    float highest = -INFINITY_F, total = 0.0f;
    for (int split = first; split < end; split++) highest = fmaxf(highest, lse[place + split]);
    for (int split = first; split < end; split++) total += exp2_fast((lse[place + split] - highest) * LOG2_E);
    for (int i = threadIdx.x * 4; i < width; i += 4 * blockDim.x) {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int split = first; split < end; split++) {
            float share = exp2_fast((lse[place + split] - highest) * LOG2_E) / total;
            float4 part = *(const float4*)(partial + (place + split) * width + i);
            sum = make_float4(sum.x + share * part.x, sum.y + share * part.y, sum.z + share * part.z, sum.w + share * part.w);
        }
        *(uint2*)(out + ((u64)row * heads + head) * width + i) = make_uint2(pack(sum.x, sum.y), pack(sum.z, sum.w));
    }
}
