#include "ops/chunked_attention/chunked_decode.h"

#include <algorithm>
#include <cmath>

#include "base/arena.h"
#include "base/errors.h"

namespace longspan {
namespace {

// One head: scores, softmax, weighted sum. `weights` has room for the visible keys. A hundred keys
// of a hundred numbers: the compiler's vectors are fast enough here.
void DecodeHead(float scale, idx_t first, idx_t last, idx_t size, const float* q,
                const View<const float, 2>& k, const View<const float, 2>& v, float* weights,
                float* out) {
  float largest = -INFINITY;
  for (idx_t t = first; t <= last; ++t) {
    const float* key = &k(t, 0);
    float score = 0.0f;
    for (idx_t d = 0; d < size; ++d) score += q[d] * key[d];
    weights[t - first] = score * scale;
    largest = std::max(largest, weights[t - first]);
  }
  float sum = 0.0f;
  std::fill_n(out, size, 0.0f);
  for (idx_t t = first; t <= last; ++t) {
    const float weight = std::exp(weights[t - first] - largest);
    const float* value = &v(t, 0);
    sum += weight;
    for (idx_t d = 0; d < size; ++d) out[d] += weight * value[d];
  }
  for (idx_t d = 0; d < size; ++d) out[d] /= sum;
}

}  // namespace

idx_t ChunkedFirstKey(const ChunkedSpec& spec, idx_t position) {
  return std::max<idx_t>(0, position / spec.chunk - spec.before) * spec.chunk;
}

void ChunkedDecode(Context& context, const ChunkedSpec& spec, idx_t position,
                   const View<const float, 2>& q, const View<const float, 3>& k,
                   const View<const float, 3>& v, const View<float, 2>& out) {
  const idx_t heads = q.extent[0], size = q.extent[1];
  Check(spec.causal && spec.after == 0 && spec.dropout.p == 0.0f, ErrorCode::kUsage,
        "chunked decode: needs a causal spec without look-ahead and dropout");
  Check(spec.chunk >= 1 && spec.before >= 0, ErrorCode::kUsage,
        "chunked decode: chunk {} and before {} are out of range", spec.chunk, spec.before);
  Check(position >= 0 && position < k.extent[1] && position < v.extent[1], ErrorCode::kUsage,
        "chunked decode: position {} is not below the {} cached keys", position, k.extent[1]);
  Check(k.extent[0] == heads && v.extent[0] == heads && k.extent[2] == size &&
            v.extent[2] == size && out.extent == q.extent,
        ErrorCode::kUsage, "chunked decode: q is {}, k {}, v {}, out {}", ShapeText(q),
        ShapeText(k), ShapeText(v), ShapeText(out));
  const float scale = spec.scale != 0.0f ? spec.scale : 1.0f / std::sqrt(static_cast<float>(size));
  const idx_t first = ChunkedFirstKey(spec, position), keys = position - first + 1;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(heads * keys));
  float* weights = frame.Take<float>(heads * keys);
  for (idx_t h = 0; h < heads; ++h) {
    DecodeHead(scale, first, position, size, &q(h, 0), k[h], v[h], weights + h * keys, &out(h, 0));
  }
}

}  // namespace longspan
