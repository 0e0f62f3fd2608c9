#include "train/mlm_task.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "base/math.h"
#include "base/rng.h"
#include "families/model_inside.h"
#include "train/eval_batches.h"
#include "train/row_lengths.h"

namespace longspan {
namespace {

WantedHead MaskedLmHeadWanted() { return {HeadKind::kMaskedLm, {}, ProblemType::kInferred}; }

}  // namespace

std::uint64_t MaskKey(std::uint64_t seed, idx_t step) {
  return DeriveKey(KeyOf(seed, RunKey::kMasks), static_cast<std::uint64_t>(step));
}

void CheckMaskedLmOptions(const MaskedLmOptions& task) {
  Check(task.mask_share > 0.0 && task.mask_share < 1.0, ErrorCode::kUsage,
        "mask-share: {} is not above 0 and below 1", task.mask_share);
}

TokenStream ReadMaskedText(Context& context, const text::Tokenizer& tokenizer,
                           const std::vector<std::filesystem::path>& files, const DataOptions& data,
                           const MaskedLmOptions& task, const MaskedRows& form,
                           const std::filesystem::path& near, std::vector<std::string>* notes) {
  Check(task.documents != Documents::kJoined, ErrorCode::kUsage,
        "documents: a masked language model reads documents one by one; choose where one ends");
  data::CorpusRules rules = CorpusRulesFor(data, tokenizer.kind() == "bytes", near);
  rules.copy_below = data::ScratchFile::kInMemory;  // it is read once and then let go
  TokenStream stream(near, task.packed);
  const data::Corpus told = data::ReadCorpus(files, rules, [&](const data::CorpusFile& file, bool) {
    file.CheckUnchanged();
    stream.Join(context, tokenizer, file, task.documents,
                task.packed ? std::nullopt : form.separator());
  });
  notes->insert(notes->end(), told.notes.begin(), told.notes.end());
  return stream;
}

MaskedText MaskedText::Of(const TokenStream& stream, idx_t begin, idx_t end, bool packed,
                          const MaskedRows& form, idx_t tokens, const std::filesystem::path& near) {
  MaskedText text;
  text.ids =
      stream.ids().subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  if (!packed) return text;
  Check(form.Around() > 0, ErrorCode::kFormat,
        "packed: special tokens stand around each document, and the tokenizer has none (cls_token "
        "or bos_token, sep_token or eos_token)");
  data::ScratchList<idx_t> starts(near);
  starts.Add(0);
  for (const idx_t start : stream.starts()) {
    if (start > begin && start < end) starts.Add(start - begin);
  }
  text.packed.emplace(starts.all(), end - begin, tokens, form.Around(), near);
  return text;
}

// ---- rows ---------------------------------------------------------------------------------------

MaskedRows::MaskedRows(const text::Tokenizer& tokenizer, const TextModelInfo& info,
                       double mask_share) {
  CheckVocabulary(tokenizer.vocabulary(), info.vocab_size);
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

void MaskedRows::Append(const TokenIds& content, std::vector<std::int32_t>* ids) const {
  if (begin_) ids->push_back(*begin_);
  content.AppendTo(ids);
  if (end_) ids->push_back(*end_);
}

idx_t MaskedRows::Put(idx_t row, const TokenIds& content, std::uint64_t key, Batch* rows) const {
  std::vector<std::int32_t> ids;
  Append(content, &ids);
  return PutMasked(row, std::move(ids), key, rows);
}

idx_t MaskedRows::PutPacked(idx_t row, const TokenIds& ids,
                            std::span<const PackedPieces::Piece> pieces, std::uint64_t key,
                            Batch* rows) const {
  std::vector<std::int32_t> joined;
  for (const PackedPieces::Piece& piece : pieces) {
    const auto before = static_cast<idx_t>(joined.size());
    Append(ids.subspan(static_cast<std::size_t>(piece.begin),
                       static_cast<std::size_t>(piece.end - piece.begin)),
           &joined);
    rows->documents.push_back(static_cast<idx_t>(joined.size()) - before);
  }
  const idx_t empty = rows->tokens - static_cast<idx_t>(joined.size());
  if (empty > 0) rows->documents.push_back(empty);
  return PutMasked(row, std::move(joined), key, rows);
}

idx_t MaskedRows::PutMasked(idx_t row, std::vector<std::int32_t> ids, std::uint64_t key,
                            Batch* rows) const {
  std::vector<std::uint8_t> fixed;
  for (const std::int32_t id : ids) fixed.push_back(special_[static_cast<std::size_t>(id)]);
  const idx_t begin = row * rows->tokens;
  const auto labels = std::span(rows->labels).subspan(static_cast<std::size_t>(begin), ids.size());
  const idx_t masked = MaskTokens(rule_, key, fixed, ids, labels);
  rows->SetRow(row, ids);
  return masked;
}

HeadLoss MaskedLoss(Context& context, TextModel& model, const MaskedRows& form,
                    const GlobalPolicy& global, const MaskedText& text, idx_t tokens,
                    std::uint64_t key, const EvalHooks& hooks) {
  const auto size = static_cast<idx_t>(text.ids.size());
  const idx_t room = std::min(form.Content(tokens), size);
  const idx_t width = text.packed ? tokens : room + form.Around();
  const idx_t row_count = text.packed ? text.packed->rows() : CeilDiv(size, room);
  const idx_t at_once = std::max<idx_t>(1, hooks.batch_tokens / width);
  const auto loss_of = [&](idx_t first) {
    Batch rows;
    rows.Reset(std::min(at_once, row_count - first), width, model.info().pad_token);
    rows.labels.assign(rows.ids.size(), kIgnoreLabel);
    for (idx_t r = 0; r < rows.rows; ++r) {
      const std::uint64_t own = DeriveKey(key, static_cast<std::uint64_t>(first + r));
      if (text.packed) {
        form.PutPacked(r, text.ids, text.packed->Pieces(first + r), own, &rows);
        continue;
      }
      const idx_t begin = (first + r) * room;
      form.Put(r,
               text.ids.subspan(static_cast<std::size_t>(begin),
                                static_cast<std::size_t>(std::min(room, size - begin))),
               own, &rows);
    }
    global.Mark(model.info(), &rows);
    return WithinLimit(context, "evaluate", [&](Context& c) { return model.Loss(c, rows.view()); });
  };
  HeadLoss total;
  ForEachBatch<HeadLoss>(
      context, hooks, {CeilDiv(row_count, at_once), row_count},
      [&](idx_t batch) { return std::vector{loss_of(batch * at_once)}; },
      [&](idx_t batch, std::span<const HeadLoss> found) {
        total.Add(found.front());
        return std::min((batch + 1) * at_once, row_count);
      });
  Check(total.counted > 0, ErrorCode::kUsage, "eval: the text has no token that can be masked");
  total.mean = total.sum / static_cast<double>(total.counted);
  return total;
}

// ---- the task -----------------------------------------------------------------------------------

MaskedLmTask::MaskedLmTask(Context& context, const TrainOptions& options,
                           const MaskedLmOptions& task, const text::Tokenizer& tokenizer,
                           const TextModelInfo& info)
    : TextTask(options, info, MaskedLmHeadWanted(), GlobalPolicy(task.global, &tokenizer)),
      task_(task),
      form_(tokenizer, info, task.mask_share) {
  CheckMaskedLmOptions(task);
  const auto part = [&](const TokenStream& stream, idx_t begin, idx_t end) {
    return MaskedText::Of(stream, begin, end, task.packed, form_, options.tokens, options.output);
  };
  const auto size_of = [](const TokenStream& stream) {
    return static_cast<idx_t>(stream.ids().size());
  };
  train_stream_ = ReadMaskedText(context, tokenizer, options.data.train, options.data.read, task,
                                 form_, options.output, &notes_);
  const idx_t all = size_of(train_stream_);
  if (options.data.eval.empty()) {
    const idx_t border = all - LastPart(all, options.data.held_out);
    train_ = part(train_stream_, 0, border);
    held_out_ = part(train_stream_, border, all);
  } else {
    eval_stream_ = ReadMaskedText(context, tokenizer, {options.data.eval}, options.data.read, task,
                                  form_, options.output, &notes_);
    train_ = part(train_stream_, 0, all);
    held_out_ = part(eval_stream_, 0, size_of(eval_stream_));
  }
  const idx_t room = form_.Content(options.tokens), size = static_cast<idx_t>(train_.ids.size());
  Check(!task.packed || size > 0, ErrorCode::kUsage,
        "train: the text has no tokens to train on; lower --held-out or give --eval");
  Check(task.packed || size >= room, ErrorCode::kUsage,
        "train: the text has {} tokens to train on, rows of {} tokens need {}; lower --tokens",
        size, options.tokens, room);
  Check(!held_out_.ids.empty(), ErrorCode::kUsage,
        "train: the held-out part is empty; raise --held-out or give --eval");
  if (train_.packed) {
    order_ = EpochOrder(train_.packed->rows(), KeyOf(options.seed, RunKey::kData));
  }
}

void MaskedLmTask::Load(const std::filesystem::path& directory, Origin origin,
                        std::vector<std::string>* notes) {
  TextTask::Load(directory, origin, notes);
  if (notes == nullptr) return;
  notes->insert(notes->end(), notes_.begin(), notes_.end());
  if (!train_.packed) return;
  notes->push_back(
      fmt::format("packed: {} tokens {}", train_.ids.size(), train_.packed->Describe()));
}

std::string MaskedLmTask::DataFingerprint() const {
  return train_stream_.fingerprint() + " " + eval_stream_.fingerprint() +
         fmt::format(" tokens {} held out {}", train_.ids.size(), held_out_.ids.size());
}

nlohmann::json MaskedLmTask::DecidingOptions() const {
  nlohmann::json deciding = {
      {"task", "mlm"}, {"mask_share", task_.mask_share}, {"documents", task_.documents}};
  // Left out where it is not asked for: runs from before there was a choice go on.
  if (task_.packed) deciding["packed"] = true;
  return WithSharedOptions(std::move(deciding));
}

idx_t MaskedLmTask::Place(idx_t step, idx_t row) const {
  const TrainOptions& o = options();
  if (train_.packed) return order_.At((step - 1) * o.batch * o.accumulate + row);
  const std::uint64_t data =
      DeriveKey(KeyOf(o.seed, RunKey::kData), static_cast<std::uint64_t>(step));
  Rng rng(data, static_cast<std::uint64_t>(row));
  return rng.Below(static_cast<idx_t>(train_.ids.size()) - form_.Content(TokensAt(o, step)) + 1);
}

idx_t MaskedLmTask::PutRow(idx_t step, idx_t row, idx_t r, Batch* rows) {
  const TrainOptions& o = options();
  const std::uint64_t masks = DeriveKey(MaskKey(o.seed, step), static_cast<std::uint64_t>(row));
  const idx_t place = Place(step, row);
  if (train_.packed) {
    return form_.PutPacked(r, train_.ids, train_.packed->Pieces(place), masks, rows);
  }
  const auto room = static_cast<std::size_t>(form_.Content(TokensAt(o, step)));
  return form_.Put(r, train_.ids.subspan(static_cast<std::size_t>(place), room), masks, rows);
}

std::vector<std::string> MaskedLmTask::RowsOf(idx_t micro) const {
  std::vector<std::string> rows;
  for (idx_t r = 0; r < options().batch; ++r) {
    const idx_t place = Place(step_, micro * options().batch + r);
    rows.push_back(train_.packed ? train_.packed->WhereIs(place)
                                 : fmt::format("tokens {} to {} of the training text", place,
                                               place + form_.Content(TokensAt(options(), step_))));
  }
  return rows;
}

StepSize MaskedLmTask::Draw(idx_t step) {
  const TrainOptions& o = options();
  step_ = step;
  micros_.resize(static_cast<std::size_t>(o.accumulate));
  StepSize size;
  idx_t row = 0;  // of the update
  for (Batch& rows : micros_) {
    rows.Reset(o.batch, TokensAt(o, step), info().pad_token);
    rows.labels.assign(rows.ids.size(), kIgnoreLabel);
    for (idx_t r = 0; r < o.batch; ++r, ++row) size.counted += PutRow(step, row, r, &rows);
    size.tokens += std::count(rows.roles.begin(), rows.roles.end(), kLocalToken);
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

TaskEvaluation MaskedLmTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const HeadLoss loss = MaskedLoss(context, model(), form_, global(), held_out_, options().tokens,
                                   MaskKey(options().seed, kEvaluationStep), hooks);
  return {loss.mean,
          {{"accuracy", static_cast<double>(loss.correct) / static_cast<double>(loss.counted)},
           {"perplexity", std::exp(loss.mean)}}};
}

}  // namespace longspan
