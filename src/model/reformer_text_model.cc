// TextModel for a Reformer: runs rows without their padding.

#include <algorithm>
#include <map>
#include <utility>

#include "base/errors.h"
#include "model/documents.h"
#include "model/model_files.h"
#include "model/rows.h"
#include "model/step_memory.h"
#include "model/text_model.h"

namespace longspan {
namespace {

// The tokens of a row from its first visible one to its last: what it has beside padding.
struct Stretch {
  idx_t row = 0, begin = 0, tokens = 0;
};

// kUsage unless each of the documents is hidden from end to end, or nowhere.
void CheckHiddenDocuments(const TextBatch& batch) {
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
std::vector<Stretch> StretchesOf(const TextBatch& batch) {
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

// Stretches of one length as a batch that owns its memory.
class EqualRows {
 public:
  EqualRows(const TextBatch& from, std::vector<Stretch> stretches, const TextModelInfo& info)
      : stretches_(std::move(stretches)) {
    batch_.rows = static_cast<idx_t>(stretches_.size());
    batch_.tokens = stretches_.front().tokens;
    for (const Stretch& s : stretches_) {
      Take(from.ids, s.row * from.tokens + s.begin, s.tokens, &ids_);
      const bool masked = from.documents.empty() && !from.roles.empty();
      for (idx_t t = s.begin; t < s.begin + s.tokens && masked; ++t) {
        mask_.push_back(from.roles(s.row, t) != kHiddenToken);
      }
      TakeTargets(from, s, info);
    }
    batch_.ids = ids_;
    const bool holes = std::count(mask_.begin(), mask_.end(), 0) > 0;
    if (holes) batch_.mask = {mask_.data(), {batch_.rows, batch_.tokens}};
    batch_.targets = targets_;
    batch_.labels = labels_;
    batch_.values = values_;
    batch_.starts = starts_;
    batch_.ends = ends_;
    batch_.documents = from.documents;
  }
  EqualRows(const EqualRows&) = delete;
  EqualRows& operator=(const EqualRows&) = delete;

  const TokenBatch& batch() const { return batch_; }
  const std::vector<Stretch>& stretches() const { return stretches_; }

 private:
  template <class T>
  static void Take(std::span<const T> from, idx_t begin, idx_t count, std::vector<T>* to) {
    if (from.empty()) return;
    const auto first = from.begin() + begin;
    to->insert(to->end(), first, first + count);
  }
  void TakeTargets(const TextBatch& from, const Stretch& s, const TextModelInfo& info) {
    if (info.head == HeadKind::kSequence) {
      Take(from.labels, s.row, 1, &labels_);
      Take(from.values, s.row * info.label_count(), info.label_count(), &values_);
    } else {
      Take(from.labels, s.row * from.tokens + s.begin, s.tokens, &targets_);
    }
    const auto place = [&](std::span<const std::int32_t> places, std::vector<std::int32_t>* to) {
      if (places.empty()) return;
      const idx_t at = places[static_cast<std::size_t>(s.row)];
      const bool ignored = at >= from.tokens;
      to->push_back(static_cast<std::int32_t>(ignored ? s.tokens : at - s.begin));
    };
    place(from.starts, &starts_);
    place(from.ends, &ends_);
  }

  std::vector<Stretch> stretches_;
  std::vector<std::int32_t> ids_, targets_, labels_, starts_, ends_;
  std::vector<float> values_;
  std::vector<std::uint8_t> mask_;
  TokenBatch batch_;
};

// The batch in groups of rows of one length, the longest first.
std::vector<std::unique_ptr<EqualRows>> GroupsOf(const TextBatch& batch,
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
  void ComputeIn(DType dtype) override { model_.ComputeIn(dtype); }
  void FitInto(std::size_t bytes, idx_t rows, idx_t tokens) override {
    model_.KeepUpTo(FitStep(model_.config(), rows, tokens, bytes, {model_.computes_in()}).keep);
  }

  void Recompute() override {
    Fail(ErrorCode::kUsage,
         "recompute: a Reformer's layers are reversible and keep nothing; leave --recompute out");
  }

  void MarkGlobals(const GlobalPolicy&, std::span<const std::int32_t>, idx_t, idx_t,
                   std::span<std::uint8_t>, std::span<const idx_t>) const override {}

  void Encode(Context& context, const TextBatch& batch, const View<float, 2>& hidden) override {
    ZeroRows(context, hidden);
    const idx_t channels = info_.width / 2;
    for (const auto& group : GroupsOf(batch, info_)) {
      const idx_t tokens = group->batch().tokens, n = group->batch().rows * tokens;
      Tensor y1({n, channels}), y2({n, channels});
      model_.Encode(context, group->batch(), y1.view<2>(), y2.view<2>());
      for (std::size_t i = 0; i < group->stretches().size(); ++i) {
        const Stretch& s = group->stretches()[i];
        const idx_t from = static_cast<idx_t>(i) * tokens;
        model_.Normalise(context, y1.view<2>().Rows(from, tokens), y2.view<2>().Rows(from, tokens),
                         hidden.Rows(s.row * batch.tokens + s.begin, tokens));
      }
    }
  }

  Tensor Logits(Context& context, const TextBatch& batch,
                const View<const float, 2>& hidden) override {
    if (info_.head != HeadKind::kSequence) return model_.LogitsOfRows(context, hidden);
    std::vector<std::int32_t> first;
    for (const Stretch& s : StretchesOf(batch)) {
      first.push_back(static_cast<std::int32_t>(s.row * batch.tokens + s.begin));
    }
    Tensor rows({batch.rows, info_.width});
    GatherRows(context, first, hidden, rows.view<2>());
    return model_.LogitsOfRows(context, rows.view<2>());
  }

  HeadLoss Loss(Context& context, const TextBatch& batch) override {
    return Sum(batch,
               [&](const TokenBatch& rows, std::size_t) { return model_.Loss(context, rows); });
  }
  HeadLoss LossAndGradients(Context& context, const TextBatch& batch, float scale,
                            const StepDropout& dropout) override {
    return Sum(batch, [&](const TokenBatch& rows, std::size_t group) {
      StepDropout own = dropout;  // the first group draws as a batch without padding does
      if (group > 0 && dropout.active) own.key = DeriveKey(dropout.key, kGroups + group);
      return model_.LossAndGradients(context, rows, scale, own);
    });
  }

  std::string ConfigText() const override { return ToJson(model_.config()); }
  std::vector<io::TensorEntry> Weights() override { return WeightEntries(model_); }
  void Save(const std::filesystem::path& directory) override { SaveReformer(model_, directory); }

 private:
  static constexpr std::uint64_t kGroups = std::uint64_t{1} << 32;  // beyond the model's sites

  template <class LossOf>
  HeadLoss Sum(const TextBatch& batch, const LossOf& loss_of) {
    HeadLoss total;
    const auto groups = GroupsOf(batch, info_);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const HeadLoss part = loss_of(groups[i]->batch(), i);
      total.sum += part.sum;
      total.counted += part.counted;
      total.correct += part.correct;
    }
    total.mean = MeanLoss(total.sum, total.counted);
    return total;
  }

  Reformer model_;
  TextModelInfo info_;
};

}  // namespace

std::unique_ptr<TextModel> MakeTextModel(Reformer model) {
  const TextModelInfo info = InfoOf(model.config());
  return std::make_unique<ReformerTextModel>(std::move(model), info);
}

}  // namespace longspan
