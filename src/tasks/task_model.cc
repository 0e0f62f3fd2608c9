#include "tasks/task_model.h"

#include <algorithm>

#include "base/errors.h"
#include "families/families.h"
#include "io/escape.h"
#include "tasks/batches.h"
#include "tasks/scores.h"

namespace longspan {
namespace {

constexpr std::string_view kTokenForm = "token:";

// token:TEXT as token:ID; everything else as it stands.
std::string WithTokenId(const std::string& global, const text::Tokenizer& tokenizer) {
  const std::string_view view = global;
  if (view.substr(0, kTokenForm.size()) != kTokenForm) return global;
  const std::string_view token = view.substr(kTokenForm.size());
  if (!token.empty() && token.find_first_not_of("0123456789") == std::string_view::npos) {
    return global;
  }
  const auto id = tokenizer.IdOf(token);
  Check(id.has_value(), ErrorCode::kUsage,
        "global: '{}' is no token of this model; give a token as its tokenizer spells it, or an id",
        io::Escape(token));
  return std::string(kTokenForm) + std::to_string(*id);
}

}  // namespace

idx_t TaskRows::tokens(idx_t text) const {
  idx_t sum = 0;
  for (const text::Encoding& row : of(text)) sum += row.size();
  return sum;
}

idx_t TaskRows::dropped(idx_t text) const {
  idx_t sum = 0;
  for (const text::Encoding& row : of(text)) sum += row.dropped[0] + row.dropped[1];
  return sum;
}

std::vector<TokenRange> OwnTokens(std::span<const text::Encoding> windows, int sequence) {
  std::vector<TokenRange> rows, own;
  for (const text::Encoding& e : windows) {  // where the text lies in each row
    const auto begin = std::find(e.sequence.begin(), e.sequence.end(), sequence);
    const auto end = std::find_if(begin, e.sequence.end(), [&](std::int8_t s) {
      return s != static_cast<std::int8_t>(sequence);
    });
    rows.push_back({begin - e.sequence.begin(), end - e.sequence.begin()});
  }
  own = rows;
  const auto text = static_cast<std::size_t>(sequence);
  for (std::size_t w = 1; w < windows.size(); ++w) {
    const idx_t before_end = windows[w - 1].first_token[text] + rows[w - 1].end - rows[w - 1].begin;
    const idx_t shared = before_end - windows[w].first_token[text];
    own[w - 1].end -= shared - shared / 2;
    own[w].begin += shared / 2;
  }
  return own;
}

// ---- the model ----------------------------------------------------------------------------------

TaskModel::TaskModel(std::unique_ptr<TextModel> model, std::unique_ptr<text::Tokenizer> tokenizer,
                     TaskOptions options)
    : model_(std::move(model)), tokenizer_(std::move(tokenizer)), options_(std::move(options)) {
  Check(tokenizer_->vocabulary() <= info().vocab_size, ErrorCode::kFormat,
        "tokenizer: it has {} ids, the model's word table {} (vocab_size)",
        tokenizer_->vocabulary(), info().vocab_size);
  policy_ = ResolveGlobal(info(), GlobalPolicy::Parse(WithTokenId(options_.global, *tokenizer_)));
  model_->ComputeIn(options_.compute);
  longest_ = info().longest;
  Check(options_.max_length >= 0 && options_.max_length <= longest_, ErrorCode::kUsage,
        "tokens: {} is not from 1 to {}, the model's positions", options_.max_length, longest_);
  Check(options_.stride.value_or(0) >= 0, ErrorCode::kUsage, "stride: {} is below 0",
        options_.stride.value_or(0));
  Check(options_.batch_tokens >= 1, ErrorCode::kUsage, "batch-tokens: {} is below 1",
        options_.batch_tokens);
  if (options_.max_length > 0) longest_ = options_.max_length;
  if (const auto told = tokenizer_->longest()) LimitLength(*told);
}

TaskModel TaskModel::Open(const std::filesystem::path& directory, std::optional<HeadKind> head,
                          const TaskOptions& options, std::vector<std::string>* warnings) {
  const TextModelInfo found = ReadTextModelInfo(directory);
  if (head) CheckHead(directory, found, *head);
  auto tokenizer = OpenModelTokenizer(directory);
  LoadOptions load;
  load.allow_nonfinite = options.allow_nonfinite;
  load.family = options.family;
  return {LoadTextModel(directory, load, warnings), std::move(tokenizer), options};
}

void TaskModel::LimitLength(idx_t tokens) {
  // Who asks for a length knows better than the files.
  if (options_.max_length == 0) longest_ = std::clamp<idx_t>(tokens, 1, longest_);
}

idx_t TaskModel::StrideFor(const TaskText& text) const {
  if (options_.stride || default_stride_ == 0) return options_.stride.value_or(0);
  const idx_t stride = std::min(default_stride_, longest_ / 2);
  if (!text.pair) return stride;
  // The first text stands in each window, and leaves the second one that much less.
  text::EncodeOptions plain;
  plain.special_tokens = false;
  const idx_t first = tokenizer_->Encode(text.text, plain).front().size();
  const idx_t room = longest_ - first - tokenizer_->AddedTokens(true);
  return stride < room ? stride : std::max<idx_t>(0, room / 2);
}

TaskRows TaskModel::Encode(std::span<const TaskText> texts, text::Overflow fallback,
                           std::span<const std::string> names) const {
  text::EncodeOptions encode;
  encode.max_length = longest_;
  encode.overflow = options_.overflow.value_or(fallback);
  TaskRows result;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string name =
        i < names.size() ? io::Escape(names[i]) : fmt::format("text {}", i + 1);
    std::vector<text::Encoding> rows;
    encode.stride = StrideFor(texts[i]);
    try {
      rows = texts[i].pair ? tokenizer_->EncodePair(texts[i].text, *texts[i].pair, encode)
                           : tokenizer_->Encode(texts[i].text, encode);
    } catch (const Error& error) {
      throw Error(error.code(), name + ": " + error.what());
    }
    for (text::Encoding& row : rows) {
      Check(row.size() > 0, ErrorCode::kFormat, "{}: is empty, and this tokenizer adds no token",
            name);
      result.rows.push_back(std::move(row));
    }
    result.first.push_back(static_cast<idx_t>(result.rows.size()));
  }
  return result;
}

// ---- running ------------------------------------------------------------------------------------

// Rows as one rectangle: hidden padding after the shorter ones.
void TaskModel::Fill(std::span<const text::Encoding> rows, std::span<const idx_t> group,
                     Batch* batch) {
  const auto row = [&](idx_t b) -> const text::Encoding& {
    return rows[static_cast<std::size_t>(group[static_cast<std::size_t>(b)])];
  };
  const auto count = static_cast<idx_t>(group.size());
  idx_t tokens = 0;
  for (idx_t b = 0; b < count; ++b) tokens = std::max(tokens, row(b).size());
  batch->Reset(count, tokens, info().pad_token);
  for (idx_t b = 0; b < count; ++b) {
    batch->SetRow(b, row(b).ids, row(b).type_ids);
    tokens_run_ += row(b).size();
  }
  for (const std::int32_t id : batch->ids) {
    Check(id >= 0 && id < info().vocab_size, ErrorCode::kFormat,
          "tokenizer: token '{}' has the id {}, but the model knows ids below {}; the tokenizer is "
          "another model's",
          io::Escape(tokenizer_->TokenOf(id)), id, info().vocab_size);
  }
  for (std::int32_t& type : batch->types) {  // models with one type (RoBERTa's) have no second one
    type = std::min(type, static_cast<std::int32_t>(info().token_types) - 1);
  }
  policy_.Mark(info(), batch);
  globals_run_ += std::count(batch->roles.begin(), batch->roles.end(), kGlobalToken);
}

void TaskModel::CheckNumbers(const Tensor& values, const char* what) const {
  if (options_.allow_nonfinite) return;
  CheckFinite({values.data<float>(), static_cast<std::size_t>(values.size())}, what);
}

// Those of padding may be anything.
void TaskModel::CheckLogits(const BatchView& batch, const Tensor& logits) const {
  const idx_t tokens = batch.rows * batch.tokens;
  if (options_.allow_nonfinite || logits.shape().empty()) return;
  if (logits.shape()[0] != tokens || batch.roles.data == nullptr) {
    return CheckNumbers(logits, "its logits");
  }
  const idx_t each = logits.size() / tokens;
  for (idx_t t = 0; t < tokens; ++t) {
    if (batch.roles.data[t] == kHiddenToken) continue;
    CheckFinite({logits.data<float>() + t * each, static_cast<std::size_t>(each)}, "its logits");
  }
}

void TaskModel::Run(Context& context, std::span<const text::Encoding> rows,
                    const std::function<void(const TaskBatch&)>& use) {
  std::vector<idx_t> lengths;
  for (const text::Encoding& row : rows) lengths.push_back(row.size());
  Batch memory;
  for (const std::vector<idx_t>& group : PlanBatches(lengths, options_.batch_tokens)) {
    Fill(rows, group, &memory);
    const BatchView batch = memory.view();
    Tensor hidden({batch.rows * batch.tokens, info().width});
    model_->Encode(context, batch, hidden.view<2>());
    // Padding may hold anything.
    for (std::size_t b = 0; !options_.allow_nonfinite && b < group.size(); ++b) {
      const idx_t first = static_cast<idx_t>(b) * batch.tokens;
      const idx_t tokens = rows[static_cast<std::size_t>(group[b])].size();
      CheckFinite({hidden.data<float>() + first * info().width,
                   static_cast<std::size_t>(tokens * info().width)},
                  "its hidden states");
    }
    use({batch, group, std::as_const(hidden).view<2>()});
    if (on_progress) on_progress(tokens_run_);
  }
}

}  // namespace longspan
