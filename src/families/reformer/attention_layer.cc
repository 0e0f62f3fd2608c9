#include "families/reformer/attention_layer.h"

#include <utility>
#include <vector>

#include "base/arena.h"
#include "families/reformer/branch_weights.h"
#include "families/reformer/document_mechanism.h"
#include "gemm/gemm.h"
#include "model/rows.h"

namespace longspan {
namespace {

// Shows the tensors of all heads to the call's observer, in fp32.
void Observe(Context& /*context*/, const BranchCall& call, const AttentionTensors& t) {
  (*call.observer)(call.layer, t);
}
void Observe(Context& context, const BranchCall& call, const Bf16AttentionTensors& t) {
  Arena::Frame frame(context.arena(), WidenedBytes(t));
  const AttentionTensors wide = Widened(context, frame, t);
  gemm::Widen(context, t.out, wide.out);
  Observe(context, call, wide);
}

}  // namespace

AttentionLayer::AttentionLayer(const ReformerConfig& config, const AttentionKind& kind,
                               const std::string& prefix,
                               std::unique_ptr<AttentionMechanism> mechanism,
                               ParameterTable& parameters)
    : mechanism_(std::move(mechanism)),
      projections_(config, kind, prefix, parameters),
      groups_(config.hidden_size, config.heads, config.head_size, projections_.count,
              mechanism_->Statistics()),
      dropout_(static_cast<float>(config.*kind.dropout)) {}

void AttentionLayer::Add(Context& context, const BranchCall& call, const ResidualStream& x,
                         const ResidualStream& y) const {
  if (call.bf16 == nullptr) return AddIn<float>(context, call, x, y);
  AddIn<bfloat16>(context, call, x, y);
}

void AttentionLayer::Reverse(Context& context, const BranchCall& call, const ResidualStream& x,
                             const ResidualStream& y, const ResidualStream& dy,
                             const ResidualStream& dx) const {
  if (call.bf16 == nullptr) return ReverseIn<float>(context, call, x, y, dy, dx);
  ReverseIn<bfloat16>(context, call, x, y, dy, dx);
}

std::size_t AttentionLayer::SavedBytes(const BranchCall& call) const {
  return groups_.SavedBytes(call);
}

// Scratch for a group's tensors: none where they are saved activations.
template <class T>
std::size_t AttentionLayer::ScratchBytes(const BranchCall& call, const HeadGroup& group) const {
  return call.saved != nullptr ? 0 : groups_.Bytes<T>(call, group);
}

template <class T>
AttentionTensorsOf<T> AttentionLayer::Tensors(Arena::Frame& frame, const BranchCall& call,
                                              const HeadGroup& group) const {
  if (call.saved == nullptr) return groups_.Take<T>(frame, call, group);
  SavedMemory saved(call.saved + group.offset);
  return groups_.Take<T>(saved, call, group);
}

MechanismCall AttentionLayer::CallOf(const BranchCall& call, bool recomputes) const {
  MechanismCall m;
  m.mask = call.mask;
  if (call.training) m.dropout = {dropout_, DeriveKey(call.dropout_key, kProbabilitySite)};
  m.key = call.key;
  m.setting = call.setting;
  m.state = call.state;
  m.recomputes = recomputes;
  return m;
}

template <class T>
void AttentionLayer::AddIn(Context& context, const BranchCall& call, const ResidualStream& x,
                           const ResidualStream& y) const {
  const ProjectionPass<T> projections(context, projections_, call);
  for (const HeadGroup& group : groups_.Of(call)) {
    Arena::Frame frame(context.arena(), ScratchBytes<T>(call, group));
    const auto tensors = Tensors<T>(frame, call, group);
    projections.Project(x, tensors);
    ForwardByDocument(context, *mechanism_, call.documents, CallOf(call, false), tensors);
    if (call.observer != nullptr) Observe(context, call, tensors);
    projections.AddOutput(tensors, y);
  }
}

template <class T>
void AttentionLayer::ReverseIn(Context& context, const BranchCall& call, const ResidualStream& x,
                               const ResidualStream& y, const ResidualStream& dy,
                               const ResidualStream& dx) const {
  const ProjectionPass<T> projections(context, projections_, call);
  const std::vector<HeadGroup> groups = groups_.Of(call);
  for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
    const idx_t n = call.n(), columns = projections_.count * group->heads * projections_.head_size;
    Arena::Frame frame(context.arena(),
                       ScratchBytes<T>(call, *group) + Arena::Bytes<float>(n * columns));
    const auto tensors = Tensors<T>(frame, call, *group);
    const View<float, 2> dprojected = TakeRows(frame, n, columns);
    if (call.saved == nullptr) {
      projections.Project(x, tensors);
      ForwardByDocument(context, *mechanism_, call.documents, CallOf(call, true), tensors);
    }
    projections.SubtractOutput(tensors, y);
    projections.OutputBackward(dy, tensors);
    ZeroRows(context, dprojected);
    BackwardByDocument(context, *mechanism_, call.documents, CallOf(call, true), tensors,
                       dprojected);
    projections.ProjectBackward(x, dprojected, tensors, dx);
  }
}

double AttentionLayer::ProjectionFlop(idx_t rows, idx_t tokens) const {
  return 2.0 * static_cast<double>(projections_.count + 1) * static_cast<double>(rows * tokens) *
         static_cast<double>(projections_.channels * projections_.width());
}

// Pairs times D, over all heads and rows.
double AttentionLayer::PairsTimesSize(idx_t rows, idx_t tokens) const {
  return static_cast<double>(rows * projections_.width()) * mechanism_->Pairs(tokens);
}

double AttentionLayer::ForwardFlop(idx_t rows, idx_t tokens) const {
  return ProjectionFlop(rows, tokens) + 4.0 * PairsTimesSize(rows, tokens);
}

double AttentionLayer::BackwardFlop(idx_t rows, idx_t tokens) const {
  return 2.0 * ProjectionFlop(rows, tokens) + 10.0 * PairsTimesSize(rows, tokens);
}

std::unique_ptr<AttentionLayer> MakeAttention(const ReformerConfig& config, LayerKind kind,
                                              const std::string& prefix,
                                              ParameterTable& parameters) {
  const AttentionKind row = AttentionKindOf(kind);
  return std::make_unique<AttentionLayer>(config, row, prefix, row.make(config, kind), parameters);
}

}  // namespace longspan
