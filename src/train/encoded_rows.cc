#include "train/encoded_rows.h"

#include <algorithm>

#include "base/errors.h"
#include "families/model_inside.h"
#include "train/eval_batches.h"

namespace longspan {

std::vector<idx_t> EncodedRows::lengths() const {
  std::vector<idx_t> all;
  for (idx_t row = 0; row < size(); ++row) all.push_back(length(row));
  return all;
}

void EncodedRows::Add(std::span<const std::int32_t> row_ids,
                      std::span<const std::int32_t> row_types, const std::string& place) {
  Check(!row_ids.empty(), ErrorCode::kFormat, "{}: the text has no token", place);
  const bool plain =
      std::all_of(row_types.begin(), row_types.end(), [](std::int32_t type) { return type == 0; });
  if (!plain) {
    for (auto n = static_cast<idx_t>(types_.size()); n < tokens(); ++n) types_.Add(0);
  }
  if (!plain || types_.size() > 0) types_.Add(row_types);
  ids_.Add(row_ids);
  begins_.push_back(tokens() + std::ssize(row_ids));
  where_.push_back(place);
}

RowIds EncodedRows::row(idx_t row) const {
  const auto first = static_cast<std::size_t>(begin(row));
  const auto count = static_cast<std::size_t>(length(row));
  RowIds ids{ids_.all().subspan(first, count), {}};
  if (types_.size() > 0) ids.types = types_.all().subspan(first, count);
  return ids;
}

void EncodedRows::Add(const text::Encoding& row, const TextModelInfo& info,
                      const std::string& place) {
  std::vector<std::int32_t> own = row.type_ids;
  for (std::int32_t& type : own) {
    type = std::min(type, static_cast<std::int32_t>(info.token_types) - 1);
  }
  Add(row.ids, own, place);
}

std::vector<idx_t> BeginsIn(const EncodedRows& rows, std::span<const idx_t> numbers,
                            const TextModelInfo& info) {
  idx_t width = 0;
  for (const idx_t r : numbers) width = std::max(width, rows.length(r));
  std::vector<idx_t> begins;
  idx_t at = 0;
  for (const idx_t r : numbers) {
    begins.push_back(at);
    at += info.side_by_side ? rows.length(r) : width;
  }
  return begins;
}

Batch GatherRows(const EncodedRows& rows, std::span<const idx_t> numbers,
                 const TextModelInfo& info) {
  std::vector<RowIds> texts;
  for (const idx_t r : numbers) texts.push_back(rows.row(r));
  Batch batch;
  PlaceRows(info, texts, &batch);
  return batch;
}

void ForEachLogits(Context& context, TextModel& model, const GlobalPolicy& global,
                   const EncodedRows& rows, const EvalHooks& hooks, const UseLogits& use) {
  const TextModelInfo& info = model.info();
  const std::vector<std::vector<idx_t>> batches =
      PlanRows(info, rows.lengths(), hooks.batch_tokens);
  idx_t done = 0;
  ForEachBatch<float>(
      context, hooks, {std::ssize(batches), rows.size()},
      [&](idx_t number) {
        Batch batch = GatherRows(rows, batches[static_cast<std::size_t>(number)], info);
        global.Mark(info, &batch);
        const Tensor logits = WithinLimit(
            context, "evaluate", [&](Context& c) { return model.LogitsOfTexts(c, batch.view()); });
        return std::vector<float>(logits.data<float>(), logits.data<float>() + logits.size());
      },
      [&](idx_t number, std::span<const float> logits) {
        const std::vector<idx_t>& numbers = batches[static_cast<std::size_t>(number)];
        use(numbers, BeginsIn(rows, numbers, info), logits);
        return done += static_cast<idx_t>(numbers.size());
      });
}

}  // namespace longspan
