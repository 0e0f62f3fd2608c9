// Chunked attention's row.

#include <algorithm>

#include "catalogue/mechanism.h"
#include "ops/chunked_attention/chunked_attention_ref.h"

namespace longspan::catalogue {
namespace {

class ChunkedRelation final : public AttentionRelation {
 public:
  ChunkedRelation(ChunkedSpec spec, idx_t tokens) : spec_(spec), shape_{1, 1, tokens, 1} {}
  std::vector<idx_t> Keys(idx_t query) const override {
    std::vector<idx_t> keys;
    for (const auto& entry : ref::ChunkedWindow(spec_, shape_, {}, 0, query)) {
      if (entry.visible) keys.push_back(entry.key);
    }
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    const idx_t T = shape_.T;
    if (T <= spec_.chunk) return UpTo(T);
    const idx_t n = (T + spec_.chunk - 1) / spec_.chunk;
    std::vector<idx_t> queries;
    for (const idx_t c : ChunksThatMaySee(key / spec_.chunk, spec_.before, spec_.after, n)) {
      for (idx_t t = c * spec_.chunk; t < std::min(T, (c + 1) * spec_.chunk); ++t) {
        queries.push_back(t);
      }
    }
    return queries;
  }

 private:
  ChunkedSpec spec_;
  ref::ChunkedShape shape_;
};

ChunkedSpec ChunkedSpecOf(const MechanismSpec& spec) {
  ChunkedSpec chunked;
  chunked.chunk = spec.chunk;
  chunked.before = spec.before;
  chunked.after = spec.after;
  chunked.causal = spec.causal;
  chunked.dropout = spec.dropout;
  return chunked;
}

std::unique_ptr<AttentionRelation> MakeChunkedRelation(const MechanismSpec& spec, idx_t tokens) {
  return std::make_unique<ChunkedRelation>(ChunkedSpecOf(spec), tokens);
}

// Every key of a window counts.
double ChunkedPairs(const MechanismSpec& spec, idx_t tokens) {
  const idx_t slots = spec.chunk * (1 + spec.before + spec.after);
  return static_cast<double>(tokens) * static_cast<double>(tokens > spec.chunk ? slots : tokens);
}

template <class T>
SeparateForm<T> ChunkedForm() {
  return {
      [](Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
         const AttentionSavedOf<T>& saved) {
        ChunkedForward(context, ChunkedSpecOf(spec), qkv, mask, saved);
      },
      [](Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
         const AttentionSavedOf<T>& saved, const View<const T, 4>& dout, const DQkv& gradients) {
        ChunkedBackward(context, ChunkedSpecOf(spec), qkv, mask, saved, dout, gradients);
      }};
}

}  // namespace

const Mechanism& ChunkedMechanism() {
  static const Mechanism kRow = [] {
    Mechanism row;
    row.name = "chunked";
    row.summary = "Reformer's local attention: a chunk sees itself and its neighbours";
    row.options = {"--chunk", "--before", "--after"};
    row.pairs = ChunkedPairs;
    row.relation = MakeChunkedRelation;
    row.separate = ChunkedForm<float>();
    row.separate_bf16 = ChunkedForm<bfloat16>();
    row.bf16 = true;
    return row;
  }();
  return kRow;
}

}  // namespace longspan::catalogue
