// TextModel for a Reformer: runs rows without their padding.

#include <algorithm>
#include <map>
#include <utility>

#include "base/arena.h"
#include "base/errors.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer_files.h"
#include "model/head_layer.h"
#include "model/rows.h"
#include "model/step_memory.h"

namespace longspan {
namespace {

// The tokens of a row from its first visible one to its last: what it has beside padding.
struct Stretch {
  idx_t row = 0, begin = 0, tokens = 0;
};

// kUsage unless each of the documents is hidden from end to end, or nowhere.
void CheckHiddenDocuments(const BatchView& batch) {
  CheckDocuments(batch.documents, batch.rows, batch.tokens);
  ForEachDocument(batch.documents, [&](idx_t, idx_t begin, idx_t length) {
    idx_t hidden = 0;
    for (idx_t t = begin; !batch.roles.empty() && t < begin + length; ++t) {
      hidden += batch.roles(t / batch.tokens, t % batch.tokens) == kHiddenToken ? 1 : 0;
    }
    Check(hidden == 0 || hidden == length, ErrorCode::kUsage,
          "batch: {} of the {} tokens of the document at token {} of row {} are hidden; a "
          "Reformer's documents are hidden from end to end or nowhere",
          hidden, length, begin % batch.tokens, begin / batch.tokens);
  });
}

// With documents, whole rows: padding is a hidden document of its own.
std::vector<Stretch> StretchesOf(const BatchView& batch) {
  std::vector<Stretch> stretches;
  if (!batch.documents.empty()) {
    CheckHiddenDocuments(batch);
    for (idx_t b = 0; b < batch.rows; ++b) stretches.push_back({b, 0, batch.tokens});
    return stretches;
  }
  for (idx_t b = 0; b < batch.rows; ++b) {
    Stretch s{b, 0, batch.tokens};
    if (!batch.roles.empty()) {
      const std::uint8_t* role = &batch.roles(b, 0);
      idx_t end = batch.tokens;
      while (end > 0 && role[end - 1] == kHiddenToken) --end;
      while (s.begin < end && role[s.begin] == kHiddenToken) ++s.begin;
      s.tokens = end - s.begin;
    }
    Check(s.tokens > 0, ErrorCode::kUsage, "batch: row {} has no token that is not hidden", b);
    stretches.push_back(s);
  }
  return stretches;
}

// Whether the rows of a batch stand in it as the model runs them: from end to end.
bool AreWhole(const BatchView& batch, const std::vector<Stretch>& stretches) {
  return std::all_of(stretches.begin(), stretches.end(),
                     [&](const Stretch& s) { return s.begin == 0 && s.tokens == batch.tokens; });
}

bool HasHidden(const TokenRoles& roles) {
  for (idx_t b = 0; !roles.empty() && b < roles.extent[0]; ++b) {
    const std::uint8_t* row = &roles(b, 0);
    if (std::find(row, row + roles.extent[1], kHiddenToken) != row + roles.extent[1]) return true;
  }
  return false;
}

// Stretches of one length as a batch. A whole batch is not copied.
class EqualRows {
 public:
  EqualRows(const BatchView& from, std::vector<Stretch> stretches, const TextModelInfo& info)
      : stretches_(std::move(stretches)), view_(from) {
    const bool whole =
        static_cast<idx_t>(stretches_.size()) == from.rows && AreWhole(from, stretches_);
    if (!whole) Copy(from, info);
    // Hidden documents are documents of their own.
    if (!from.documents.empty() || !HasHidden(view_.roles)) view_.roles = {};
  }
  EqualRows(const EqualRows&) = delete;
  EqualRows& operator=(const EqualRows&) = delete;

  const BatchView& batch() const { return view_; }
  const std::vector<Stretch>& stretches() const { return stretches_; }

 private:
  void Copy(const BatchView& from, const TextModelInfo& info) {
    copy_.rows = static_cast<idx_t>(stretches_.size());
    copy_.tokens = stretches_.front().tokens;
    for (const Stretch& s : stretches_) {
      Take(from.ids, s.row * from.tokens + s.begin, s.tokens, &copy_.ids);
      for (idx_t t = s.begin; t < s.begin + s.tokens && !from.roles.empty(); ++t) {
        copy_.roles.push_back(from.roles(s.row, t));
      }
      TakeTargets(from, s, info);
    }
    if (copy_.roles.empty()) copy_.roles.assign(copy_.ids.size(), kLocalToken);
    view_ = copy_.view();
  }
  template <class T>
  static void Take(std::span<const T> from, idx_t begin, idx_t count, std::vector<T>* to) {
    if (from.empty()) return;
    Check(begin + count <= std::ssize(from), ErrorCode::kUsage,
          "batch: {} ids, roles or targets, need {} for its rows", from.size(), begin + count);
    const auto first = from.begin() + begin;
    to->insert(to->end(), first, first + count);
  }
  void TakeTargets(const BatchView& from, const Stretch& s, const TextModelInfo& info) {
    if (info.head == HeadKind::kSequence) {
      Take(from.labels, s.row, 1, &copy_.labels);
      Take(from.values, s.row * info.label_count(), info.label_count(), &copy_.values);
      Take(from.dlogits, s.row * info.label_count(), info.label_count(), &copy_.dlogits);
      copy_.class_weights.assign(from.class_weights.begin(), from.class_weights.end());
      copy_.label_smoothing = from.label_smoothing;
    } else {
      Take(from.labels, s.row * from.tokens + s.begin, s.tokens, &copy_.labels);
    }
    const auto place = [&](std::span<const std::int32_t> places, std::vector<std::int32_t>* to) {
      if (places.empty()) return;
      const idx_t at = places[static_cast<std::size_t>(s.row)];
      const bool ignored = at >= from.tokens;
      to->push_back(static_cast<std::int32_t>(ignored ? s.tokens : at - s.begin));
    };
    place(from.starts, &copy_.starts);
    place(from.ends, &copy_.ends);
  }

  std::vector<Stretch> stretches_;
  Batch copy_;
  BatchView view_;
};

// The batch in groups of rows of one length, the longest first.
std::vector<std::unique_ptr<EqualRows>> GroupsOf(const BatchView& batch,
                                                 const TextModelInfo& info) {
  std::map<idx_t, std::vector<Stretch>, std::greater<>> by_length;
  for (const Stretch& s : StretchesOf(batch)) by_length[s.tokens].push_back(s);
  std::vector<std::unique_ptr<EqualRows>> groups;
  for (auto& [tokens, stretches] : by_length) {
    groups.push_back(std::make_unique<EqualRows>(batch, std::move(stretches), info));
  }
  return groups;
}

class ReformerTextModel final : public TextModel {
 public:
  explicit ReformerTextModel(Reformer model, const TextModelInfo& info)
      : model_(std::move(model)), info_(info) {}

  const TextModelInfo& info() const override { return info_; }
  ParameterTable& parameters() override { return model_.parameters(); }
  const ParameterTable& parameters() const override { return model_.parameters(); }
  void Initialise(std::uint64_t seed,
                  const std::function<bool(std::string_view name)>& which) override {
    model_.Initialise(seed, which);
  }
  void ComputeIn(DType dtype) override { model_.ComputeIn(dtype); }
  void Follow(const StepPolicy& policy) override {
    Check(policy.recompute == 0, ErrorCode::kUsage,
          "recompute: a Reformer's layers are reversible and keep nothing; leave --recompute out");
    model_.ComputeIn(policy.compute);
    model_.KeepUpTo(policy.keep);
    model_.GradientStreamsIn(policy.gradient_streams);
    row_ranks_ = policy.row_ranks;
  }
  void AgreeOnSteps(RowGroup& group) override { model_.AgreeOnSteps(group); }
  void FitInto(std::size_t bytes, idx_t rows, idx_t tokens, const StepPolicy& run) override {
    StepPolicy policy = run;
    policy.compute = model_.computes_in();
    policy.gradient_streams = model_.gradient_streams();
    policy.frozen = FrozenIn(model_.parameters());
    Follow(MakeModelConfig(model_.config())->Fit(rows, tokens, bytes, policy, 0));
  }

  void Recompute() override {
    Fail(ErrorCode::kUsage,
         "recompute: a Reformer's layers are reversible and keep nothing; leave --recompute out");
  }

  void Encode(Context& context, const BatchView& batch,
              const View<float, 2>& hidden) const override {
    ZeroRows(context, hidden);
    const idx_t channels = info_.width / 2;
    EachGroup(batch, [&](const EqualRows& group, std::size_t) {
      const idx_t n = group.batch().rows * group.batch().tokens;
      Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
      if (context.row_group() != nullptr) {
        const View<float, 2> h = TakeRows(frame, n, info_.width);
        model_.EncodeTexts(context, ReformerBatch{group.batch()}, h);
        return CopyGroup(context, batch, group, h, hidden);
      }
      const View<float, 2> y1 = TakeRows(frame, n, channels), y2 = TakeRows(frame, n, channels);
      model_.Encode(context, ReformerBatch{group.batch()}, y1, y2);
      EachStretch(batch, group, [&](idx_t own, idx_t all, idx_t tokens) {
        model_.Normalise(context, y1.Rows(own, tokens), y2.Rows(own, tokens),
                         hidden.Rows(all, tokens));
      });
    });
  }

  Tensor Logits(Context& context, const BatchView& batch,
                const View<const float, 2>& hidden) const override {
    if (info_.head != HeadKind::kSequence) return model_.LogitsOfRows(context, hidden);
    std::vector<std::int32_t> first;
    if (!batch.documents.empty()) {
      first = TokensRead(HeadReads::kFirstTokens, batch);
    } else {
      for (const Stretch& s : StretchesOf(batch)) {
        first.push_back(static_cast<std::int32_t>(s.row * batch.tokens + s.begin));
      }
    }
    Tensor rows({static_cast<idx_t>(first.size()), info_.width});
    GatherRows(context, first, hidden, rows.view<2>());
    return model_.LogitsOfRows(context, rows.view<2>());
  }

  Tensor LogitsOfTexts(Context& context, const BatchView& batch) const override {
    if (context.row_group() == nullptr) return TextModel::LogitsOfTexts(context, batch);
    const bool texts = info_.head == HeadKind::kSequence;
    Tensor all({texts ? TextCount(batch) : batch.rows * batch.tokens, model_.LogitCount()});
    ZeroRows(context, all.view<2>());
    EachGroup(batch, [&](const EqualRows& group, std::size_t) {
      const Tensor own = model_.LogitsOfTexts(context, ReformerBatch{group.batch()});
      if (texts) return CopyTextLogits(context, batch, group, own, &all);
      EachStretch(batch, group, [&](idx_t from, idx_t to, idx_t tokens) {
        CopyRows(context, own.view<2>().Rows(from, tokens), all.view<2>().Rows(to, tokens));
      });
    });
    return all;
  }
  HeadLoss Loss(Context& context, const BatchView& batch) const override {
    return Sum(batch,
               [&](const ReformerBatch& rows, std::size_t) { return model_.Loss(context, rows); });
  }
  HeadLoss LossAndGradients(Context& context, const BatchView& batch, float scale,
                            const StepDropout& dropout) override {
    return Sum(batch, [&](const ReformerBatch& rows, std::size_t group) {
      return model_.LossAndGradients(context, rows, scale, OfGroup(dropout, group));
    });
  }
  Tensor LogitsInStep(Context& context, const BatchView& batch,
                      const StepDropout& dropout) override {
    Tensor all({TextCount(batch), model_.LogitCount()});
    EachGroup(batch, [&](const EqualRows& group, std::size_t number) {
      const Tensor own =
          model_.LogitsInStep(context, ReformerBatch{group.batch()}, OfGroup(dropout, number));
      CopyTextLogits(context, batch, group, own, &all);
    });
    return all;
  }
  void EncodeInStep(Context& context, const BatchView& batch, const StepDropout& dropout,
                    const View<float, 2>& hidden) override {
    ZeroRows(context, hidden);
    EachGroup(batch, [&](const EqualRows& group, std::size_t number) {
      const idx_t n = group.batch().rows * group.batch().tokens;
      Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * info_.width));
      const View<float, 2> h = TakeRows(frame, n, info_.width);
      model_.EncodeInStep(context, ReformerBatch{group.batch()}, OfGroup(dropout, number), h);
      CopyGroup(context, batch, group, h, hidden);
    });
  }
  void EncodeGradients(Context& context, const BatchView& batch,
                       const View<const float, 2>& dhidden, const StepDropout& dropout) override {
    EachGroup(batch, [&](const EqualRows& group, std::size_t number) {
      const idx_t n = group.batch().rows * group.batch().tokens;
      Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * info_.width));
      const View<float, 2> d = TakeRows(frame, n, info_.width);
      EachStretch(batch, group, [&](idx_t own, idx_t all, idx_t tokens) {
        CopyRows(context, dhidden.Rows(all, tokens), d.Rows(own, tokens));
      });
      model_.CotangentGradients(context, ReformerBatch{group.batch()}, d, OfGroup(dropout, number));
    });
  }

  double ForwardGflop(const BatchView& batch) const override {
    return model_.ForwardGflop(batch.rows, batch.tokens);
  }
  double StepGflop(const BatchView& batch) const override {
    return model_.StepGflop(batch.rows, batch.tokens);
  }
  StepMemory MemoryOfStep(idx_t rows, idx_t tokens) const override {
    StepMemory memory;
    // Of ranks that share rows the last one has the most tokens.
    RowGroup last(row_ranks_ - 1, row_ranks_);
    RowGroup* const ranks = row_ranks_ > 1 ? &last : nullptr;
    const idx_t own = OwnTokens(ranks, rows * tokens).size();
    memory.streams = Reformer::StreamBytes(model_.config(), 1, own, model_.gradient_streams());
    memory.buckets = model_.StateBytes();
    memory.copies = model_.CopiedBytes();
    memory.activations = model_.ActivationBytes(rows, tokens, ranks);
    return memory;
  }

  const GenerativeModel* generative() const override { return &model_; }
  std::string ConfigText() const override { return ToJson(model_.config()); }
  std::vector<io::TensorEntry> Weights() const override { return WeightEntries(model_); }
  void Save(const std::filesystem::path& directory) const override {
    SaveReformer(model_, directory);
  }

 private:
  static constexpr std::uint64_t kGroups = std::uint64_t{1} << 32;  // beyond the model's sites

  // The first group draws as a batch without padding does.
  static StepDropout OfGroup(StepDropout dropout, std::size_t group) {
    if (group > 0 && dropout.active) dropout.key = DeriveKey(dropout.key, kGroups + group);
    return dropout;
  }
  // use(group, its number) for the rows of one length.
  template <class Use>
  void EachGroup(const BatchView& batch, const Use& use) const {
    const auto groups = GroupsOf(batch, info_);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const PassesToCome passes(model_.parameters(), i + 1 < groups.size());
      use(*groups[i], i);
    }
  }
  // use(first token in the group, first token in the batch, tokens) for each row of a group.
  template <class Use>
  static void EachStretch(const BatchView& batch, const EqualRows& group, const Use& use) {
    for (std::size_t i = 0; i < group.stretches().size(); ++i) {
      const Stretch& s = group.stretches()[i];
      use(static_cast<idx_t>(i) * s.tokens, s.row * batch.tokens + s.begin, s.tokens);
    }
  }

  // Copies the logits of a group's texts to their places among those of the batch.
  static void CopyTextLogits(Context& context, const BatchView& batch, const EqualRows& group,
                             const Tensor& own, Tensor* all) {
    if (!batch.documents.empty()) return CopyRows(context, own.view<2>(), all->view<2>());
    for (std::size_t i = 0; i < group.stretches().size(); ++i) {
      CopyRows(context, own.view<2>().Rows(static_cast<idx_t>(i), 1),
               all->view<2>().Rows(group.stretches()[i].row, 1));
    }
  }
  // Copies rows h of a group to their places in the batch.
  static void CopyGroup(Context& context, const BatchView& batch, const EqualRows& group,
                        const View<const float, 2>& h, const View<float, 2>& hidden) {
    EachStretch(batch, group, [&](idx_t own, idx_t all, idx_t tokens) {
      CopyRows(context, h.Rows(own, tokens), hidden.Rows(all, tokens));
    });
  }

  template <class LossOf>
  HeadLoss Sum(const BatchView& batch, const LossOf& loss_of) const {
    HeadLoss total;
    EachGroup(batch, [&](const EqualRows& group, std::size_t number) {
      total.Add(loss_of(ReformerBatch{group.batch()}, number));
    });
    total.mean = MeanLoss(total.sum, total.counted);
    return total;
  }

  Reformer model_;
  TextModelInfo info_;
  int row_ranks_ = 1;  // that share the rows of steps
};

}  // namespace

std::unique_ptr<TextModel> MakeTextModel(Reformer model) {
  const TextModelInfo info = InfoOf(model.config());
  return std::make_unique<ReformerTextModel>(std::move(model), info);
}

}  // namespace longspan
