#include "data/rows.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "data/json_text.h"
#include "data/utf8.h"
#include "io/ascii.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::size_t kMostNamesBytes = 300;  // of a message that lists column names

// Of one value; its bytes are bounded by the row's.
io::JsonLimits ValueLimits(std::size_t bytes, bool exact = false) {
  return {bytes, limits::kMostFieldDepth, limits::kMostFieldValues, exact};
}

LineBreaks BreaksOf(Format format) {
  return IsTable(format) ? LineBreaks::kTable : LineBreaks::kAll;
}

// What may have been meant where a table has no column `name`.
std::string ColumnHint(const std::vector<std::string>& names, const std::string& name,
                       Format format) {
  // The option that a column with its usual name is asked for by; a name of one's own came by one.
  const std::string another = name == "text"        ? "; --text-column names another"
                              : name == "text_pair" ? "; --text-pair-column names another"
                              : name == "label" || name == "labels"
                                  ? "; --label-column names another"
                                  : "";
  const auto same = [&](const std::string& other) {
    const std::size_t begin = other.find_first_not_of(' ');
    const std::string_view trimmed =
        begin == other.npos ? "" : std::string_view(other).substr(begin);
    return std::equal(trimmed.begin(), trimmed.end(), name.begin(), name.end(), [](char a, char b) {
      return (static_cast<unsigned char>(a) | 32) == (static_cast<unsigned char>(b) | 32);
    });
  };
  const auto like = std::find_if(names.begin(), names.end(), same);
  if (like != names.end()) {
    return fmt::format("; it is written \"{}\" there{}", io::Escape(*like, 40), another);
  }
  const char other = format == Format::kTsv ? ',' : ';';
  if (names.size() == 1 && names[0].find(other) != std::string::npos) {
    return format == Format::kTsv ? "; is it .csv?" : "; its fields must be parted by commas";
  }
  if (format == Format::kCsv && names.size() == 1 && names[0].find('\t') != std::string::npos) {
    return "; is it --format tsv?";
  }
  return another;
}

}  // namespace

// ---- fields of a row ----------------------------------------------------------------------------

std::optional<std::string> Row::OptionalText(const std::string& field) const {
  if (!has_fields()) return std::nullopt;
  return io::GetOptionalString(fields, field, io::EscapeName(name));
}

std::string Row::Text(const std::string& field) const {
  std::optional<std::string> value = OptionalText(field);
  Check(value.has_value(), ErrorCode::kFormat, "{}: \"{}\" is missing or empty",
        io::EscapeName(name), io::Escape(field));
  Check(!value->empty(), ErrorCode::kFormat, "{}: \"{}\" is empty", io::EscapeName(name),
        io::Escape(field));
  return std::move(*value);
}

bool TakeRow(Row& row, const UseRow& use, const RefuseRow& refuse) {
  if (row.refused) {
    refuse(row, *row.refused);
    return false;
  }
  std::optional<Error> why;
  try {
    use(row);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kFormat) throw;
    why = error;
  }
  if (why) refuse(row, *why);
  return !why;
}

// ---- opening ------------------------------------------------------------------------------------

RowReader::RowReader(const std::filesystem::path& path, const RowRules& rules, std::string label)
    : RowReader(OpenBytes(path), path == kStdinPath ? kStdinName : path.string(),
                FormatOf(path, rules.options), rules) {
  label_ = std::move(label);
}

RowReader::RowReader(std::string_view bytes, const std::string& name, Format format,
                     const RowRules& rules)
    : RowReader(MemoryBytes(bytes, io::EscapeName(name)), name, format, rules) {}

RowReader::RowReader(std::unique_ptr<ByteStream> bytes, std::string name, Format format,
                     const RowRules& rules)
    : rules_(rules),
      format_(format),
      name_(std::move(name)),
      source_(io::EscapeName(name_)),
      stream_(std::move(bytes), source_, EncodingName(rules.options.encoding), BreaksOf(format)),
      records_(stream_, format == Format::kTsv ? '\t' : ',', rules.options.most_line_bytes) {
  Check(EncodingName(rules.options.encoding) != kVerbatim ||
            (rules.any_bytes && format == Format::kText && !rules.lines),
        ErrorCode::kUsage, "{}: --encoding bytes is for prose and models of bytes", source_);
}

// ---- reading ------------------------------------------------------------------------------------

std::optional<Row> RowReader::Next() {
  if (ended_) return std::nullopt;
  Row row;
  SetName("", &row);
  go_on_ = false;
  try {
    Read(&row);
  } catch (const Error& error) {
    // What is too long is left out where that is allowed, and an error of the whole run else.
    const bool too_long = error.code() == ErrorCode::kLimit && rules_.options.skip_bad;
    if (error.code() != ErrorCode::kFormat && !too_long) throw;
    row.fields = nullptr;
    row.text.clear();
    row.refused = error;
    row.ends_file = !go_on_;
    if (!go_on_) ended_ = true;
    any_ = true;
    return row;
  }
  // The end comes with a row only where the file is one.
  const bool none = ended_ && row.text.empty() && !row.has_fields();
  if (none && !any_) {
    row.ends_file = any_ = true;
    row.refused = Error(ErrorCode::kFormat, source_ + ": holds no text");
    return row;
  }
  any_ = true;
  return none ? std::nullopt : std::optional(std::move(row));
}

void RowReader::ForEach(const UseRow& use, const RefuseRow& refuse) {
  while (std::optional<Row> row = Next()) TakeRow(*row, use, refuse);
}

// Leaves the row as it is, and ended_ set, where there is none.
void RowReader::Read(Row* row) {
  if (!begun_ && stream_.rest().empty() && !stream_.More()) {
    Fail(ErrorCode::kFormat, "{}: is empty", source_);
  }
  if (!begun_ && rules_.options.format != DataFormat::kText) CheckIsText(stream_.start(), source_);
  if (!begun_ && format_ == Format::kText && rules_.options.format != DataFormat::kText) {
    while (stream_.rest().starts_with('{') && stream_.rest().find('\n') == std::string_view::npos &&
           stream_.rest().size() <= rules_.options.most_line_bytes && stream_.More()) {
    }
    CheckIsNoJsonLines(stream_.rest(), source_);
  }
  switch (format_) {
    case Format::kAuto:
    case Format::kText:
      if (rules_.columns) return ReadSentence(row);
      if (!label_.empty()) return ReadLabelledText(row);
      labelled_lines_ = labelled_lines_ || (!begun_ && HasLabels());
      if (labelled_lines_) return ReadLabelledLine(row);
      return rules_.lines ? ReadLine(row) : ReadText(row);
    case Format::kCsv:
    case Format::kTsv:
      return ReadRecord(row);
    case Format::kJsonLines:
      return ReadJsonLine(row);
    case Format::kJson:
      return questions_.empty() ? ReadJson(row) : ReadQuestion(row);
  }
}

void RowReader::SetName(const std::string& place, Row* row) const { row->name = name_ + place; }

// The whole text, without its last line break.
void RowReader::ReadText(Row* row) {
  const std::size_t most = rules_.options.most_line_bytes;
  const auto check_nul = [&] {
    if (rules_.any_bytes) return;
    const std::size_t nul = stream_.rest().find('\0');
    Check(nul == std::string_view::npos, ErrorCode::kFormat,
          "{}: is no text: byte {} is 0; models read UTF-8 (--encoding utf-16le reads other "
          "encodings)",
          source_, nul);
  };
  check_nul();
  do {
    Check(stream_.rest().size() <= most, ErrorCode::kLimit,
          "{}: more than {} bytes for one text; give it in parts, by --lines, or raise "
          "--max-line-bytes",
          source_, most);
  } while (stream_.More());
  ended_ = true;
  check_nul();
  if (!rules_.any_bytes) CheckUtf8(stream_.rest(), source_, 1, {}, stream_.mark_bytes());
  std::string_view text = stream_.rest();
  const bool verbatim = EncodingName(rules_.options.encoding) == kVerbatim;
  if (!verbatim && text.ends_with('\n')) text.remove_suffix(1);
  Check(!text.empty(), ErrorCode::kFormat, "{}: is empty", source_);
  row->text = text;
}

// Takes the rest of a line that was too long, a piece at a time, so that no memory holds it.
void RowReader::SkipLine() {
  for (;;) {
    const std::size_t end = stream_.rest().find('\n');
    const bool found = end != std::string_view::npos;
    stream_.Take(found ? end + 1 : stream_.rest().size());
    if (found || !stream_.More()) return;
  }
}

// The next line, without its end; what rest() has behind it stays. Without a line: ended_. Where
// lines are rows, the next call passes over one that was too long, and `row` gets its name.
std::string_view RowReader::Line(Row* row) {
  if (std::exchange(skip_line_, false)) SkipLine();
  line_ = static_cast<idx_t>(stream_.line());
  for (std::size_t from = 0;;) {
    const std::size_t end = stream_.rest().find('\n', from);
    const std::size_t here = std::min(end, stream_.rest().size());
    if (here > rules_.options.most_line_bytes) {
      if (row != nullptr) {
        skip_line_ = go_on_ = true;
        row->line = line_;
        SetName(fmt::format(":{}", line_), row);
      }
      Fail(ErrorCode::kLimit, "{}:{}: a line of more than {} bytes; --max-line-bytes allows more",
           source_, line_, rules_.options.most_line_bytes);
    }
    if (end != std::string_view::npos) {
      const std::string_view line = stream_.rest().substr(0, end);
      stream_.Take(end + 1);
      return line;
    }
    from = stream_.rest().size();
    if (stream_.More()) continue;
    const std::string_view line = stream_.rest();
    ended_ = line.empty();
    stream_.Take(line.size());
    return line;
  }
}

void RowReader::ReadLine(Row* row) {
  begun_ = true;
  while (!ended_) {
    const std::string_view line = Line(row);
    const auto number = line_;
    if (io::IsBlank(line)) continue;
    SetName(fmt::format(":{}", number), row);
    row->line = number;
    go_on_ = true;
    const std::size_t nul = line.find('\0');
    Check(rules_.any_bytes || nul == line.npos, ErrorCode::kFormat,
          "{}:{}: is no text: byte {} of the line is 0", source_, number, nul);
    if (!rules_.any_bytes) {
      CheckUtf8(line, source_, static_cast<std::size_t>(number), {},
                number == 1 ? stream_.mark_bytes() : 0);
    }
    row->text = line;
    return;
  }
}

// ---- tables -------------------------------------------------------------------------------------

void RowReader::FindColumn(std::size_t field) {
  const WantedField& wanted = rules_.fields[field];
  const auto count = std::count(record_.begin(), record_.end(), wanted.name);
  Check(count < 2, ErrorCode::kFormat, "{}:{}: {} columns are named \"{}\"", source_,
        records_.line(), count, io::Escape(wanted.name));
  if (count == 1) {
    columns_[field] = static_cast<std::size_t>(
        std::find(record_.begin(), record_.end(), wanted.name) - record_.begin());
    return;
  }
  if (!wanted.required) return;
  std::string all;
  for (const std::string& name : record_) {
    if (all.size() > kMostNamesBytes) {
      all += ", ...";
      break;
    }
    all += (all.empty() ? "" : ", ") + io::Escape(name, 40);
  }
  Fail(ErrorCode::kFormat, "{}:{}: no column \"{}\"; there are {}{}", source_, records_.line(),
       io::Escape(wanted.name), all, ColumnHint(record_, wanted.name, format_));
}

void RowReader::ReadHeader() {
  Check(records_.Next(&record_), ErrorCode::kFormat, "{}: is empty, need a line of column names",
        source_);
  begun_ = true;
  width_ = record_.size();
  columns_.resize(rules_.fields.size());
  for (std::size_t i = 0; i < rules_.fields.size(); ++i) FindColumn(i);
}

void RowReader::ReadRecord(Row* row) {
  if (!begun_) ReadHeader();
  bool found = false;
  try {
    found = records_.Next(&record_);
  } catch (const Error&) {
    go_on_ = records_.can_go_on();
    SetName(fmt::format(":{}", records_.line()), row);
    row->line = records_.line();
    throw;
  }
  ended_ = !found;
  if (ended_) return;
  go_on_ = true;
  SetName(fmt::format(":{}", records_.line()), row);
  row->line = records_.line();
  Check(record_.size() == width_, ErrorCode::kFormat,
        "{}:{}: {} fields, but the first line names {} columns{}", source_, row->line,
        record_.size(), width_,
        format_ == Format::kTsv ? "; tabs and line breaks in a field want it in quotes" : "");
  row->fields = nlohmann::json::object();
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (!columns_[i]) continue;
    std::string& value = record_[*columns_[i]];
    const std::string& name = rules_.fields[i].name;
    CheckUtf8(value, source_, static_cast<std::size_t>(row->line),
              fmt::format("column \"{}\", ", io::Escape(name)));
    if (!value.empty()) {
      row->fields[name] = std::move(value);
    } else if (rules_.fields[i].exact) {
      row->fields[name] = nullptr;
    }
  }
}

// ---- JSON ---------------------------------------------------------------------------------------

// The wanted fields of an object in JSON.
void RowReader::SetFields(std::string_view object, Row* row) const {
  const std::string where = io::EscapeName(row->name);
  Check(TrimJson(object).starts_with('{'), ErrorCode::kFormat, "{}: is no JSON object", where);
  nlohmann::json fields = nlohmann::json::object();
  ForEachMember(object, where, [&](std::string_view key, std::string_view value) {
    const auto wanted = std::find_if(rules_.fields.begin(), rules_.fields.end(),
                                     [&](const WantedField& f) { return f.name == key; });
    if (wanted == rules_.fields.end()) return;
    const auto [place, added] = fields.emplace(wanted->name, nullptr);
    Check(added, ErrorCode::kFormat, "{}: \"{}\" stands there twice", where,
          io::Escape(wanted->name));
    *place = io::ParseJson(value, fmt::format("{}: \"{}\"", where, io::Escape(wanted->name)),
                           ValueLimits(rules_.options.most_line_bytes, wanted->exact));
  });
  row->fields = std::move(fields);
}

void RowReader::ReadJsonLine(Row* row) {
  begun_ = true;
  while (!ended_) {
    const std::string_view line = Line(row);
    row->line = line_;
    if (io::IsBlank(line)) continue;
    SetName(fmt::format(":{}", row->line), row);
    go_on_ = true;
    return SetFields(line, row);
  }
}

bool RowReader::SkipJsonSpace() {
  for (;;) {
    const std::size_t first = stream_.rest().find_first_not_of(" \t\n\r");
    if (first != std::string_view::npos) {
      stream_.Take(first);
      return true;
    }
    stream_.Take(stream_.rest().size());
    if (!stream_.More()) return false;
  }
}

// The text of the value that begins at rest(), which must not be empty; it stays there.
std::string_view RowReader::JsonValue() {
  JsonEnd end;
  for (std::size_t from = 0;;) {
    const std::size_t found = end.Find(stream_.rest(), from, source_);
    const std::size_t here = std::min(found, stream_.rest().size());
    Check(here <= rules_.options.most_line_bytes, ErrorCode::kLimit,
          "{}:{}: a value of more than {} bytes; --max-line-bytes allows more", source_,
          stream_.line(), rules_.options.most_line_bytes);
    if (found != std::string_view::npos) return stream_.rest().substr(0, found);
    from = stream_.rest().size();
    if (stream_.More()) continue;
    Check(end.IsScalar(), ErrorCode::kFormat, "{}:{}: ends inside of what begins here", source_,
          stream_.line());
    return stream_.rest();
  }
}

// A list of objects, or objects one behind the other.
void RowReader::BeginJson() {
  begun_ = true;
  Check(SkipJsonSpace(), ErrorCode::kFormat, "{}: is empty", source_);
  in_list_ = stream_.rest().front() == '[';
  if (in_list_) stream_.Take(1);
}

void RowReader::ReadJson(Row* row) {
  if (!begun_) BeginJson();
  const bool more = SkipJsonSpace();
  if (!in_list_) {
    ended_ = !more;
  } else {
    Check(more, ErrorCode::kFormat, "{}: the list is not closed", source_);
    if (stream_.rest().front() == ']') {
      stream_.Take(1);
      Check(!SkipJsonSpace(), ErrorCode::kFormat, "{}:{}: bytes behind the list", source_,
            stream_.line());
      ended_ = true;
    } else if (item_ > 0) {
      Check(stream_.rest().front() == ',', ErrorCode::kFormat,
            "{}:{}: a comma must stand between two items", source_, stream_.line());
      stream_.Take(1);
      Check(SkipJsonSpace(), ErrorCode::kFormat, "{}: the list is not closed", source_);
    }
  }
  if (ended_) return;
  row->line = static_cast<idx_t>(stream_.line());
  SetName(in_list_ ? fmt::format("[{}]", item_) : fmt::format(":{}", row->line), row);
  ++item_;
  const std::string_view value = JsonValue();
  const bool squad = !in_list_ && rules_.squad && ReadSquad(value);
  stream_.Take(value.size());
  if (squad) return ReadQuestion(row);
  go_on_ = true;
  SetFields(value, row);
}

// Whether the document is one of SQuAD: {"data": [{"paragraphs": [{"context", "qas": [...]}]}]}.
// Then its questions are listed, and what should have some and has none.
bool RowReader::ReadSquad(std::string_view document) {
  if (!document.starts_with('{')) return false;
  document_ = document;
  questions_.clear();
  bool any = false;
  // Calls use(item) for each item of the list that is the object's member; false: there is none.
  const auto items = [&](std::string_view object, std::string_view name,
                         const std::function<void(std::string_view)>& use) {
    bool found = false;
    if (!object.starts_with('{')) return false;
    ForEachMember(object, source_, [&](std::string_view key, std::string_view value) {
      if (key != name || !value.starts_with('[')) return;
      found = true;
      ForEachMember(value, source_, [&](std::string_view, std::string_view item) { use(item); });
    });
    return found;
  };
  items(document_, "data", [&](std::string_view article) {
    const bool paragraphs = items(article, "paragraphs", [&](std::string_view paragraph) {
      any = true;
      std::string_view context;
      if (paragraph.starts_with('{')) {
        ForEachMember(paragraph, source_, [&](std::string_view key, std::string_view value) {
          if (key == "context") context = value;
        });
      }
      const bool asked = items(paragraph, "qas", [&](std::string_view question) {
        questions_.push_back({context, question});
      });
      if (!asked) questions_.push_back({context, {}});
    });
    if (!paragraphs) questions_.push_back({});
  });
  next_question_ = 0;
  parsed_of_ = {};
  if (!any) questions_.clear();  // rows with a field of that name
  if (questions_.empty()) document_.clear();
  return !questions_.empty();
}

void RowReader::ReadQuestion(Row* row) {
  const std::size_t number = next_question_++;
  const Question question = questions_[number];
  SetName(fmt::format("[{}]", number), row);
  go_on_ = true;
  const std::string where = io::EscapeName(row->name);
  if (next_question_ == questions_.size()) questions_.clear();  // the file may go on
  Check(!question.fields.empty(), ErrorCode::kFormat,
        "{}: an article without \"paragraphs\", or a paragraph without \"qas\"", where);
  SetFields(question.fields, row);
  Check(!question.context.empty(), ErrorCode::kFormat, "{}: its paragraph has no \"context\"",
        where);
  if (question.context.data() != parsed_of_.data()) {
    context_ = io::ParseJson(question.context, where, ValueLimits(rules_.options.most_line_bytes));
    parsed_of_ = question.context;
  }
  row->fields[rules_.options.text_field] = context_;
}

}  // namespace longspan::data
