#include "model/global_policy.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "longspan/attention.h"
#include "longspan/files.h"
#include "model/documents.h"

namespace longspan {
namespace {

constexpr const char* kForms =
    "auto, head, none, first:N, question, every:N, positions:1,2,... (also ids:), token:ID or "
    "token:TEXT";

using Kind = GlobalRule::Kind;
struct Form {
  Kind kind;
  std::string_view name;
  idx_t least;  // of its number; -1: it has none
};
constexpr Form kNames[] = {
    {Kind::kAuto, "auto", -1},  {Kind::kNone, "none", -1},
    {Kind::kFirst, "first", 1}, {Kind::kQuestion, "question", -1},
    {Kind::kEvery, "every", 1}, {Kind::kPositions, "ids", 0},
    {Kind::kToken, "token", 0}, {Kind::kChoices, "choices", -1},
    {Kind::kHead, "head", -1},  {Kind::kPositions, "positions", 0},  // read; files say "ids"
};

std::vector<idx_t> ParseNumbers(std::string_view list, std::string_view whole, idx_t least) {
  std::vector<idx_t> numbers;
  const char* at = list.data();
  const char* const end = at + list.size();
  do {
    if (!numbers.empty()) ++at;  // the comma
    idx_t number = 0;
    const auto [next, error] = std::from_chars(at, end, number);
    Check(error == std::errc() && (next == end || *next == ',') && number >= least &&
              number <= limits::kReformerTokens && numbers.size() < limits::kGlobalNumbers,
          ErrorCode::kUsage, "global: '{}' needs numbers from {} to {}, parted by commas",
          io::Escape(whole), least, limits::kReformerTokens);
    numbers.push_back(number);
    at = next;
  } while (at != end);
  return numbers;
}

// The first separator of a row.
idx_t QuestionEnd(const TextModelInfo& model, std::span<const std::int32_t> ids, idx_t row) {
  Check(model.sep_token.has_value(), ErrorCode::kUsage,
        "global: the model has no sep_token_id, so it cannot tell where a question ends; choose "
        "the tokens by another policy: {}",
        kForms);
  const auto sep = std::find(ids.begin(), ids.end(), *model.sep_token);
  Check(sep != ids.end(), ErrorCode::kUsage,
        "global: row {} has no separator (id {}), so where its question ends is unknown", row,
        *model.sep_token);
  return sep - ids.begin();
}

}  // namespace

GlobalRule GlobalRule::Parse(std::string_view text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view name = text.substr(0, colon);
  for (const Form& form : kNames) {
    if (form.name != name || form.kind == Kind::kChoices) continue;
    GlobalRule rule;
    rule.kind = form.kind;
    if (form.least < 0 && colon == text.size()) return rule;
    if (form.least < 0 || colon == text.size()) break;
    const std::string_view rest = text.substr(colon + 1);
    if (form.kind == Kind::kToken && rest.find_first_not_of("0123456789") != rest.npos) {
      rule.token = rest;
      return rule;
    }
    rule.numbers = ParseNumbers(rest, text, form.least);
    Check(form.kind == Kind::kPositions || rule.numbers.size() == 1, ErrorCode::kUsage,
          "global: '{}' takes one number", io::Escape(text));
    return rule;
  }
  Fail(ErrorCode::kUsage, "global: '{}' is unknown; use {}", io::Escape(text), kForms);
}

std::string GlobalRule::Name() const {
  for (const Form& form : kNames) {
    if (form.kind != kind) continue;
    if (!token.empty()) return fmt::format("{}:{}", form.name, token);
    return numbers.empty() ? std::string(form.name)
                           : fmt::format("{}:{}", form.name, fmt::join(numbers, ","));
  }
  return "?";
}

std::string_view Phrase(GlobalOrigin origin) {
  constexpr std::string_view kPhrases[] = {"as the options say", "as in its training",
                                           "as its head needs"};
  return kPhrases[static_cast<std::size_t>(origin)];
}

GlobalPolicy::GlobalPolicy(GlobalRule rule, const text::Tokenizer* tokenizer)
    : rule_(std::move(rule)) {
  if (!rule_.token.empty()) {
    const auto id = tokenizer == nullptr ? std::nullopt : tokenizer->IdOf(rule_.token);
    Check(id.has_value(), ErrorCode::kUsage,
          "global: '{}' is no token of this model; give a token as its tokenizer spells it, or an "
          "id",
          io::Escape(rule_.token));
    rule_.numbers = {*id};
    rule_.token.clear();
  }
  // Rules that a program makes have not been through Parse.
  const auto form = std::find_if(std::begin(kNames), std::end(kNames),
                                 [&](const Form& f) { return f.kind == rule_.kind; });
  const bool number = form != std::end(kNames) && form->least >= 0;
  Check(number == !rule_.numbers.empty() &&
            std::all_of(rule_.numbers.begin(), rule_.numbers.end(),
                        [&](idx_t n) { return n >= form->least && n <= limits::kReformerTokens; }),
        ErrorCode::kUsage, "global: the rule '{}' has not the numbers that it needs", rule_.Name());
}

GlobalPolicy GlobalPolicy::OfModel(GlobalRule rule) {
  GlobalPolicy policy(std::move(rule));
  policy.of_model_ = true;
  return policy;
}

GlobalPolicy GlobalPolicy::For(HeadKind head) const {
  if (rule_.kind != Kind::kAuto && rule_.kind != Kind::kHead) return *this;
  GlobalRule rule;
  rule.kind = Kind::kNone;
  if (head == HeadKind::kQuestion) rule.kind = Kind::kQuestion;
  if (head == HeadKind::kChoice) rule.kind = Kind::kChoices;
  // The head reads position 0, which stays hidden where the text is padded on the left.
  if (head == HeadKind::kSequence) rule = GlobalRule::Positions({0});
  return GlobalPolicy(std::move(rule));
}

void GlobalPolicy::Apply(const TextModelInfo& model, std::span<const std::int32_t> ids, idx_t rows,
                         idx_t tokens, std::span<std::uint8_t> roles,
                         std::span<const idx_t> documents) const {
  if (!model.global_tokens) return;
  if (rule_.kind == Kind::kAuto || rule_.kind == Kind::kHead) {
    return For(model.head).Apply(model, ids, rows, tokens, roles, documents);
  }
  CheckPositions(model, tokens);
  const auto apply = [&](idx_t begin, idx_t length) {
    const auto at = static_cast<std::size_t>(begin), count = static_cast<std::size_t>(length);
    ApplyTo(model, ids.subspan(at, count), begin / tokens, roles.subspan(at, count));
  };
  for (idx_t b = 0; documents.empty() && b < rows; ++b) apply(b * tokens, tokens);
  ForEachDocument(documents, [&](idx_t, idx_t begin, idx_t length) {
    const auto first = roles.begin() + begin;
    // Skip a stretch of hidden tokens: it is padding and has no question.
    if (std::count(first, first + length, kHiddenToken) < length) apply(begin, length);
  });
}

void GlobalPolicy::CheckPositions(const TextModelInfo& model, idx_t tokens) const {
  if (of_model_ || !model.global_tokens || rule_.kind != Kind::kPositions) return;
  const idx_t last = *std::max_element(rule_.numbers.begin(), rule_.numbers.end());
  Check(last < tokens, ErrorCode::kUsage,
        "global: position {} is not one of {} tokens; positions: (and ids:) count the tokens of a "
        "row from 0, token:{} is the token with that id",
        last, tokens, last);
}

void GlobalPolicy::Mark(const TextModelInfo& model, Batch* batch) const {
  Apply(model, batch->ids, batch->rows, batch->tokens, batch->roles, batch->documents);
  batch->FindGlobals();
}

void GlobalPolicy::ApplyTo(const TextModelInfo& model, std::span<const std::int32_t> ids, idx_t row,
                           std::span<std::uint8_t> roles) const {
  const auto tokens = static_cast<idx_t>(ids.size());
  std::uint8_t* role = roles.data();
  const auto mark = [&](idx_t t) {
    if (role[t] != kHiddenToken) role[t] = kGlobalToken;
  };
  const auto mark_range = [&](idx_t begin, idx_t end) {
    for (idx_t t = begin; t < end; ++t) mark(t);
  };
  switch (rule_.kind) {
    case Kind::kAuto:
    case Kind::kHead:
    case Kind::kNone:
      break;
    case Kind::kFirst:
      for (idx_t t = 0, left = rule_.numbers[0]; t < tokens && left > 0; ++t) {
        left -= role[t] != kHiddenToken ? 1 : 0;
        mark(t);
      }
      break;
    case Kind::kQuestion:
      mark_range(0, QuestionEnd(model, ids, row));
      break;
    case Kind::kChoices:
      mark_range(QuestionEnd(model, ids, row) + 2, tokens);
      break;
    case Kind::kEvery:
      for (idx_t t = 0; t < tokens; t += rule_.numbers[0]) mark(t);
      break;
    case Kind::kPositions:
      for (const idx_t t : rule_.numbers) {
        if (t < tokens) mark(t);
      }
      break;
    case Kind::kToken:
      for (idx_t t = 0; t < tokens; ++t) {
        if (ids[static_cast<std::size_t>(t)] == rule_.numbers[0]) mark(t);
      }
      break;
  }
}

}  // namespace longspan
