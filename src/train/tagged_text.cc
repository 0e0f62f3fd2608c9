#include "train/tagged_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/json.h"
#include "longspan/files.h"
#include "text/unicode.h"
#include "train/labelled_text.h"
#include "train/row_files.h"

namespace longspan {
namespace {

using nlohmann::json;

// Fields of tags where the options name none; the first one is what CoNLL's columns become.
constexpr const char* kTagFields[] = {"tags", "ner_tags"};

idx_t CharactersIn(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

class TaggedReader {
 public:
  TaggedReader(const DataOptions& data, const TokenClassOptions& task, TaggedTexts* out)
      : data_(data), task_(task), out_(out) {
    if (task.tag_field.empty()) {
      tag_fields_.assign(std::begin(kTagFields), std::end(kTagFields));
    } else {
      tag_fields_ = {task.tag_field};
    }
    Check(task.word_column >= 1 && task.tag_column >= 0, ErrorCode::kUsage,
          "columns: word {} and tag {} are no columns from 1", task.word_column, task.tag_column);
    rules_.options = data;
    rules_.columns =
        TaggedColumns{task.word_column, task.tag_column, task.word_field, tag_fields_.front()};
    rules_.fields = {{task.word_field}, {data.text_field}, {task.span_field}};
    for (const std::string& field : tag_fields_) rules_.fields.push_back({field});
    WantId(&rules_);
  }

  void Read(const std::vector<std::filesystem::path>& files, std::vector<std::string>* notes) {
    out_->source = ReadRowFiles(
        files, rules_, "words with tags", "token-classify",
        [&](const data::Row& row, bool table) { Add(row, table); }, notes);
    out_->fingerprint = digest_.Fingerprint();
  }

 private:
  void Add(const data::Row& row, bool table) {
    TaggedText tagged;
    tagged.where = io::EscapeName(row.name);
    tagged.id = IdOf(row);
    if (row.fields.contains(task_.word_field)) {
      AddWords(row, table, &tagged);
    } else {
      Check(row.fields.contains(data_.text_field), ErrorCode::kFormat,
            "{}: has neither \"{}\", a list of words, nor \"{}\" with \"{}\"{}", tagged.where,
            io::Escape(task_.word_field), io::Escape(data_.text_field),
            io::Escape(task_.span_field), table ? "; --format text reads CoNLL's columns" : "");
      tagged.text = row.Text(data_.text_field);
      const std::vector<LabelledSpan> spans = SpansOf(row, table, tagged);
      TagWords(spans, &tagged);
      const auto begun = std::count_if(tagged.tags.begin(), tagged.tags.end(),
                                       [](const std::string& tag) { return tag[0] == 'B'; });
      Check(begun == std::ssize(spans), ErrorCode::kFormat, "{}: {} of {} spans hold blanks alone",
            tagged.where, std::ssize(spans) - begun, spans.size());
    }
    Check(!tagged.words.empty(), ErrorCode::kFormat, "{}: has no word", tagged.where);
    digest_.Add(tagged.text);
    for (std::size_t i = 0; i < tagged.words.size(); ++i) {
      digest_.Add(fmt::format("{}-{}", tagged.words[i].begin, tagged.words[i].end));
      digest_.Add(tagged.tags[i]);
    }
    out_->rows.push_back(tagged);
  }

  // A list; in tables it is text in JSON.
  static json ListOf(const data::Row& row, const std::string& field, bool table,
                     const std::string& where) {
    json list = row.fields[field];
    const std::string name = fmt::format("{}: \"{}\"", where, io::Escape(field));
    if (table) list = io::ParseJson(list.get_ref<const std::string&>(), name);
    Check(list.is_array(), ErrorCode::kFormat, "{} is no list", name);
    return list;
  }

  void AddWords(const data::Row& row, bool table, TaggedText* tagged) {
    const std::string& where = tagged->where;
    const json words = ListOf(row, task_.word_field, table, where);
    const auto field =
        std::find_if(tag_fields_.begin(), tag_fields_.end(),
                     [&](const std::string& name) { return row.fields.contains(name); });
    Check(field != tag_fields_.end(), ErrorCode::kFormat,
          "{}: \"{}\" is missing; --tag-column names another", where,
          io::Escape(tag_fields_.front()));
    const json tags = ListOf(row, *field, table, where);
    Check(words.size() == tags.size(), ErrorCode::kFormat, "{}: {} words and {} tags", where,
          words.size(), tags.size());
    idx_t at = 0;
    for (std::size_t i = 0; i < words.size(); ++i) {
      Check(words[i].is_string() && !words[i].get_ref<const std::string&>().empty(),
            ErrorCode::kFormat, "{}: word {} is no text or empty: {}", where, i + 1,
            io::Escape(words[i].dump(), 60));
      const auto& word = words[i].get_ref<const std::string&>();
      tagged->text += (i == 0 ? "" : " ") + word;
      const idx_t begin = i == 0 ? 0 : at + 1;
      at = begin + CharactersIn(word);
      tagged->words.push_back({begin, at});
      tagged->tags.push_back(TagOf(tags[i], where, i));
    }
  }

  std::string TagOf(const json& tag, const std::string& where, std::size_t word) const {
    if (tag.is_number_integer() && !task_.label_names.empty()) {
      const auto most = static_cast<idx_t>(task_.label_names.size()) - 1;
      const json object = {{"tag", tag}};
      const idx_t number = io::GetInt(object, "tag", 0, most, io::kRequired,
                                      fmt::format("{}: word {}", where, word + 1));
      return task_.label_names[static_cast<std::size_t>(number)];
    }
    Check(!tag.is_array(), ErrorCode::kFormat, "{}: the tag of word {} is a list", where, word + 1);
    std::string name = ParseRowLabel(tag, false, '\0', where).names.front();
    Check(!name.empty(), ErrorCode::kFormat, "{}: the tag of word {} is empty", where, word + 1);
    return name;
  }

  std::vector<LabelledSpan> SpansOf(const data::Row& row, bool table, const TaggedText& tagged) {
    const std::string& where = tagged.where;
    Check(row.fields.contains(task_.span_field), ErrorCode::kFormat,
          "{}: \"{}\" is missing: a list of {{\"start\", \"end\", \"label\"}}", where,
          io::Escape(task_.span_field));
    const idx_t size = CharactersIn(tagged.text);
    std::vector<LabelledSpan> spans;
    for (const json& item : ListOf(row, task_.span_field, table, where)) {
      const std::string name = fmt::format("{}: span {}", where, spans.size());
      Check(item.is_object(), ErrorCode::kFormat, "{} is no object", name);
      LabelledSpan span;
      span.chars.begin = io::GetInt(item, "start", 0, size - 1, io::kRequired, name);
      span.chars.end = io::GetInt(item, "end", span.chars.begin + 1, size, io::kRequired, name);
      span.label = io::GetString(item, "label", io::kRequired, name);
      Check(!span.label.empty() && span.label.size() <= limits::kMostLabelBytes, ErrorCode::kFormat,
            "{}: a label of {} bytes, need 1 to {}", name, span.label.size(),
            limits::kMostLabelBytes);
      spans.push_back(std::move(span));
    }
    std::sort(spans.begin(), spans.end(), [](const LabelledSpan& a, const LabelledSpan& b) {
      return a.chars.begin < b.chars.begin;
    });
    for (std::size_t i = 1; i < spans.size(); ++i) {
      Check(spans[i - 1].chars.end <= spans[i].chars.begin, ErrorCode::kFormat,
            "{}: spans {} to {} and {} to {} overlap; a word has one tag", where,
            spans[i - 1].chars.begin, spans[i - 1].chars.end, spans[i].chars.begin,
            spans[i].chars.end);
    }
    return spans;
  }

  const DataOptions& data_;
  const TokenClassOptions& task_;
  TaggedTexts* out_;
  data::RowRules rules_;
  std::vector<std::string> tag_fields_;
  RowDigest digest_;
};

}  // namespace

void TagWords(const std::vector<LabelledSpan>& spans, TaggedText* row) {
  std::vector<idx_t> starts;
  const text::Glyphs glyphs = text::DecodeUtf8(row->text, starts);
  const auto size = static_cast<idx_t>(glyphs.size());
  const auto kind = [&](idx_t at) { return text::Kind(glyphs[static_cast<std::size_t>(at)].c); };
  std::size_t next = 0;  // the first span that ends behind `at`
  for (idx_t at = 0; at < size;) {
    while (next < spans.size() && spans[next].chars.end <= at) ++next;
    if ((kind(at) & text::kSpace) != 0) {
      ++at;
      continue;
    }
    const bool inside = next < spans.size() && spans[next].chars.begin <= at;
    idx_t border = size;  // that no word crosses
    if (next < spans.size()) border = inside ? spans[next].chars.end : spans[next].chars.begin;
    idx_t end = at + 1;
    if ((kind(at) & text::kPunctuation) == 0) {
      while (end < border && (kind(end) & (text::kSpace | text::kPunctuation)) == 0) ++end;
    }
    const bool goes_on =
        inside && !row->words.empty() && row->words.back().begin >= spans[next].chars.begin;
    row->words.push_back({at, end});
    row->tags.push_back(inside ? (goes_on ? "I-" : "B-") + spans[next].label : kOutsideTag);
    at = end;
  }
}

bool MarkEntities(const std::vector<std::string>& tags) {
  return std::all_of(tags.begin(), tags.end(),
                     [](const std::string& name) { return metrics::IsEntityTag(name); }) &&
         std::any_of(tags.begin(), tags.end(),
                     [](const std::string& name) { return name.size() > 2; });
}

std::string CharactersOf(const std::string& text, const std::vector<idx_t>& starts,
                         text::Span chars) {
  const auto begin = static_cast<std::size_t>(starts[static_cast<std::size_t>(chars.begin)]);
  const auto end = static_cast<std::size_t>(starts[static_cast<std::size_t>(chars.end)]);
  return text.substr(begin, end - begin);
}

TaggedTexts ReadTaggedTexts(const std::vector<std::filesystem::path>& files,
                            const DataOptions& data, const TokenClassOptions& task,
                            std::vector<std::string>* notes, const data::ScratchPlace& place) {
  TaggedTexts texts;
  texts.rows = StoredRows<TaggedText>(place);
  TaggedReader(data, task, &texts).Read(files, notes);
  return texts;
}

}  // namespace longspan
