#include "model/batch.h"

#include <algorithm>
#include <limits>

#include "base/errors.h"

namespace longspan {

TokenRoles DocumentRoles(const TokenRoles& roles, idx_t begin, idx_t length) {
  if (roles.empty()) return roles;
  const idx_t tokens = roles.extent[1];
  return {&roles(begin / tokens, begin % tokens), {1, length}, roles.stride};
}

std::vector<idx_t> TextLengths(const BatchView& batch) {
  if (!batch.documents.empty()) return {batch.documents.begin(), batch.documents.end()};
  return std::vector<idx_t>(static_cast<std::size_t>(batch.rows), batch.tokens);
}

std::vector<idx_t> TextBorders(const BatchView& batch) {
  std::vector<idx_t> borders = {0};
  ForEachText(batch, [&](idx_t, idx_t begin, idx_t length) { borders.push_back(begin + length); });
  return borders;
}

void CheckBatchShape(const BatchView& batch) {
  constexpr idx_t kMostTokens = std::numeric_limits<std::int32_t>::max();
  Check(batch.rows >= 1 && batch.tokens >= 1, ErrorCode::kUsage,
        "batch: {} rows of {} tokens, need at least 1 of 1", batch.rows, batch.tokens);
  Check(batch.tokens <= kMostTokens / batch.rows, ErrorCode::kLimit,
        "batch: {} rows of {} tokens are more than {}", batch.rows, batch.tokens, kMostTokens);
  Check(static_cast<idx_t>(batch.ids.size()) == batch.rows * batch.tokens, ErrorCode::kUsage,
        "batch: {} ids for {} rows of {} tokens", batch.ids.size(), batch.rows, batch.tokens);
  Check(batch.roles.empty() ||
            (batch.roles.extent[0] == batch.rows && batch.roles.extent[1] == batch.tokens),
        ErrorCode::kUsage, "batch: roles are {}, need ({}, {})", ShapeText(batch.roles), batch.rows,
        batch.tokens);
  if (!batch.documents.empty()) CheckDocuments(batch.documents, batch.rows, batch.tokens);
}

GlobalTokenRows GlobalTokenRows::Of(const TokenRoles& roles, idx_t batch, idx_t tokens,
                                    std::span<const idx_t> documents) {
  GlobalTokenRows globals;
  if (!documents.empty()) globals.tokens.first.push_back(0);
  ForEachDocument(documents, [&](idx_t, idx_t begin, idx_t length) {
    const GlobalTokens own = FindGlobalTokens(DocumentRoles(roles, begin, length), 1);
    GlobalTokens& all = globals.tokens;
    for (const idx_t t : own.positions) {
      all.positions.push_back(t);
      globals.rows.push_back(static_cast<std::int32_t>(begin + t));
    }
    all.first.push_back(static_cast<idx_t>(all.positions.size()));
    globals.most = all.most = std::max(all.most, own.most);
  });
  if (!documents.empty()) return globals;
  globals.tokens = FindGlobalTokens(roles, batch);
  globals.most = globals.tokens.most;
  for (idx_t b = 0; globals.most > 0 && b < batch; ++b) {
    for (idx_t i = 0; i < globals.tokens.Count(b); ++i) {
      globals.rows.push_back(static_cast<std::int32_t>(b * tokens + globals.tokens.List(b)[i]));
    }
    globals.rows.resize(static_cast<std::size_t>((b + 1) * globals.most),
                        static_cast<std::int32_t>(b * tokens));
  }
  return globals;
}

FoundGlobals::FoundGlobals(const BatchView& batch) : globals_(batch.globals) {
  if (globals_ != nullptr) return;
  found_ = GlobalTokenRows::Of(batch.roles, batch.rows, batch.tokens, batch.documents);
  globals_ = &found_;
}

Batch Batch::Of(std::span<const std::vector<std::int32_t>> row_ids, idx_t pad) {
  std::size_t longest = 0;
  for (const auto& row : row_ids) longest = std::max(longest, row.size());
  Batch batch;
  batch.Reset(static_cast<idx_t>(row_ids.size()), static_cast<idx_t>(longest), pad);
  for (std::size_t i = 0; i < row_ids.size(); ++i) batch.SetRow(static_cast<idx_t>(i), row_ids[i]);
  return batch;
}

void Batch::Reset(idx_t row_count, idx_t width, idx_t pad) {
  rows = row_count;
  tokens = width;
  const auto n = static_cast<std::size_t>(rows * tokens);
  ids.assign(n, static_cast<std::int32_t>(pad));
  types.assign(n, 0);
  roles.assign(n, kHiddenToken);
  labels.clear();
  class_weights.clear();
  label_smoothing = 0.0f;
  values.clear();
  dlogits.clear();
  starts.clear();
  ends.clear();
  documents.clear();
  choices = 1;
  with_types = found_ = false;
}

void Batch::Put(idx_t begin, std::span<const std::int32_t> new_ids,
                std::span<const std::int32_t> new_types) {
  std::copy(new_ids.begin(), new_ids.end(), ids.begin() + begin);
  std::copy(new_types.begin(), new_types.end(), types.begin() + begin);
  std::fill_n(roles.begin() + begin, new_ids.size(), kLocalToken);
  with_types = with_types || !new_types.empty();
}

void Batch::SetRow(idx_t row, std::span<const std::int32_t> row_ids,
                   std::span<const std::int32_t> row_types) {
  Put(row * tokens, row_ids, row_types);
}

void Batch::AddDocument(idx_t begin, std::span<const std::int32_t> own_ids,
                        std::span<const std::int32_t> own_types) {
  Put(begin, own_ids, own_types);
  documents.push_back(static_cast<idx_t>(own_ids.size()));
}

void Batch::FindGlobals() {
  globals_ = GlobalTokenRows::Of({roles.data(), {rows, tokens}}, rows, tokens, documents);
  found_ = true;
}

BatchView Batch::view() const {
  BatchView batch;
  batch.rows = rows;
  batch.tokens = tokens;
  batch.ids = ids;
  batch.labels = labels;
  batch.class_weights = class_weights;
  batch.label_smoothing = label_smoothing;
  batch.roles = {roles.data(), {rows, tokens}};
  if (with_types) batch.token_types = types;
  batch.values = values;
  batch.dlogits = dlogits;
  batch.starts = starts;
  batch.ends = ends;
  batch.documents = documents;
  batch.choices = choices;
  if (found_) batch.globals = &globals_;
  return batch;
}

std::vector<std::uint8_t> MergeMasks(std::span<const std::int32_t> attention_mask,
                                     std::span<const std::int32_t> global_attention_mask) {
  std::vector<std::uint8_t> roles(std::max(attention_mask.size(), global_attention_mask.size()));
  for (std::size_t i = 0; i < roles.size(); ++i) {
    const std::int32_t mask = attention_mask.empty() ? 1 : attention_mask[i];
    const std::int32_t global = global_attention_mask.empty() ? 0 : global_attention_mask[i];
    const std::int64_t merged = std::int64_t{mask} * (std::int64_t{global} + 1);
    roles[i] = merged == 0 ? kHiddenToken : (merged == 2 ? kGlobalToken : kLocalToken);
  }
  return roles;
}

}  // namespace longspan
