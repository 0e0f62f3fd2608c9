#include "train/choice_text.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/errors.h"
#include "base/parse_number.h"
#include "io/json.h"
#include "longspan/files.h"
#include "train/row_files.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr idx_t kMostEndings = 26;  // fields ending0 to ending25: as many as there are letters

std::string EndingField(idx_t number) { return fmt::format("ending{}", number); }

// The place that a label names, among `count` choices.
std::optional<idx_t> PlaceOf(const json& label, bool table,
                             const std::vector<std::string>& choices) {
  const auto count = static_cast<idx_t>(choices.size());
  const auto inside = [&](idx_t place) {
    return place >= 0 && place < count ? std::optional(place) : std::nullopt;
  };
  if (label.is_number_unsigned()) {
    const auto place = label.get<std::uint64_t>();
    return place < choices.size() ? std::optional(static_cast<idx_t>(place)) : std::nullopt;
  }
  if (!label.is_string()) return std::nullopt;
  const auto& text = label.get_ref<const std::string&>();
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found != choices.end()) return found - choices.begin();
  if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z') return inside(text[0] - 'A');
  if (text.size() == 1 && text[0] >= 'a' && text[0] <= 'z') return inside(text[0] - 'a');
  const auto place = table ? ParseNumber<idx_t>(text) : std::nullopt;
  return place ? inside(*place) : std::nullopt;
}

class ChoiceReader {
 public:
  ChoiceReader(const DataOptions& data, ChoiceTexts* out) : out_(out) {
    contexts_ = {data.text_field};
    labels_ = {data.label_field};
    // Names that are not one's own have others beside them.
    if (data.text_field == DataOptions().text_field) contexts_ = {"context", "article", "text"};
    if (data.label_field == DataOptions().label_field) labels_ = {"label", "answer"};
    rules_.options = data;
    for (const std::string& name : contexts_) rules_.fields.push_back({name});
    for (const std::string& name : labels_) rules_.fields.push_back({name, false, true});
    for (const char* name : {"question", "choices", "options", "sent1", "sent2"}) {
      rules_.fields.push_back({name});
    }
    for (idx_t i = 0; i < kMostEndings; ++i) rules_.fields.push_back({EndingField(i)});
    WantId(&rules_);
  }

  void Read(const std::vector<std::filesystem::path>& files, std::vector<std::string>* notes) {
    out_->source = ReadRowFiles(
        files, rules_, "questions with choices", "multiple-choice",
        [&](const data::Row& row, bool table) { Add(row, table); }, notes);
    out_->fingerprint = digest_.Fingerprint();
  }

 private:
  void Add(const data::Row& row, bool table) {
    ChoiceText text;
    text.where = io::EscapeName(row.name);
    text.id = IdOf(row);
    Question& question = text.question;
    if (row.fields.contains(EndingField(0))) {
      question.text = row.Text("sent1");
      const std::string begin = row.OptionalText("sent2").value_or("");
      for (idx_t i = 0; i < kMostEndings && row.fields.contains(EndingField(i)); ++i) {
        question.choices.push_back(JoinQuestion(begin, row.Text(EndingField(i))));
      }
    } else {
      question.text =
          JoinQuestion(FirstText(row, contexts_), row.OptionalText("question").value_or(""));
      question.choices = ChoicesOf(row, table, text.where);
    }
    Check(!question.text.empty(), ErrorCode::kFormat,
          "{}: no question; need \"question\", \"{}\" or both", text.where,
          io::Escape(contexts_.front()));
    Check(question.choices.size() >= 2, ErrorCode::kFormat, "{}: {} choices, need at least 2",
          text.where, question.choices.size());
    text.label = LabelOf(row, table, text);
    digest_.Add(question.text);
    for (const std::string& choice : question.choices) digest_.Add(choice);
    digest_.Add(std::to_string(text.label));
    out_->rows.push_back(text);
  }

  // The first of these fields that the row has; empty: none.
  static std::string FirstText(const data::Row& row, const std::vector<std::string>& fields) {
    for (const std::string& field : fields) {
      if (auto text = row.OptionalText(field)) return std::move(*text);
    }
    return {};
  }

  static std::vector<std::string> ChoicesOf(const data::Row& row, bool table,
                                            const std::string& where) {
    const std::string field = row.fields.contains("choices") ? "choices" : "options";
    Check(row.fields.contains(field), ErrorCode::kFormat,
          "{}: has no \"choices\", no \"options\" and no \"ending0\"", where);
    json object = {{field, row.fields[field]}};
    if (table) {
      object[field] = io::ParseJson(object[field].get_ref<const std::string&>(),
                                    fmt::format("{}: \"{}\"", where, field));
    }
    return io::GetStringList(object, field, io::kRequired, where);
  }

  idx_t LabelOf(const data::Row& row, bool table, const ChoiceText& text) const {
    const auto field = std::find_if(labels_.begin(), labels_.end(), [&](const std::string& name) {
      return row.fields.contains(name);
    });
    Check(field != labels_.end(), ErrorCode::kFormat, "{}: \"{}\" is missing", text.where,
          io::Escape(labels_.front()));
    const json& label = row.fields[*field];
    const std::optional<idx_t> place = PlaceOf(label, table, text.question.choices);
    Check(place.has_value(), ErrorCode::kFormat,
          "{}: \"{}\" is {}, need a number from 0 to {}, a letter from A, or one of the choices",
          text.where, io::Escape(*field),
          io::Escape(label.is_string() ? label.get<std::string>() : label.dump(), 60),
          text.question.choices.size() - 1);
    return *place;
  }

  ChoiceTexts* out_;
  data::RowRules rules_;
  std::vector<std::string> contexts_, labels_;  // fields, in the order in which they are tried
  RowDigest digest_;
};

}  // namespace

ChoiceTexts ReadChoiceTexts(const std::vector<std::filesystem::path>& files,
                            const DataOptions& data, std::vector<std::string>* notes,
                            const data::ScratchPlace& place) {
  ChoiceTexts texts;
  texts.rows = StoredRows<ChoiceText>(place);
  ChoiceReader(data, &texts).Read(files, notes);
  return texts;
}

}  // namespace longspan
