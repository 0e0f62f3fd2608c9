#include "train/pair_rows.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "io/json.h"
#include "longspan/files.h"
#include "train/labelled_text.h"
#include "train/row_files.h"

namespace longspan {
namespace {

using nlohmann::json;

class PairReader {
 public:
  PairReader(const DataOptions& options, const PairColumns& columns, PairTexts* out)
      : columns_(columns), out_(out) {
    rules_.options = options;
    for (const std::string* name : {&columns.anchor, &columns.positive, &columns.negative,
                                    &columns.first, &columns.second, &columns.score}) {
      rules_.fields.push_back({*name});
    }
  }

  const data::RowRules& rules() const { return rules_; }
  std::string Fingerprint() const { return digest_.Fingerprint(); }

  void Add(const data::Row& row, bool table) {
    PairRow pair;
    pair.where = io::EscapeName(row.name);
    const bool scored =
        form_.value_or(!HasField(row, columns_.anchor) && HasField(row, columns_.first));
    Check(scored || HasField(row, columns_.anchor), ErrorCode::kFormat,
          "{}: \"{}\" is missing{}; --columns names the columns of pairs, --scored-columns those "
          "of scored pairs",
          pair.where, io::Escape(columns_.anchor),
          form_ ? "" : fmt::format(", and \"{}\" too", io::Escape(columns_.first)));
    pair.anchor = row.Text(scored ? columns_.first : columns_.anchor);
    pair.positive = row.Text(scored ? columns_.second : columns_.positive);
    if (scored) {
      Check(HasField(row, columns_.score), ErrorCode::kFormat, "{}: \"{}\" is missing", pair.where,
            io::Escape(columns_.score));
      pair.score = ParseRowNumber(row.fields[columns_.score], table, "score", pair.where);
    } else {
      pair.negatives = TextsOfField(row, columns_.negative, table, pair.where);
    }
    form_ = out_->scored = scored;
    digest_.Add(pair.anchor);
    digest_.Add(pair.positive);
    for (const std::string& negative : pair.negatives) digest_.Add(negative);
    digest_.Add(fmt::format("{} {}", pair.negatives.size(), pair.score));
    out_->rows.push_back(pair);
  }

 private:
  const PairColumns& columns_;
  PairTexts* out_;
  data::RowRules rules_;
  std::optional<bool> form_;  // whether rows have scores
  RowDigest digest_;
};

}  // namespace

bool HasField(const data::Row& row, const std::string& field) {
  return row.fields.contains(field) && !row.fields[field].is_null();
}

std::vector<std::string> TextsOfField(const data::Row& row, const std::string& field, bool table,
                                      const std::string& where) {
  if (!HasField(row, field)) return {};
  json value = row.fields[field];
  if (table && value.get_ref<const std::string&>().starts_with("[\"")) {
    value = io::ParseJson(value.get_ref<const std::string&>(), where + ": " + field);
  }
  if (!value.is_array()) {
    const auto text = row.OptionalText(field);
    return text ? std::vector<std::string>{*text} : std::vector<std::string>();
  }
  std::vector<std::string> texts;
  for (const json& text : value) {
    Check(text.is_string() && !text.get_ref<const std::string&>().empty(), ErrorCode::kFormat,
          "{}: \"{}\" has an entry that is no text", where, io::Escape(field));
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

PairTexts ReadPairTexts(const std::vector<std::filesystem::path>& files, const DataOptions& data,
                        const PairColumns& columns, std::vector<std::string>* notes,
                        const data::ScratchPlace& place) {
  PairTexts texts;
  texts.rows = StoredRows<PairRow>(place);
  PairReader reader(data, columns, &texts);
  texts.source = ReadRowFiles(
      files, reader.rules(), "pairs of texts", "embed",
      [&](const data::Row& row, bool table) { reader.Add(row, table); }, notes);
  texts.fingerprint = reader.Fingerprint();
  return texts;
}

}  // namespace longspan
