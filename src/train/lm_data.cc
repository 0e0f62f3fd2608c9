#include "train/lm_data.h"

#include <algorithm>
#include <numbers>
#include <numeric>

#include "base/errors.h"
#include "base/math.h"
#include "base/rng.h"
#include "families/model_inside.h"
#include "train/eval_batches.h"
#include "train/evaluate.h"
#include "train/length_batches.h"
#include "train/packed_rows.h"
#include "train/row_lengths.h"
#include "train/text_data.h"
#include "train/token_stream.h"

namespace longspan {
namespace {

// ---- bytes --------------------------------------------------------------------------------------

class ByteRows final : public LmData {
 public:
  explicit ByteRows(const TrainOptions& options)
      : options_(options),
        data_(options.data.train, options.data.eval, options.data.held_out, options.tokens,
              CorpusRulesFor(options.data.read, true, options.output)) {}

  std::string Fingerprint() const override { return data_.Fingerprint(); }
  StepSize Draw(idx_t step) override {
    data_.CheckUnchanged();
    step_ = step;
    const idx_t tokens = options_.batch * Tokens() * options_.accumulate;
    return {tokens, tokens};
  }
  BatchView Micro(idx_t micro) override {
    data_.Sample(KeyOf(options_.seed, RunKey::kData), step_, micro * options_.batch, options_.batch,
                 Tokens(), &rows_);
    return {options_.batch, Tokens(), rows_.ids, rows_.targets, {}};
  }
  std::string WhereIs(idx_t row) const override {
    return data_.WhereIs(data_.RowBegin(KeyOf(options_.seed, RunKey::kData), step_, row, Tokens()),
                         Tokens());
  }
  EvalResult Evaluate(Context& context, const Reformer& model, const EvalHooks& hooks) override {
    data_.CheckUnchanged();
    return EvaluateText(context, model, data_.held_out_bytes(), options_.tokens, 0, hooks);
  }
  double TokensPerByte() const override { return 1.0; }
  std::vector<std::string> Notes() const override { return data_.notes(); }

 private:
  // Of a row of the update.
  idx_t Tokens() const { return TokensAt(options_, step_); }

  const TrainOptions options_;
  TextData data_;
  idx_t step_ = 0;
  TextRows rows_;
};

// ---- tokens -------------------------------------------------------------------------------------

// The training texts and the held-out one as tokens. The texts are parted before they are
// tokenized: any tokenizer holds out the same text, up to the rest of a character. Each text is
// there only while it is tokenized.
struct LmStreams {
  // `starts`: where documents begin is kept.
  LmStreams(Context& context, const TrainOptions& options, Documents documents,
            const text::Tokenizer& tokenizer, bool starts)
      : train(options.output, starts), held_out(options.output, starts) {
    std::optional<std::int32_t> end;
    if (documents != Documents::kJoined) {
      end = tokenizer.special().eos;
      Check(end.has_value(), ErrorCode::kFormat,
            "train: documents end with the tokenizer's end of text, and it has none (eos_token)");
    }
    data::CorpusRules rules =
        CorpusRulesFor(options.data.read, tokenizer.kind() == "bytes", options.output);
    rules.copy_below = data::ScratchFile::kInMemory;  // it is read once and then let go
    const TextParts parts =
        ReadTextParts(options.data.train, options.data.eval, options.data.held_out, 0, rules, true,
                      [&](const data::CorpusFile& file, bool held) {
                        file.CheckUnchanged();
                        (held ? held_out : train).Append(context, tokenizer, file, documents, end);
                      });
    notes = parts.notes;
    fingerprint = fmt::format("{} ids {} {}", parts.fingerprint, train.ids().Checksum(),
                              held_out.ids().Checksum());
    Check(
        held_out.ids().size() >= 2, ErrorCode::kUsage,
        "train: the held-out part has {} tokens, need at least 2; raise --held-out or give --eval",
        held_out.ids().size());
  }
  static double TokensPerByte(const TokenStream& stream) {
    return static_cast<double>(stream.ids().size()) /
           static_cast<double>(std::max<idx_t>(1, stream.bytes()));
  }

  TokenStream train, held_out;
  std::string fingerprint;
  std::vector<std::string> notes;
};

EvalResult WithBitsPerByte(EvalResult result, const TokenStream& stream) {
  result.bits_per_byte = result.loss * LmStreams::TokensPerByte(stream) / std::numbers::ln2;
  return result;
}

// Rows that begin anywhere.
class StreamRows final : public LmData {
 public:
  StreamRows(Context& context, const TrainOptions& options, Documents documents,
             const text::Tokenizer& tokenizer)
      : options_(options), streams_(context, options, documents, tokenizer, false) {
    const auto size = static_cast<idx_t>(streams_.train.ids().size());
    Check(size > options.tokens, ErrorCode::kUsage,
          "train: the text has {} tokens to train on, rows of {} tokens need {}", size,
          options.tokens, options.tokens + 1);
  }

  std::string Fingerprint() const override { return streams_.fingerprint; }
  std::string Describe() const override {
    return fmt::format("text: {} tokens in {} bytes", streams_.train.ids().size(),
                       streams_.train.bytes());
  }
  StepSize Draw(idx_t step) override {
    step_ = step;
    const idx_t tokens = options_.batch * Tokens() * options_.accumulate;
    return {tokens, tokens};
  }
  BatchView Micro(idx_t micro) override {
    const TokenIds ids = streams_.train.ids();
    const auto tokens = static_cast<std::size_t>(Tokens());
    rows_.ids.clear();
    rows_.targets.clear();
    for (idx_t row = 0; row < options_.batch; ++row) {
      const auto begin = static_cast<std::size_t>(Begin(micro * options_.batch + row));
      ids.subspan(begin, tokens).AppendTo(&rows_.ids);
      ids.subspan(begin + 1, tokens).AppendTo(&rows_.targets);
    }
    return {options_.batch, Tokens(), rows_.ids, rows_.targets, {}};
  }
  std::string WhereIs(idx_t row) const override {
    const idx_t begin = Begin(row);
    return fmt::format("tokens {} to {} of the training text", begin, begin + Tokens());
  }
  EvalResult Evaluate(Context& context, const Reformer& model, const EvalHooks& hooks) override {
    return WithBitsPerByte(
        EvaluateTokens(context, model, streams_.held_out.ids(), options_.tokens, 0, hooks),
        streams_.held_out);
  }
  double TokensPerByte() const override { return LmStreams::TokensPerByte(streams_.train); }
  std::vector<std::string> Notes() const override { return streams_.notes; }

 private:
  // The first token of row `row` of the update.
  idx_t Begin(idx_t row) const {
    Rng rng(DeriveKey(KeyOf(options_.seed, RunKey::kData), static_cast<std::uint64_t>(step_)),
            static_cast<std::uint64_t>(row));
    return rng.Below(static_cast<idx_t>(streams_.train.ids().size()) - Tokens());
  }
  idx_t Tokens() const { return TokensAt(options_, step_); }

  const TrainOptions options_;
  LmStreams streams_;
  idx_t step_ = 0;
  TextRows rows_;
};

// Whole documents side by side. Each epoch sees every row once, in an order of its own.
class DocumentRows final : public LmData {
 public:
  DocumentRows(Context& context, const TrainOptions& options, Documents documents,
               const text::Tokenizer& tokenizer)
      : options_(options),
        streams_(context, options, documents, tokenizer, true),
        train_(streams_.train.ids(), streams_.train.starts(), options.tokens, Pad(tokenizer),
               options.output),
        held_out_(streams_.held_out.ids(), streams_.held_out.starts(), options.tokens,
                  Pad(tokenizer), options.output),
        order_(train_.rows(), KeyOf(options.seed, RunKey::kData)) {
    const auto predicted = [](const PackedRows& rows) {
      idx_t count = 0;
      for (idx_t row = 0; row < rows.rows(); ++row) count += rows.Predicted(row);
      return count;
    };
    Check(predicted(train_) > 0 && predicted(held_out_) > 0, ErrorCode::kUsage,
          "train: no document of the {} part has two tokens",
          predicted(train_) > 0 ? "held-out" : "training");
  }

  std::string Fingerprint() const override { return streams_.fingerprint; }
  std::string Describe() const override {
    return fmt::format("packed: {} documents, {} tokens, {}", streams_.train.documents(),
                       streams_.train.ids().size(), train_.pieces().Describe());
  }
  StepSize Draw(idx_t step) override {
    const idx_t count = options_.batch * options_.accumulate;
    StepSize size;
    which_.clear();
    for (idx_t i = 0; i < count; ++i) {
      which_.push_back(order_.At((step - 1) * count + i));
      size.counted += train_.Predicted(which_.back());
      size.tokens += train_.Filled(which_.back());
    }
    size.counted = std::max<idx_t>(size.counted, 1);
    return size;
  }
  BatchView Micro(idx_t micro) override {
    return train_.Fill(std::span(which_).subspan(static_cast<std::size_t>(micro * options_.batch),
                                                 static_cast<std::size_t>(options_.batch)),
                       &batch_);
  }
  std::string WhereIs(idx_t row) const override {
    return train_.pieces().WhereIs(which_[static_cast<std::size_t>(row)]);
  }
  EvalResult Evaluate(Context& context, const Reformer& model, const EvalHooks& hooks) override {
    HeadLoss total;
    const idx_t rows = held_out_.rows();
    const idx_t at_once = std::max<idx_t>(1, hooks.batch_tokens / held_out_.tokens());
    ForEachBatch<HeadLoss>(
        context, hooks, {CeilDiv(rows, at_once), rows},
        [&](idx_t number) {
          const idx_t first = number * at_once;
          std::vector<idx_t> which(static_cast<std::size_t>(std::min(at_once, rows - first)));
          std::iota(which.begin(), which.end(), first);
          Batch batch;
          const ReformerBatch filled{held_out_.Fill(which, &batch)};
          return std::vector{
              WithinLimit(context, "evaluate", [&](Context& c) { return model.Loss(c, filled); })};
        },
        [&](idx_t number, std::span<const HeadLoss> found) {
          total.Add(found.front());
          return std::min((number + 1) * at_once, rows);
        });
    return WithBitsPerByte(ResultOf(total), streams_.held_out);
  }
  double TokensPerByte() const override { return LmStreams::TokensPerByte(streams_.train); }
  std::vector<std::string> Notes() const override { return streams_.notes; }

 private:
  static std::int32_t Pad(const text::Tokenizer& tokenizer) {
    return tokenizer.special().pad.value_or(0);
  }

  const TrainOptions options_;
  LmStreams streams_;
  PackedRows train_, held_out_;
  EpochOrder order_;
  std::vector<idx_t> which_;  // of the update drawn last
  Batch batch_;
};

}  // namespace

std::unique_ptr<LmData> MakeLmData(Context& context, const TrainOptions& options,
                                   const LanguageModelOptions& task,
                                   const text::Tokenizer& tokenizer) {
  const Documents documents = task.documents;
  Check(!task.packed || documents != Documents::kJoined, ErrorCode::kUsage,
        "packed: say where a document ends: --documents file, blank-line or line");
  if (task.packed) return std::make_unique<DocumentRows>(context, options, documents, tokenizer);
  if (documents == Documents::kJoined && tokenizer.kind() == "bytes") {
    return std::make_unique<ByteRows>(options);
  }
  return std::make_unique<StreamRows>(context, options, documents, tokenizer);
}

}  // namespace longspan
