#include "families/reformer/attention_layer.h"

#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "families/reformer/branch_weights.h"
#include "families/reformer/document_mechanism.h"
#include "families/reformer/row_projections.h"
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
  // Packed documents, which a call may have and room is booked without, exchange heads instead.
  const std::size_t heads = groups_.SavedBytes(call);
  const auto halo = RowHalo::Of(call, mechanism_->Chunks());
  return halo ? std::max(heads, groups_.SavedBytes(halo->CallOfRooms(call))) : heads;
}

// Scratch for a group's tensors: none where they are saved activations.
template <class T>
std::size_t AttentionLayer::ScratchBytes(const BranchCall& call, const GroupOfHeads& group) const {
  return call.saved != nullptr ? 0 : groups_.Bytes<T>(call, group.heads);
}

template <class T>
AttentionTensorsOf<T> AttentionLayer::Tensors(Arena::Frame& frame, const BranchCall& call,
                                              const GroupOfHeads& group) const {
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
  if (call.ranks != nullptr) return AddOverRanks<T>(context, call, x, y);
  const ProjectionPass<T> projections(context, projections_, call);
  for (const GroupOfHeads& group : groups_.Of(call)) {
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
  if (call.ranks != nullptr) return ReverseOverRanks<T>(context, call, x, y, dy, dx);
  const ProjectionPass<T> projections(context, projections_, call);
  const std::vector<GroupOfHeads> groups = groups_.Of(call);
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

// ---- over ranks ---------------------------------------------------------------------------------

template <class T>
void AttentionLayer::AddOverRanks(Context& context, const BranchCall& call, const ResidualStream& x,
                                  const ResidualStream& y) const {
  if (const auto halo = RowHalo::Of(call, mechanism_->Chunks())) {
    return AddOverHalo<T>(context, call, *halo, x, y);
  }
  for (const GroupOfHeads& group : groups_.Of(call)) {
    const RowProjectionPass<T> projections(context, projections_, call, group);
    Arena::Frame frame(context.arena(), ScratchBytes<T>(call, group));
    const auto tensors = Tensors<T>(frame, call, group);
    projections.Project(x, tensors);
    if (group.heads > 0) {
      ForwardByDocument(context, *mechanism_, call.documents, CallOf(call, false), tensors);
    }
    projections.AddOutput(tensors, y);
  }
}

// The gradient of the projections is taken only when that of the outputs has gone, so that a rank
// never has more than P + 1 + P times the cells of its heads. In fp32 it then takes the place of
// the projections, which nobody needs any more: there is room for what the products need.
template <class T>
void AttentionLayer::ReverseOverRanks(Context& context, const BranchCall& call,
                                      const ResidualStream& x, const ResidualStream& y,
                                      const ResidualStream& dy, const ResidualStream& dx) const {
  if (const auto halo = RowHalo::Of(call, mechanism_->Chunks())) {
    return ReverseOverHalo<T>(context, call, *halo, x, y, dy, dx);
  }
  const std::vector<GroupOfHeads> groups = groups_.Of(call);
  for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
    const RowProjectionPass<T> projections(context, projections_, call, *group);
    Arena::Frame frame(context.arena(), ScratchBytes<T>(call, *group));
    const auto tensors = Tensors<T>(frame, call, *group);
    if (call.saved == nullptr) {
      projections.Project(x, tensors);
      if (group->heads > 0) {
        ForwardByDocument(context, *mechanism_, call.documents, CallOf(call, true), tensors);
      }
    }
    projections.ReverseOutput(tensors, y, dy);
    const idx_t n = call.n(), columns = projections_.count * group->heads * projections_.head_size;
    std::optional<Arena::Frame> gradient(std::in_place, context.arena(),
                                         Arena::Bytes<float>(n * columns));
    View<float, 2> dprojected = TakeRows(*gradient, n, columns);
    if (group->heads > 0) {
      ZeroRows(context, dprojected);
      BackwardByDocument(context, *mechanism_, call.documents, CallOf(call, true), tensors,
                         dprojected);
    }
    if constexpr (std::is_same_v<T, float>) {
      CopyRows(context, View<const float, 2>(dprojected), tensors.projected);
      dprojected = tensors.projected;
      gradient.reset();
    }
    projections.ProjectBackward(x, dprojected, dx);
  }
}

template <class T>
void AttentionLayer::AddOverHalo(Context& context, const BranchCall& call, const RowHalo& halo,
                                 const ResidualStream& x, const ResidualStream& y) const {
  const ProjectionPass<T> projections(context, projections_, call);
  const BranchCall all = halo.CallOfRooms(call);
  for (const GroupOfHeads& group : groups_.Of(all)) {
    Arena::Frame frame(context.arena(), ScratchBytes<T>(all, group));
    const auto rooms = Tensors<T>(frame, all, group), own = halo.Own(rooms);
    projections.Project(x, own);
    halo.Forward(context, CallOf(call, false), rooms);
    projections.AddOutput(own, y);
  }
}

template <class T>
void AttentionLayer::ReverseOverHalo(Context& context, const BranchCall& call, const RowHalo& halo,
                                     const ResidualStream& x, const ResidualStream& y,
                                     const ResidualStream& dy, const ResidualStream& dx) const {
  const ProjectionPass<T> projections(context, projections_, call);
  const BranchCall all = halo.CallOfRooms(call);
  const std::vector<GroupOfHeads> groups = groups_.Of(all);
  for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
    const idx_t n = all.n(), columns = projections_.count * group->heads * projections_.head_size;
    Arena::Frame frame(context.arena(),
                       ScratchBytes<T>(all, *group) + Arena::Bytes<float>(n * columns));
    const auto rooms = Tensors<T>(frame, all, *group), own = halo.Own(rooms);
    const View<float, 2> dprojected = TakeRows(frame, n, columns);
    if (call.saved == nullptr) {
      projections.Project(x, own);
      halo.Forward(context, CallOf(call, true), rooms);
    }
    projections.SubtractOutput(own, y);
    projections.OutputBackward(dy, own);
    ZeroRows(context, dprojected);
    halo.Backward(context, CallOf(call, true), rooms, dprojected);
    projections.ProjectBackward(x, dprojected.Rows(halo.first_own(), halo.own()), own, dx);
  }
}

// ---- work ---------------------------------------------------------------------------------------

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

idx_t AttentionLayer::FrozenNumbers(const ParameterTable& parameters) const {
  return parameters.frozen_numbers(projections_.first, projections_.count * projections_.width()) +
         parameters.frozen_numbers(projections_.output);
}

std::unique_ptr<AttentionLayer> MakeAttention(const ReformerConfig& config, LayerKind kind,
                                              const std::string& prefix,
                                              ParameterTable& parameters) {
  const AttentionKind row = AttentionKindOf(kind);
  return std::make_unique<AttentionLayer>(config, row, prefix, row.make(config, kind), parameters);
}

}  // namespace longspan
