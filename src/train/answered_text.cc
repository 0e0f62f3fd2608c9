#include "train/answered_text.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "io/json.h"
#include "longspan/files.h"
#include "text/unicode.h"
#include "train/row_files.h"
#include "train/tagged_text.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr const char* kContextField = "context";
constexpr const char* kImpossibleField = "is_impossible";

class AnsweredReader {
 public:
  AnsweredReader(const DataOptions& data, AnsweredTexts* out) : out_(out) {
    rules_.options = data;
    rules_.squad = true;
    rules_.fields = {{data.text_field}, {"question", true}, {"answers", true}, {kImpossibleField}};
    // Where nobody named another field, texts to answer from stand in "context".
    if (data.text_field == DataOptions().text_field) {
      other_field_ = data.text_field;
      rules_.options.text_field = kContextField;
      rules_.fields.push_back({kContextField});
    }
    WantId(&rules_);
  }

  void Read(const std::vector<std::filesystem::path>& files, std::vector<std::string>* notes) {
    out_->source = ReadRowFiles(
        files, rules_, "questions with answers", "qa",
        [&](const data::Row& row, bool table) { Add(row, table); }, notes);
    out_->fingerprint = digest_.Fingerprint();
  }

 private:
  void Add(const data::Row& row, bool table) {
    AnsweredText text;
    text.id = IdOf(row);
    text.where = io::EscapeName(row.name);
    const std::string& field = rules_.options.text_field;
    const bool other =
        !other_field_.empty() && !row.fields.contains(field) && row.fields.contains(other_field_);
    text.context = row.Text(other ? other_field_ : field);
    text.question = row.Text("question");
    AddAnswers(row, table, &text);
    digest_.Add(text.question);
    digest_.Add(text.context);
    digest_.Add(fmt::format("{}-{}", text.place.begin, text.place.end));
    for (const std::string& answer : text.answers) digest_.Add(answer);
    out_->rows.push_back(text);
  }

  // Lists of texts and of places side by side, or a list of objects, or one object.
  void AddAnswers(const data::Row& row, bool table, AnsweredText* text) {
    const std::string id =
        text->id.empty() ? "" : fmt::format(" (id {})", io::Escape(text->id, 60));
    const std::string name = text->where + id + ": \"answers\"";
    json answers = row.fields.contains("answers") ? row.fields["answers"] : json();
    if (table && answers.is_string()) {
      answers = io::ParseJson(answers.get_ref<const std::string&>(), name);
    }
    if (answers.is_null()) {
      const bool none =
          row.fields.contains(kImpossibleField) &&
          (row.fields[kImpossibleField] == true || row.fields[kImpossibleField] == "true");
      Check(none || table, ErrorCode::kFormat,
            "{} is missing; a question without an answer has an empty list", name);
      return;
    }
    if (answers.is_object()) answers = Objects(answers, name);
    Check(answers.is_array(), ErrorCode::kFormat, "{} is neither a list nor an object", name);
    if (answers.empty()) return;
    std::vector<idx_t> starts;
    text::DecodeUtf8(text->context, starts);
    for (const json& answer : answers) AddAnswer(answer, starts, name, text);
  }

  // {"text": [...], "answer_start": [...]} as a list of objects.
  static json Objects(const json& answers, const std::string& name) {
    if (!answers.contains("text") || !answers["text"].is_array()) return json::array({answers});
    const json& texts = answers["text"];
    Check(answers.contains("answer_start") && answers["answer_start"].is_array() &&
              answers["answer_start"].size() == texts.size(),
          ErrorCode::kFormat, "{}: need as many \"answer_start\" as \"text\"", name);
    json objects = json::array();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      objects.push_back({{"text", texts[i]}, {"answer_start", answers["answer_start"][i]}});
    }
    return objects;
  }

  static void AddAnswer(const json& answer, const std::vector<idx_t>& starts,
                        const std::string& name, AnsweredText* text) {
    Check(answer.is_object(), ErrorCode::kFormat, "{}: an answer is no object", name);
    std::string words = io::GetString(answer, "text", io::kRequired, name);
    const idx_t begin = io::GetInt(answer, "answer_start", 0,
                                   std::numeric_limits<std::int32_t>::max(), io::kRequired, name);
    Check(!words.empty(), ErrorCode::kFormat, "{}: an answer is empty", name);
    const auto size = static_cast<idx_t>(starts.size()) - 1;
    std::vector<idx_t> own;
    const auto length = static_cast<idx_t>(text::DecodeUtf8(words, own).size());
    const bool there = begin + length <= size &&
                       CharactersOf(text->context, starts, {begin, begin + length}) == words;
    Check(there, ErrorCode::kFormat, "{}: \"{}\" does not stand at character {} of the context{}",
          name, io::Escape(words, 60), begin,
          begin < size
              ? fmt::format(", which has \"{}\" there",
                            io::Escape(CharactersOf(text->context, starts,
                                                    {begin, std::min(size, begin + length)}),
                                       60))
              : fmt::format(" of {} characters", size));
    if (text->answers.empty()) text->place = {begin, begin + length};
    text->answers.push_back(std::move(words));
  }

  AnsweredTexts* out_;
  data::RowRules rules_;
  std::string other_field_;  // of the context, where it is not under its own name; may be empty
  RowDigest digest_;
};

}  // namespace

bool AnsweredTexts::unanswerable() const {
  return std::any_of(rows.begin(), rows.end(),
                     [](const AnsweredText& row) { return row.answers.empty(); });
}

AnsweredTexts ReadAnsweredTexts(const std::vector<std::filesystem::path>& files,
                                const DataOptions& data, std::vector<std::string>* notes,
                                const data::ScratchPlace& place) {
  AnsweredTexts texts;
  texts.rows = StoredRows<AnsweredText>(place);
  AnsweredReader(data, &texts).Read(files, notes);
  return texts;
}

}  // namespace longspan
