#include "families/reformer/document_mechanism.h"

#include <array>
#include <vector>

#include "model/documents.h"

namespace longspan {
namespace {

// The tensors of the document [begin, begin + length) of all tokens. Each of its statistics lies
// where as many tokens of the rows have theirs, (1, H, length) without gaps; delta is where the
// whole rows have it.
template <class T>
AttentionTensorsOf<T> PartOf(const AttentionTensorsOf<T>& t, idx_t begin, idx_t length) {
  AttentionTensorsOf<T> part = t;
  part.rows = 1;
  part.tokens = length;
  part.projected = t.projected.Rows(begin, length);
  part.out = t.out.Rows(begin, length);
  part.dout = t.dout.Rows(begin, length);
  part.statistics = {t.statistics.data + begin * t.heads,
                     {t.statistics.extent[0], 1, t.heads, length},
                     {t.statistics.stride[0], t.heads * length, length, 1}};
  part.delta = {
      &t.delta(begin / t.tokens, 0, begin % t.tokens), {1, t.heads, length}, t.delta.stride};
  return part;
}

AnyAttentionTensors PartOf(const AnyAttentionTensors& tensors, idx_t begin, idx_t length) {
  return std::visit([&](const auto& t) -> AnyAttentionTensors { return PartOf(t, begin, length); },
                    tensors);
}

MechanismCall PartOf(const MechanismCall& call, idx_t document) {
  MechanismCall part = call;
  part.dropout = DocumentSite(call.dropout, document);
  if (call.state != nullptr) part.state = &call.state->ForDocument(document);
  return part;
}

// A row of the batch with the documents that lie in it, which none leaves.
MechanismCall RowOf(const MechanismCall& call, idx_t row, const std::vector<idx_t>& starts) {
  MechanismCall part = call;
  part.dropout = DocumentSite(call.dropout, row);  // and each text draws by itself
  part.starts = starts;
  return part;
}

// Calls use(row, starts) for each row of `tokens` tokens.
template <class Use>
void ForEachRowOfTexts(std::span<const idx_t> documents, idx_t tokens, const Use& use) {
  std::vector<idx_t> starts = {0};
  idx_t row = 0;
  for (const idx_t length : documents) {
    starts.push_back(starts.back() + length);
    if (starts.back() < tokens) continue;
    use(row++, starts);
    starts.resize(1);
  }
}

idx_t TokensOf(const AnyAttentionTensors& tensors) {
  return std::visit([](const auto& t) { return t.tokens; }, tensors);
}

}  // namespace

void ForwardByDocument(Context& context, const AttentionMechanism& mechanism,
                       std::span<const idx_t> documents, const MechanismCall& call,
                       const AnyAttentionTensors& tensors) {
  if (documents.empty()) return mechanism.Forward(context, call, tensors);
  if (mechanism.TakesTexts()) {
    const idx_t tokens = TokensOf(tensors);
    return ForEachRowOfTexts(documents, tokens, [&](idx_t row, const std::vector<idx_t>& starts) {
      mechanism.Forward(context, RowOf(call, row, starts), PartOf(tensors, row * tokens, tokens));
    });
  }
  if (call.state != nullptr && !call.recomputes) {
    call.state->SetDocuments(documents.size(), mechanism);
  }
  ForEachDocument(documents, [&](idx_t d, idx_t begin, idx_t length) {
    mechanism.Forward(context, PartOf(call, d), PartOf(tensors, begin, length));
  });
}

void BackwardByDocument(Context& context, const AttentionMechanism& mechanism,
                        std::span<const idx_t> documents, const MechanismCall& call,
                        const AnyAttentionTensors& tensors, const View<float, 2>& dprojected) {
  if (documents.empty()) return mechanism.Backward(context, call, tensors, dprojected);
  if (mechanism.TakesTexts()) {
    const idx_t tokens = TokensOf(tensors);
    return ForEachRowOfTexts(documents, tokens, [&](idx_t row, const std::vector<idx_t>& starts) {
      mechanism.Backward(context, RowOf(call, row, starts), PartOf(tensors, row * tokens, tokens),
                         dprojected.Rows(row * tokens, tokens));
    });
  }
  ForEachDocument(documents, [&](idx_t d, idx_t begin, idx_t length) {
    mechanism.Backward(context, PartOf(call, d), PartOf(tensors, begin, length),
                       dprojected.Rows(begin, length));
  });
}

}  // namespace longspan
