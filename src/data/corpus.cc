#include "data/corpus.h"

#include <algorithm>
#include <utility>

#include "base/memory_limit.h"
#include "data/labelled_prose.h"
#include "data/utf8.h"
#include "io/ascii.h"
#include "io/checksum.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

std::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Whether prose can be used as its bytes lie on the disk: no other encoding, nothing packed.
bool LiesAsItIs(const std::string& path, std::string_view bytes, const std::string& encoding) {
  constexpr std::string_view kOthers[] = {"\xff\xfe", "\xfe\xff", {"\0\0\xfe\xff", 4}};
  bool packed = false;
  WithoutPacking(path, &packed);  // then it must be, whatever its bytes are
  if (packed) return false;
  if ((encoding != kUtf8 && encoding != kVerbatim) || IsPacked(bytes)) return false;
  return std::none_of(std::begin(kOthers), std::end(kOthers),
                      [&](std::string_view mark) { return bytes.starts_with(mark); });
}

}  // namespace

// ---- one file -----------------------------------------------------------------------------------

std::vector<std::string_view> CorpusFile::DocumentsOf(Documents kind) const {
  if (has_rows_ && kind != Documents::kJoined) return rows_;
  return SplitDocuments(text_, kind);
}

void CorpusFile::Split(std::size_t at, bool any_bytes, CorpusFile* last) {
  *last = *this;
  last->rows_.clear();
  at = std::min(at, text_.size());
  if (has_rows_) {
    const auto border = std::find_if(rows_.begin(), rows_.end(), [&](std::string_view row) {
      return row.data() >= text_.data() + at;
    });
    last->rows_.assign(border, rows_.end());
    at = border == rows_.end() ? text_.size()
                               : static_cast<std::size_t>(border->data() - text_.data());
    rows_.erase(border, rows_.end());
  }
  // A character that begins in the first part stays there.
  for (std::size_t more = 0; !any_bytes && more < 3 && at < text_.size(); ++more) {
    if ((static_cast<unsigned char>(text_[at]) & 0xC0) != 0x80) break;
    ++at;
  }
  last->text_ = text_.substr(at);
  text_ = text_.substr(0, at);
  // Between two rows, not behind the last one.
  if (has_rows_ && text_.ends_with('\n')) text_.remove_suffix(1);
}

std::string CorpusFile::Fingerprint() const {
  io::Checksum checksum;
  checksum.Update(all_.data(), all_.size());
  return fmt::format("{}-{}", all_.size(), checksum.Hex());
}

void CorpusFile::CheckUnchanged() const {
  if (mapped_ && mapped_->mapped()) mapped_->CheckUnchanged();
}

// ---- reading ------------------------------------------------------------------------------------

class CorpusReader {
 public:
  CorpusReader(const CorpusRules& rules, Corpus* corpus)
      : rules_(rules), encoding_(EncodingName(rules.options.encoding)), corpus_(corpus) {
    rows_.options = rules.options;
    rows_.fields = {{rules.options.text_field, true}};
    rows_.fields.insert(rows_.fields.end(), rules.fields.begin(), rules.fields.end());
    rows_.any_bytes = rules.any_bytes;
    Check(encoding_ != kVerbatim || rules.any_bytes, ErrorCode::kUsage,
          "encoding: bytes is for models of bytes");
  }

  void Read(const std::string& path) {
    CorpusFile file;
    file.source_ = path == kStdinPath ? kStdinName : io::EscapeName(path);
    try {
      if (HasRows(FormatOf(path, rules_.options))) {
        RowReader reader(std::filesystem::path(path), rows_);
        ReadRows(&reader, &file);
      } else {
        ReadProse(path, &file);
        if (rules_.labels && BeginsWithLabel(file.text_)) ReadLabelledLines(path, &file);
      }
    } catch (const PackingError& error) {
      if (!rules_.on_bad) throw;  // half a book is no text that could be left out
      return Bad(error);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kFormat) throw;
      return Bad(error);
    }
    if (!file.text_.empty()) corpus_->files.push_back(std::move(file));
  }

 private:
  // Packed and endless files have no size that could be asked for beforehand.
  void CheckRoom(const CorpusFile& file, std::size_t bytes) {
    constexpr std::size_t kStep = std::size_t{64} << 20;
    if (bytes < checked_ + kStep) {
      if (bytes < checked_) checked_ = 0;  // the next file
      return;
    }
    checked_ = bytes;
    CheckMemory(file.source_ + ": its texts", 2 * std::uint64_t{bytes});  // a copy on the way
  }

  void Bad(const Error& error) {
    if (!rules_.on_bad && !rules_.options.skip_bad) throw error;
    ++corpus_->bad;
    if (rules_.on_bad) rules_.on_bad(error);
  }

  static void Keep(std::string text, CorpusFile* file) {
    file->copy_ = std::make_shared<const std::string>(std::move(text));
    file->mapped_.reset();
    file->all_ = file->text_ = *file->copy_;
  }

  void ReadProse(const std::string& path, CorpusFile* file) {
    std::size_t mark = 0;
    if (path != kStdinPath) {
      file->mapped_ = std::make_shared<const MappedFile>(MappedFile::Open(path, rules_.copy_below));
    }
    const bool said = rules_.options.format == DataFormat::kText;
    if (file->mapped_ && LiesAsItIs(path, TextOf(*file->mapped_), encoding_)) {
      std::string_view text = TextOf(*file->mapped_);
      if (!said) CheckIsText(text, file->source_);
      const bool verbatim = encoding_ == kVerbatim;
      if (!verbatim && text.starts_with("\xef\xbb\xbf")) mark = 3;
      text.remove_prefix(mark);
      file->all_ = file->text_ = text;
      if (!verbatim && text.find('\r') != text.npos) {
        std::string changed;
        changed.reserve(text.size());
        AppendWithLineFeeds(text, &changed);
        Keep(std::move(changed), file);
      }
    } else {
      TextStream stream(OpenBytes(path), file->source_, encoding_, LineBreaks::kAll);
      while (stream.More()) {
        if (!said) CheckIsText(stream.start(), file->source_);
        CheckRoom(*file, stream.rest().size());
      }
      mark = stream.mark_bytes();
      Keep(std::string(stream.rest()), file);
    }
    CheckProse(*file, mark);
  }

  void CheckProse(const CorpusFile& file, std::size_t mark) const {
    const std::string_view text = file.text_;
    Check(!text.empty(), ErrorCode::kFormat, "{}: is empty", file.source_);
    if (rules_.options.format != DataFormat::kText) {
      CheckIsNoJsonLines(text.substr(0, rules_.options.most_line_bytes), file.source_);
    }
    if (rules_.any_bytes) return;
    CheckUtf8(text, file.source_, 1, {}, mark);
    const std::size_t nul = text.find('\0');
    Check(nul == text.npos, ErrorCode::kFormat, "{}: is no text: byte {} is 0", file.source_,
          nul + mark);
  }

  // Prose that was read, in UTF-8.
  void ReadLabelledLines(const std::string& path, CorpusFile* file) {
    RowRules rules = rows_;
    rules.labels = true;
    rules.options.encoding = kUtf8;
    RowReader reader(file->text_, path == kStdinPath ? kStdinName : path, Format::kText, rules);
    ReadRows(&reader, file);
  }

  void ReadRows(RowReader* reader, CorpusFile* file) {
    std::string all;
    std::vector<std::pair<std::size_t, std::size_t>> places;
    const auto add = [&](Row& row) {
      const std::string& field = rules_.options.text_field;
      const std::string text = row.OptionalText(field).value_or("");
      Check(!text.empty() || IsTable(reader->format()) || row.fields.contains(field),
            ErrorCode::kFormat, "{}: \"{}\" is missing", io::EscapeName(row.name),
            io::Escape(field));
      if (io::IsBlank(text)) {
        ++corpus_->empty;
        return;
      }
      if (rules_.on_row) rules_.on_row(row, IsTable(reader->format()));
      if (!all.empty()) all += '\n';
      places.emplace_back(all.size(), text.size());
      all += text;
      CheckRoom(*file, all.size());
    };
    reader->ForEach(add, [&](const Row& row, const Error& why) {
      // What is cut off or damaged as a whole is no row that could be left out.
      if (row.ends_file && !rules_.on_bad) throw why;
      Bad(why);
    });
    Keep(std::move(all), file);
    file->has_rows_ = true;
    for (const auto& [begin, size] : places) file->rows_.push_back(file->text_.substr(begin, size));
  }

  const CorpusRules& rules_;
  const std::string encoding_;
  RowRules rows_;
  std::size_t checked_ = 0;
  Corpus* corpus_;
};

Corpus ReadCorpus(const std::vector<std::filesystem::path>& paths, const CorpusRules& rules) {
  Corpus corpus;
  CorpusReader reader(rules, &corpus);
  const std::vector<std::string> names(paths.begin(), paths.end());
  InputFiles files(names, rules.options);
  while (const std::optional<std::string> path = files.Next()) reader.Read(*path);
  corpus.notes = files.TakeNotes();
  if (corpus.bad > 0 && !rules.on_bad) {
    corpus.notes.push_back(
        fmt::format("{} rows or files cannot be used and are left out", corpus.bad));
  }
  if (corpus.empty > 0) {
    corpus.notes.push_back(fmt::format("{} rows have no text", corpus.empty));
  }
  Check(!names.empty(), ErrorCode::kUsage, "data: no file was given");
  Check(rules.may_be_empty || !corpus.files.empty(), ErrorCode::kFormat, "{}{}: no text in {}{}",
        io::EscapeName(names.front()),
        names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "",
        names.size() > 1 ? "them" : "it", corpus.notes.empty() ? "" : "; " + corpus.notes.front());
  return corpus;
}
}  // namespace longspan::data
