#include <utility>

#include "data/inputs.h"
#include "data/utf8.h"
#include "io/json.h"
#include "longspan/data.h"
#include "longspan/files.h"

namespace longspan {
namespace {

TextRow PublicRow(data::Row row) {
  TextRow shown;
  shown.name = std::move(row.name);
  shown.line = row.line;
  shown.text = std::move(row.text);
  shown.has_fields = row.has_fields();
  if (shown.has_fields) {
    for (const auto& [name, value] : row.fields.items()) shown.fields[name] = io::JsonText(value);
  }
  shown.given = row.given;
  shown.ends_file = row.ends_file;
  shown.refused = std::move(row.refused);
  return shown;
}

// The row with this field alone, as the reader had it.
data::Row RowWith(const TextRow& row, const std::string& field) {
  data::Row inner;
  inner.name = row.name;
  inner.line = row.line;
  inner.fields = nlohmann::json::object();
  const auto found = row.fields.find(field);
  if (found != row.fields.end()) {
    io::JsonLimits limits;
    limits.exact_integers = true;
    limits.bytes = limits.values = found->second.size() + 1;  // the reader has bounded it
    inner.fields[field] = io::ParseJson(found->second, row.name, limits);
  }
  return inner;
}

}  // namespace

std::optional<WantedField> PairFieldOf(const DataOptions& data) {
  constexpr const char* kUsual = "text_pair";
  if (!data.pair_field) {
    // What was named as something else is no second text.
    if (data.text_field == kUsual || data.label_field == kUsual) return std::nullopt;
    return WantedField{kUsual, false};
  }
  if (data.pair_field->empty()) return std::nullopt;
  return WantedField{*data.pair_field, true};
}

std::string TextRow::Text(const std::string& field) const {
  return RowWith(*this, field).Text(field);
}

std::string TextRow::Shown(const std::string& field) const {
  const auto found = fields.find(field);
  if (found == fields.end() || found->second == "null") return "";
  if (!found->second.starts_with('"')) return found->second;
  return RowWith(*this, field).fields[field].get<std::string>();
}

std::optional<std::string> TextRow::OptionalText(const std::string& field) const {
  return RowWith(*this, field).OptionalText(field);
}

std::optional<std::string> TextRow::PairText(const std::optional<WantedField>& field) const {
  if (!field) return std::nullopt;
  std::optional<std::string> second = OptionalText(field->name);
  return second && second->empty() ? std::nullopt : second;
}

std::vector<std::string> TextRow::TextList(const std::string& field) const {
  const std::string where = io::EscapeName(name);
  nlohmann::json list = RowWith(*this, field).fields;
  if (list.contains(field) && list[field].is_string()) {
    list[field] = io::ParseJson(list[field].get<std::string>(), where + ": " + field);
  }
  return io::GetStringList(list, field, io::kRequired, where);
}

void CheckUtf8(std::string_view text, std::string_view where) { data::CheckUtf8(text, where, 1); }

struct TextSource::Impl {
  data::Texts texts;
};

TextSource::TextSource(const std::vector<std::string>& paths, std::vector<std::string> given,
                       TextRules rules)
    : impl_(std::make_unique<Impl>(Impl{data::Texts(paths, std::move(given), std::move(rules))})) {}
TextSource::~TextSource() = default;
TextSource::TextSource(TextSource&&) noexcept = default;
TextSource& TextSource::operator=(TextSource&&) noexcept = default;

void TextSource::AllowAnyBytes() { impl_->texts.AllowAnyBytes(); }

std::optional<TextRow> TextSource::Next() {
  std::optional<data::Row> row = impl_->texts.Next();
  if (!row) return std::nullopt;
  return PublicRow(std::move(*row));
}

std::vector<TextRow> TextSource::NextChunk() {
  std::vector<TextRow> rows;
  for (data::Row& row : impl_->texts.NextChunk()) rows.push_back(PublicRow(std::move(row)));
  return rows;
}

std::vector<std::string> TextSource::TakeNotes() { return impl_->texts.TakeNotes(); }

bool UseRow(TextRow& row, const std::function<void(TextRow& row)>& use,
            const std::function<void(const TextRow& row, const Error& why)>& refuse) {
  if (row.refused) {
    refuse(row, *row.refused);
    return false;
  }
  try {
    use(row);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kFormat) throw;
    refuse(row, error);
    return false;
  }
  return true;
}

std::vector<std::string> ListTextFiles(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (data::InputFile& file : data::ListFiles(paths)) files.push_back(std::move(file.path));
  return files;
}

}  // namespace longspan
