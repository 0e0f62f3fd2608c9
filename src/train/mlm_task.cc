#include "train/mlm_task.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "base/rng.h"

namespace longspan {
namespace {

constexpr idx_t kEvalTokens = 8192;  // of a batch of an evaluation

WantedTextHead MaskedLmHeadWanted() { return {TextHead::kMaskedLm, {}, ProblemType::kInferred}; }

}  // namespace

std::uint64_t MaskKey(std::uint64_t seed, idx_t step) {
  return DeriveKey(KeyOf(seed, RunKey::kMasks), static_cast<std::uint64_t>(step));
}

void CheckMaskedLmOptions(const MaskedLmOptions& task) {
  Check(task.mask_share > 0.0 && task.mask_share < 1.0, ErrorCode::kUsage,
        "mask-share: {} is not above 0 and below 1", task.mask_share);
}

std::span<const std::int32_t> LastPart(std::span<const std::int32_t> ids, double share) {
  return ids.last(static_cast<std::size_t>(static_cast<double>(ids.size()) * share));
}

// ---- rows ---------------------------------------------------------------------------------------

MaskedRows::MaskedRows(const text::Tokenizer& tokenizer, const TextModelInfo& info,
                       double mask_share) {
  CheckVocabulary(tokenizer.vocabulary(), info);
  const text::SpecialIds& ids = tokenizer.special();
  Check(ids.mask.has_value(), ErrorCode::kFormat,
        "tokenizer: it has no mask token, which masked language modelling needs");
  rule_.share = mask_share;
  rule_.mask_id = *ids.mask;
  rule_.vocabulary = tokenizer.vocabulary();
  begin_ = ids.cls ? ids.cls : ids.bos;
  end_ = ids.sep ? ids.sep : ids.eos;
  special_.assign(static_cast<std::size_t>(info.vocab_size), 0);
  special_[static_cast<std::size_t>(info.pad_token)] = 1;
  for (const auto& id : {ids.bos, ids.eos, ids.unk, ids.sep, ids.pad, ids.cls, ids.mask}) {
    if (id) special_[static_cast<std::size_t>(*id)] = 1;
  }
}

idx_t MaskedRows::Content(idx_t tokens) const { return tokens - (begin_ ? 1 : 0) - (end_ ? 1 : 0); }

idx_t MaskedRows::Put(idx_t row, std::span<const std::int32_t> content, std::uint64_t key,
                      PaddedRows* rows) const {
  std::vector<std::int32_t> ids;
  if (begin_) ids.push_back(*begin_);
  ids.insert(ids.end(), content.begin(), content.end());
  if (end_) ids.push_back(*end_);
  std::vector<std::uint8_t> fixed;
  for (const std::int32_t id : ids) fixed.push_back(special_[static_cast<std::size_t>(id)]);
  const idx_t begin = row * rows->tokens;
  const auto labels = std::span(rows->labels).subspan(static_cast<std::size_t>(begin), ids.size());
  const idx_t masked = MaskTokens(rule_, key, fixed, ids, labels);
  rows->SetRow(row, ids);
  return masked;
}

HeadLoss MaskedLoss(Context& context, TextModel& model, const MaskedRows& form,
                    const GlobalPolicy& global, std::span<const std::int32_t> content, idx_t tokens,
                    std::uint64_t key) {
  const auto size = static_cast<idx_t>(content.size());
  const idx_t room = std::min(form.Content(tokens), size);
  const idx_t width = room + tokens - form.Content(tokens);
  const idx_t row_count = (size + room - 1) / room;
  const idx_t batch = std::max<idx_t>(1, kEvalTokens / width);
  HeadLoss total;
  for (idx_t first = 0; first < row_count; first += batch) {
    PaddedRows rows;
    rows.Reset(std::min(batch, row_count - first), width, model.info().pad_token);
    rows.labels.assign(rows.ids.size(), kIgnoreLabel);
    for (idx_t r = 0; r < rows.rows; ++r) {
      const idx_t begin = (first + r) * room;
      form.Put(r,
               content.subspan(static_cast<std::size_t>(begin),
                               static_cast<std::size_t>(std::min(room, size - begin))),
               DeriveKey(key, static_cast<std::uint64_t>(first + r)), &rows);
    }
    model.MarkGlobals(global, rows.ids, rows.rows, rows.tokens, rows.roles);
    const HeadLoss part = model.Loss(context, rows.batch());
    total.sum += part.sum;
    total.counted += part.counted;
    total.correct += part.correct;
  }
  Check(total.counted > 0, ErrorCode::kUsage, "eval: the text has no token that can be masked");
  total.mean = total.sum / static_cast<double>(total.counted);
  return total;
}

// ---- the task -----------------------------------------------------------------------------------

MaskedLmTask::MaskedLmTask(Context& context, const TrainOptions& options,
                           const MaskedLmOptions& task, const text::Tokenizer& tokenizer,
                           const TextModelInfo& info)
    : TextTask(options, info, MaskedLmHeadWanted(), task.global, task.recompute),
      task_(task),
      form_(tokenizer, info, task.mask_share) {
  CheckMaskedLmOptions(task);
  const Documents documents = ParseDocuments(task.documents);
  train_stream_ = TokenStream(context, tokenizer, options.train, documents, form_.separator());
  train_ = train_stream_.ids();
  if (options.eval.empty()) {
    held_out_ = LastPart(train_, options.held_out);
    train_ = train_.first(train_.size() - held_out_.size());
  } else {
    eval_stream_ = TokenStream(context, tokenizer, {options.eval}, documents, form_.separator());
    held_out_ = eval_stream_.ids();
  }
  const idx_t room = form_.Content(options.tokens);
  Check(static_cast<idx_t>(train_.size()) >= room, ErrorCode::kUsage,
        "train: the text has {} tokens to train on, rows of {} tokens need {}; lower --tokens",
        train_.size(), options.tokens, room);
  Check(!held_out_.empty(), ErrorCode::kUsage,
        "train: the held-out part is empty; raise --held-out or give --eval");
}

std::string MaskedLmTask::DataFingerprint() const {
  return train_stream_.fingerprint() + " " + eval_stream_.fingerprint() +
         fmt::format(" tokens {} held out {}", train_.size(), held_out_.size());
}

nlohmann::json MaskedLmTask::DecidingOptions() const {
  return WithSharedOptions(
      {{"task", "mlm"}, {"mask_share", task_.mask_share}, {"documents", task_.documents}});
}

StepSize MaskedLmTask::Draw(idx_t step) {
  const TrainOptions& o = options();
  const std::uint64_t data =
      DeriveKey(KeyOf(o.seed, RunKey::kData), static_cast<std::uint64_t>(step));
  const idx_t room = form_.Content(o.tokens);
  micros_.resize(static_cast<std::size_t>(o.accumulate));
  StepSize size;
  idx_t row = 0;  // of the update
  for (PaddedRows& rows : micros_) {
    rows.Reset(o.batch, o.tokens, info().pad_token);
    rows.labels.assign(rows.ids.size(), kIgnoreLabel);
    for (idx_t r = 0; r < o.batch; ++r, ++row) {
      Rng rng(data, static_cast<std::uint64_t>(row));
      const idx_t begin = rng.Below(static_cast<idx_t>(train_.size()) - room + 1);
      size.counted += form_.Put(
          r, train_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(room)),
          DeriveKey(MaskKey(o.seed, step), static_cast<std::uint64_t>(row)), &rows);
    }
    size.tokens += o.batch * o.tokens;
  }
  // Rows of nothing but special tokens: no loss, no gradient.
  size.counted = std::max<idx_t>(size.counted, 1);
  return size;
}

TaskLoss MaskedLmTask::Accumulate(Context& context, idx_t micro, float scale,
                                  const StepDropout& dropout) {
  const HeadLoss loss =
      LossAndGradients(context, micros_[static_cast<std::size_t>(micro)], scale, dropout);
  return {loss.sum, loss.correct};
}

TaskEvaluation MaskedLmTask::Evaluate(Context& context) {
  const HeadLoss loss = MaskedLoss(context, model(), form_, global(), held_out_, options().tokens,
                                   MaskKey(options().seed, kEvaluation));
  return {loss.mean,
          {{"accuracy", static_cast<double>(loss.correct) / static_cast<double>(loss.counted)},
           {"perplexity", std::exp(loss.mean)}}};
}

}  // namespace longspan
