#include "families/reformer/attention_mechanism.h"

#include "gemm/gemm.h"

namespace longspan {

std::size_t MechanismState::Bytes() const {
  std::size_t bytes = OwnBytes();
  for (const auto& document : documents_) bytes += document->Bytes();
  return bytes;
}

void MechanismState::SetDocuments(std::size_t documents, const AttentionMechanism& mechanism) {
  documents_.resize(documents);
  for (auto& document : documents_) {
    if (document == nullptr) document = mechanism.NewState();
  }
}

std::size_t WidenedBytes(const Bf16AttentionTensors& tensors) {
  return Arena::Bytes<float>(tensors.projected.size()) + Arena::Bytes<float>(tensors.out.size());
}

AttentionTensors Widened(Context& context, Arena::Frame& frame,
                         const Bf16AttentionTensors& tensors) {
  AttentionTensors wide;
  static_cast<AttentionExtents&>(wide) = tensors;
  wide.projected = {frame.Take<float>(tensors.projected.size()), tensors.projected.extent};
  wide.out = {frame.Take<float>(tensors.out.size()), tensors.out.extent};
  wide.dout = wide.out;
  wide.statistics = tensors.statistics;
  wide.delta = tensors.delta;
  gemm::Widen(context, tensors.projected, wide.projected);
  return wide;
}

double FullPairs(idx_t tokens, bool causal) {
  const auto n = static_cast<double>(tokens);
  return causal ? n * (n + 1.0) / 2.0 : n * n;
}

}  // namespace longspan
