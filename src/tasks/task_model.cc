#include "tasks/task_model.h"

#include <algorithm>
#include <exception>
#include <numeric>
#include <utility>

#include "base/cancel.h"
#include "base/errors.h"
#include "base/limits.h"
#include "families/model_inside.h"
#include "longspan/files.h"
#include "model/global_policy.h"
#include "parallel/parallel_for.h"
#include "parallel/team.h"
#include "tasks/batches.h"
#include "tasks/scores.h"

namespace longspan {
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

idx_t RowTokensFor(idx_t asked, const text::Tokenizer& tokenizer, idx_t positions) {
  if (asked > 0) return asked;
  const auto told = tokenizer.longest();
  return told ? std::clamp<idx_t>(*told, 1, positions) : positions;
}

// ---- the model ----------------------------------------------------------------------------------

struct TaskModel::Inside {
  Model model;
  TaskOptions options;
  GlobalPolicy policy;
  GlobalOrigin origin = GlobalOrigin::kHead;
  idx_t longest = 0;
};

void CheckStrideFits(const std::filesystem::path& directory, const AskedWindows& asked) {
  if (asked.stride <= 0) return;
  const auto tokenizer = OpenModelTokenizer(directory);
  const idx_t tokens = RowTokensFor(asked.tokens, *tokenizer, ReadModelInfo(directory).longest);
  const idx_t room = tokens - tokenizer->AddedTokens(false);
  Check(asked.stride < room, ErrorCode::kUsage,
        "stride: {} must be below the {} tokens of text in a row", asked.stride, room);
}

void TaskModel::CheckOptions(const TaskOptions& o) {
  Check(o.max_length >= 0, ErrorCode::kUsage, "tokens: {} is below 0", o.max_length);
  Check(o.stride.value_or(0) >= 0, ErrorCode::kUsage, "stride: {} is below 0",
        o.stride.value_or(0));
  Check(o.batch_tokens >= 1, ErrorCode::kUsage, "batch-tokens: {} is below 1", o.batch_tokens);
}

TaskModel::TaskModel(Model model, TaskOptions options) {
  CheckOptions(options);
  Inside inside{std::move(model), std::move(options), {}, {}, 0};
  const TaskOptions& o = inside.options;
  const text::Tokenizer& tokenizer = inside.model.tokenizer();
  const TextModelInfo& info = inside.model.inside().info();
  const GlobalPolicy given(o.global, &tokenizer);
  inside.policy = ResolveGlobal(info, given);
  inside.origin = OriginOfGlobal(info, given);
  inside.longest = inside.model.info().longest;
  Check(o.max_length <= inside.longest, ErrorCode::kUsage,
        "tokens: {} is not from 1 to {}, the model's positions", o.max_length, inside.longest);
  // Who asks for a length knows better than the files.
  inside.longest = RowTokensFor(o.max_length, tokenizer, inside.longest);
  inside_ = std::make_shared<const Inside>(std::move(inside));
}

namespace {

// What can be said before a load that may take long.
void CheckBeforeLoad(const std::filesystem::path& directory, const TaskOptions& options) {
  TaskModel::CheckOptions(options);
  if (options.overflow.value_or(text::Overflow::kWindow) == text::Overflow::kWindow) {
    CheckStrideFits(directory,
                    {.tokens = options.max_length, .stride = options.stride.value_or(0)});
  }
}

}  // namespace

TaskModel TaskModel::Load(const std::filesystem::path& directory, const TaskOptions& options,
                          const ModelOptions& model) {
  CheckBeforeLoad(directory, options);
  return TaskModel(LoadWithTokenizer(directory, model), options);
}

TaskModel TaskModel::Load(Context& context, const std::filesystem::path& directory,
                          const TaskOptions& options, const ModelOptions& model) {
  return WithinContext(context, [&] {
    CheckBeforeLoad(directory, options);
    CheckWeightsFit(context, directory);
    return TaskModel(LoadWithTokenizer(directory, model), options);
  });
}

const Model& TaskModel::model() const { return inside_->model; }
const TaskOptions& TaskModel::options() const { return inside_->options; }
idx_t TaskModel::longest() const { return inside_->longest; }
std::string TaskModel::global_name() const { return inside_->policy.Name(); }
GlobalOrigin TaskModel::global_origin() const { return inside_->origin; }

namespace {

idx_t StrideFor(const text::Tokenizer& tokenizer, const TaskText& text, const RowRule& rule) {
  if (rule.stride || rule.wanted == 0) return rule.stride.value_or(0);
  const idx_t stride = std::min(rule.wanted, rule.longest / 2);
  if (!text.pair) return stride;
  // The first text stands in each window, and leaves the second one that much less.
  text::EncodeOptions plain;
  plain.special_tokens = false;
  const idx_t first = tokenizer.Encode(text.text, plain).front().size();
  const idx_t room = rule.longest - first - tokenizer.AddedTokens(true);
  return stride < room ? stride : std::max<idx_t>(0, room / 2);
}

}  // namespace

std::vector<text::Encoding> EncodeRows(const text::Tokenizer& tokenizer, const TaskText& text,
                                       const RowRule& rule, const std::string& name) {
  text::EncodeOptions encode;
  encode.max_length = rule.longest;
  encode.overflow = rule.overflow;
  encode.stride = StrideFor(tokenizer, text, rule);
  try {
    return text.pair ? tokenizer.EncodePair(text.text, *text.pair, encode)
                     : tokenizer.Encode(text.text, encode);
  } catch (const Cancelled&) {
    throw;
  } catch (const Error& error) {
    throw Error(error.code(), name + ": " + error.what());
  }
}

namespace {

// Rows [group] as a batch with its global tokens. Returns where each begins.
std::vector<idx_t> Fill(const TaskModel::Inside& inside, std::span<const text::Encoding> rows,
                        std::span<const idx_t> group, Batch* batch) {
  const TextModelInfo& info = inside.model.inside().info();
  std::vector<RowIds> ids;
  for (const idx_t r : group) {
    const text::Encoding& row = rows[static_cast<std::size_t>(r)];
    ids.push_back({row.ids, row.type_ids});
  }
  std::vector<idx_t> begins = PlaceRows(info, ids, batch);
  for (const std::int32_t id : batch->ids) {
    Check(id >= 0 && id < info.vocab_size, ErrorCode::kFormat,
          "tokenizer: token '{}' has the id {}, but the model knows ids below {}; the tokenizer is "
          "another model's",
          io::Escape(inside.model.tokenizer().TokenOf(id)), id, info.vocab_size);
  }
  for (std::int32_t& type : batch->types) {  // models with one type (RoBERTa's) have no second one
    type = std::min(type, static_cast<std::int32_t>(info.token_types) - 1);
  }
  if (!batch->documents.empty()) {
    inside.policy.CheckPositions(
        info, *std::max_element(batch->documents.begin(), batch->documents.end()));
  }
  inside.policy.Mark(info, batch);
  return begins;
}

// Of an encoded row: two ids, two places, two marks.
constexpr std::size_t kBytesOfAToken = 2 * sizeof(std::int32_t) + 2 * sizeof(text::Span) + 2;

// Texts [begin, end) of `texts` that are encoded before what they take is counted: a chunk.
std::size_t EndOfChunk(std::span<const TaskText> texts, std::size_t begin) {
  std::size_t end = begin, bytes = 0;
  for (; end < texts.size() && end - begin < limits::kChunkTexts; ++end) {
    bytes += texts[end].text.size() + (texts[end].pair ? texts[end].pair->size() : 0);
    if (bytes > limits::kChunkBytes && end > begin) break;
  }
  return end;
}

// call(i) for all of [begin, end), side by side where there is a context that computes. The error
// of the first one that has failed is thrown when the others have ended, whatever the threads.
template <class Call>
void ForTexts(const Context* context, std::size_t begin, std::size_t end, const Call& call) {
  std::vector<std::exception_ptr> failed(end - begin);
  const auto one = [&](std::size_t n) {
    try {
      call(begin + n);
    } catch (...) {
      failed[n] = std::current_exception();
    }
  };
  if (context == nullptr || context->rehearsal()) {
    for (std::size_t n = 0; n < failed.size(); ++n) one(n);
  } else {
    ParallelFor(*context, std::ssize(failed), [&](idx_t n, int) {
      const CancelScope scope(CancelFlagOf(*context));
      one(static_cast<std::size_t>(n));
    });
  }
  for (const std::exception_ptr& error : failed) {
    if (error) std::rethrow_exception(error);
  }
}

// `context` may be null: then nothing ends it, nothing is counted, and this thread does it all.
TaskRows EncodeTexts(const TaskModel& model, const Context* context,
                     std::span<const TaskText> texts, const RowDefaults& defaults,
                     std::span<const std::string> names) {
  const TaskOptions& options = model.options();
  const RowRule rule{model.longest(), options.overflow.value_or(defaults.overflow), options.stride,
                     defaults.stride};
  std::size_t bytes = 0;
  TaskRows result;
  std::vector<std::vector<text::Encoding>> encoded;  // of a chunk's texts
  for (std::size_t begin = 0, end = 0; begin < texts.size(); begin = end) {
    end = EndOfChunk(texts, begin);
    encoded.assign(end - begin, {});
    ForTexts(context, begin, end, [&](std::size_t i) {
      const std::string name =
          i < names.size() ? io::Escape(names[i]) : fmt::format("text {}", i + 1);
      std::vector<text::Encoding>& rows = encoded[i - begin];
      rows = EncodeRows(model.tokenizer(), texts[i], rule, name);
      CancelScope::Check();
      const bool has_empty =
          std::any_of(rows.begin(), rows.end(), [](const auto& row) { return row.size() == 0; });
      Check(!has_empty, ErrorCode::kFormat, "{}: is empty, and this tokenizer adds no token", name);
    });
    for (std::vector<text::Encoding>& rows : encoded) {
      for (text::Encoding& row : rows) {
        bytes += static_cast<std::size_t>(row.size()) * kBytesOfAToken;
        result.rows.push_back(std::move(row));
      }
      if (context != nullptr) context->CheckMemory("encoded texts", bytes);
      result.first.push_back(static_cast<idx_t>(result.rows.size()));
    }
  }
  return result;
}

}  // namespace

TaskRows TaskModel::Encode(std::span<const TaskText> texts, const RowDefaults& defaults,
                           std::span<const std::string> names) const {
  return EncodeTexts(*this, nullptr, texts, defaults, names);
}

TaskRows TaskModel::Encode(Context& context, std::span<const TaskText> texts,
                           const RowDefaults& defaults, std::span<const std::string> names) const {
  return EncodeTexts(*this, &context, texts, defaults, names);
}

idx_t TaskModel::CountGlobals(std::span<const text::Encoding> rows) const {
  idx_t count = 0;
  Batch batch;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const idx_t row[] = {static_cast<idx_t>(i)};
    Fill(inside(), rows, row, &batch);
    count += std::count(batch.roles.begin(), batch.roles.end(), kGlobalToken);
  }
  return count;
}

// ---- running ------------------------------------------------------------------------------------

void CheckRows(const TaskRows& rows) {
  const auto& first = rows.first;
  Check(!first.empty() && first.front() == 0 && std::is_sorted(first.begin(), first.end()) &&
            first.back() == static_cast<idx_t>(rows.rows.size()),
        ErrorCode::kUsage,
        "rows: `first` does not count {} rows from 0, text by text; use TaskModel::Encode",
        rows.rows.size());
  for (std::size_t r = 0; r < rows.rows.size(); ++r) {
    const text::Encoding& row = rows.rows[r];
    const std::size_t n = row.ids.size();
    Check(n > 0 && row.type_ids.size() == n && row.chars.size() == n && row.bytes.size() == n &&
              row.special.size() == n && row.sequence.size() == n,
          ErrorCode::kUsage,
          "rows: row {} has {} ids, and not as much of everything else; use "
          "TaskModel::Encode",
          r, n);
  }
}

void RequireHead(const TaskModel& model, HeadKind head) {
  const ModelInfo& info = model.info();
  Check(info.head == head, ErrorCode::kUsage, "model: a {} is for {}, not for {}", info.class_name,
        CommandOf(info.head), CommandOf(head));
}

void CheckNumbers(const TaskModel& model, const Tensor& values, const char* what) {
  if (model.model().options().allow_nonfinite) return;
  CheckFinite({values.data<float>(), static_cast<std::size_t>(values.size())}, what);
}

Tensor LogitsOf(Context& context, const TaskModel& model, const BatchView& batch,
                const View<const float, 2>& hidden) {
  return WithinLimit(context, "logits",
                     [&](Context& c) { return model.model().inside().Logits(c, batch, hidden); });
}

Tensor LogitsOf(Context& context, const TaskModel& model, const TaskBatch& rows) {
  const BatchView& batch = rows.batch;
  Tensor logits = LogitsOf(context, model, batch, rows.hidden);
  const idx_t tokens = batch.rows * batch.tokens;
  if (model.model().options().allow_nonfinite || logits.shape().empty()) return logits;
  if (logits.shape()[0] != tokens || batch.roles.data == nullptr) {
    CheckNumbers(model, logits, "its logits");
    return logits;
  }
  const idx_t each = logits.size() / tokens;
  for (idx_t t = 0; t < tokens; ++t) {
    if (batch.roles.data[t] == kHiddenToken) continue;  // those of padding may be anything
    CheckFinite({logits.data<float>() + t * each, static_cast<std::size_t>(each)}, "its logits");
  }
  return logits;
}

namespace {

// Calls run(batch, the numbers of its rows, where they begin) for the batches of all rows.
template <class Run>
void ForBatches(Context& context, const TaskModel& model, std::span<const text::Encoding> rows,
                const Run& run) {
  std::vector<idx_t> lengths;
  for (const text::Encoding& row : rows) lengths.push_back(row.size());
  const idx_t all = std::accumulate(lengths.begin(), lengths.end(), idx_t{0});
  idx_t done = 0;
  Batch memory;
  const TextModelInfo& info = model.model().inside().info();
  for (const std::vector<idx_t>& group : PlanRows(info, lengths, model.options().batch_tokens)) {
    context.CheckCancelled();
    const std::vector<idx_t> begins = Fill(model.inside(), rows, group, &memory);
    run(memory.view(), group, begins);
    for (const idx_t row : group) done += lengths[static_cast<std::size_t>(row)];
    context.TellProgress(done, all);
  }
}

}  // namespace

void RunRows(Context& context, const TaskModel& model, std::span<const text::Encoding> rows,
             const std::function<void(const TaskBatch&)>& use) {
  const idx_t width = model.info().width;
  ForBatches(
      context, model, rows,
      [&](const BatchView& batch, std::span<const idx_t> group, std::span<const idx_t> begins) {
        const Tensor hidden = model.model().Hidden(context, batch);
        for (std::size_t b = 0; b < group.size(); ++b) {
          if (model.model().options().allow_nonfinite) break;
          const idx_t tokens = rows[static_cast<std::size_t>(group[b])].size();
          CheckFinite({hidden.data<float>() + begins[b] * width,  // padding may hold anything
                       static_cast<std::size_t>(tokens * width)},
                      "its hidden states");
        }
        use({batch, group, hidden.view<2>(), begins});
      });
}

void RunLogits(Context& context, const TaskModel& model, std::span<const text::Encoding> rows,
               const std::function<void(std::span<const idx_t> rows, const Tensor& logits)>& use) {
  ForBatches(context, model, rows,
             [&](const BatchView& batch, std::span<const idx_t> group, std::span<const idx_t>) {
               const Tensor logits = model.model().Logits(context, batch);
               CheckNumbers(model, logits, "its logits");
               use(group, logits);
             });
}

}  // namespace longspan
