#include "model/document_mechanism.h"

#include <utility>

#include "model/documents.h"

namespace longspan {
namespace {

// The tensors of one document. Its softmax numbers lie where as many tokens of the rows have
// theirs; delta is where the whole rows have it.
template <class T>
AttentionTensorsOf<T> PartOf(const AttentionTensorsOf<T>& t, idx_t begin, idx_t length) {
  AttentionTensorsOf<T> part = t;
  part.rows = 1;
  part.tokens = length;
  part.projected = t.projected.Rows(begin, length);
  part.out = t.out.Rows(begin, length);
  const std::array<idx_t, 3> shape = {1, t.heads, length};
  part.first = {t.first.data + begin * t.heads, shape};
  part.second = {t.second.data + begin * t.heads, shape};
  part.delta = {&t.delta(begin / t.tokens, 0, begin % t.tokens), shape, t.delta.stride};
  return part;
}

BranchCall PartOf(const BranchCall& call, idx_t document, idx_t length) {
  BranchCall part = call;
  part.rows = 1;
  part.tokens = length;
  part.documents = {};
  part.document_buckets = nullptr;
  part.buckets = call.document_buckets == nullptr
                     ? nullptr
                     : &(*call.document_buckets)[static_cast<std::size_t>(document)];
  return part;
}

class DocumentMechanism final : public MechanismOf<DocumentMechanism> {
 public:
  explicit DocumentMechanism(std::unique_ptr<AttentionMechanism> inner)
      : inner_(std::move(inner)) {}

  template <class T>
  void Run(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
           const AttentionTensorsOf<T>& t) const {
    if (call.documents.empty()) return inner_->Forward(context, call, dropout, again, t);
    if (call.document_buckets != nullptr && !again) {
      call.document_buckets->resize(call.documents.size());
    }
    ForEachDocument(call.documents, [&](idx_t d, idx_t begin, idx_t length) {
      inner_->Forward(context, PartOf(call, d, length), DocumentSite(dropout, d), again,
                      PartOf(t, begin, length));
    });
  }

  template <class T>
  void RunBack(Context& context, const BranchCall& call, const Dropout& dropout,
               const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) const {
    if (call.documents.empty()) return inner_->Backward(context, call, dropout, t, dprojected);
    ForEachDocument(call.documents, [&](idx_t d, idx_t begin, idx_t length) {
      inner_->Backward(context, PartOf(call, d, length), DocumentSite(dropout, d),
                       PartOf(t, begin, length), dprojected.Rows(begin, length));
    });
  }

  double Pairs(idx_t tokens) const override { return inner_->Pairs(tokens); }

 private:
  std::unique_ptr<AttentionMechanism> inner_;
};

}  // namespace

std::unique_ptr<AttentionMechanism> ByDocument(std::unique_ptr<AttentionMechanism> inner) {
  return std::make_unique<DocumentMechanism>(std::move(inner));
}

}  // namespace longspan
