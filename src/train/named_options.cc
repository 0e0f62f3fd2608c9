#include "longspan/named_options.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/errors.h"
#include "base/parse_number.h"
#include "longspan/files.h"

namespace longspan {
namespace {

// "learning-rate" as "learning_rate".
std::string PlainName(std::string_view name) {
  std::string plain(name);
  std::replace(plain.begin(), plain.end(), '-', '_');
  return plain;
}

// Letters to insert, delete or replace until one word is the other.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t before = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = before + (a[i] == b[j] ? 0 : 1);
      before = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, before + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

// ---- texts --------------------------------------------------------------------------------------

void TextOptions::Set(std::string_view name, std::string value) {
  std::vector<std::string>& values = values_[PlainName(name)];
  values.clear();
  values.push_back(std::move(value));
}

void TextOptions::Add(std::string_view name, std::string value) {
  values_[PlainName(name)].push_back(std::move(value));
}

TextOptions TextOptions::For(std::string what) const {
  TextOptions other(std::move(what));
  other.values_ = values_;
  return other;
}

void TextOptions::CheckAllRead() const {
  for (const auto& [name, values] : values_) {
    if (asked_.contains(name)) continue;
    const auto nearest =
        std::min_element(asked_.begin(), asked_.end(), [&](const auto& a, const auto& b) {
          return EditDistance(a, name) < EditDistance(b, name);
        });
    longspan::Fail(ErrorCode::kUsage, "{}: '{}' is no option here{}", what_, io::Escape(name),
                   nearest == asked_.end() ? std::string() : "; is '" + *nearest + "' meant?");
  }
}

bool TextOptions::Has(const char* name) const {
  asked_.insert(name);
  return values_.contains(name);
}

const std::vector<std::string>* TextOptions::All(const char* name) {
  asked_.insert(name);
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

const std::string* TextOptions::One(const char* name) {
  const std::vector<std::string>* const values = All(name);
  if (values == nullptr) return nullptr;
  Check(values->size() == 1, ErrorCode::kUsage, "{}: {} has {} values, need one", what_, name,
        values->size());
  return &values->front();
}

void TextOptions::Fail(const char* name, const std::string& value, const char* need) const {
  longspan::Fail(ErrorCode::kUsage, "{}: {} is '{}', need {}", what_, name, io::Escape(value),
                 need);
}

template <class Number>
void TextOptions::ReadNumber(const char* name, Number& field, const char* need) {
  const std::string* const text = One(name);
  if (text == nullptr) return;
  const auto number = ParseNumber<Number>(*text);
  if (!number) Fail(name, *text, need);
  field = *number;
}

void TextOptions::Read(const char* name, bool& field) {
  const std::string* const text = One(name);
  if (text == nullptr) return;
  if (*text != "true" && *text != "false") Fail(name, *text, "'true' or 'false'");
  field = *text == "true";
}
void TextOptions::Read(const char* name, int& field) {
  ReadNumber(name, field, "an integer of 32 bits");
}
void TextOptions::Read(const char* name, idx_t& field) { ReadNumber(name, field, "an integer"); }
void TextOptions::Read(const char* name, std::uint64_t& field) {
  ReadNumber(name, field, "an integer that is not negative");
}
void TextOptions::Read(const char* name, double& field) { ReadNumber(name, field, "a number"); }
void TextOptions::Read(const char* name, std::string& field) {
  if (const std::string* const text = One(name)) field = *text;
}
void TextOptions::Read(const char* name, char& field) {
  const std::string* const text = One(name);
  if (text == nullptr) return;
  if (text->size() != 1) Fail(name, *text, "one ASCII character");
  field = text->front();
}
void TextOptions::Read(const char* name, std::filesystem::path& field) {
  if (const std::string* const text = One(name)) field = *text;
}
void TextOptions::Read(const char* name, std::vector<idx_t>& field) {
  const std::vector<std::string>* const texts = All(name);
  if (texts == nullptr) return;
  field.clear();
  for (const std::string& text : *texts) {
    const auto number = ParseNumber<idx_t>(text);
    if (!number) Fail(name, text, "integers");
    field.push_back(*number);
  }
}
void TextOptions::Read(const char* name, std::vector<std::string>& field) {
  if (const std::vector<std::string>* const texts = All(name)) field = *texts;
}
void TextOptions::Read(const char* name, std::vector<std::filesystem::path>& field) {
  if (const std::vector<std::string>* const texts = All(name)) {
    field.assign(texts->begin(), texts->end());
  }
}

// ---- what several calls read --------------------------------------------------------------------

DType ParseDType(const std::string& name) {
  if (name == "float32" || name == "f32") return DType::kF32;
  if (name == "bfloat16" || name == "bf16") return DType::kBF16;
  Fail(ErrorCode::kUsage, "dtype is '{}', need 'float32' or 'bfloat16'", io::Escape(name));
}

text::Overflow ParseRowOverflow(const std::string& name) {
  return text::ParseOverflow(name, text::kRowOverflows);
}

void ReadReformerOptions(NamedOptions& options, ReformerOptions& reformer) {
  options.ReadName("attention", reformer.attention,
                   [](const std::string& name) { return ParseAttention(name); });
  options.Read("num_hashes", reformer.num_hashes);
  options.Read("lm_bias", reformer.lm_bias);
  options.Read("strict", reformer.strict);
}

void ReadInit(NamedOptions& options, InitOptions& init) {
  options.Read("family", init.family);
  options.Read("preset", init.preset);
  options.Read("config", init.config);
  options.Read("layers", init.sizes.layers);
  options.Read("width", init.sizes.width);
  options.Read("heads", init.sizes.heads);
  options.Read("positions", init.sizes.positions);
  options.ReadName("head", init.head, [](const std::string& name) { return ParseHead(name); });
  options.Read("labels", init.labels);
  options.Read("tokenizer", init.tokenizer);
  options.Read("seed", init.seed);
  options.Read("rotation_seed", init.rotation_seed);
  options.Read("overwrite", init.overwrite);
}

void ReadConversion(NamedOptions& options, ConvertOptions& convert) {
  options.Read("max_tokens", convert.max_tokens);
  options.Read("window", convert.window);
  options.Read("max_shard_bytes", convert.most_bytes);
  options.Read("to", convert.to);
}

}  // namespace longspan
