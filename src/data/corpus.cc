#include "data/corpus.h"

#include <algorithm>
#include <utility>

#include "base/cancel.h"
#include "base/memory_limit.h"
#include "data/labelled_prose.h"
#include "data/utf8.h"
#include "io/ascii.h"
#include "io/checksum.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::string_view kBetweenRows = "\n";  // of the texts of a table

std::string_view TextOf(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::string_view TextOf(const MappedFile& file) { return TextOf(file.bytes()); }

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
  std::vector<std::string_view> found;
  ForEachDocument(kind, [&](std::string_view document) { found.push_back(document); });
  return found;
}

void CorpusFile::ForEachDocument(Documents kind, const UseDocument& use) const {
  if (!has_rows_ || kind == Documents::kJoined) return data::ForEachDocument(text_, kind, use);
  std::uint64_t begin = first_row_;
  for (const std::uint64_t end : row_ends_) {
    use(all_.substr(begin, end - begin));
    begin = end + kBetweenRows.size();
  }
}

void CorpusFile::Split(std::size_t at, bool any_bytes, CorpusFile* last) {
  *last = *this;
  at = std::min(at, text_.size());
  if (has_rows_) {
    // The first row that begins at `at` or behind it.
    const auto base = static_cast<std::uint64_t>(text_.data() - all_.data());
    const auto border =
        std::partition_point(row_ends_.begin(), row_ends_.end(), [&](const std::uint64_t& end) {
          const bool first = &end == row_ends_.data();
          const std::uint64_t begin = first ? first_row_ : *(&end - 1) + kBetweenRows.size();
          return begin < base + at;
        });
    const auto before = static_cast<std::size_t>(border - row_ends_.begin());
    last->row_ends_ = row_ends_.subspan(before);
    last->first_row_ = before == 0 ? first_row_ : row_ends_[before - 1] + kBetweenRows.size();
    at = before == row_ends_.size() ? text_.size()
                                    : static_cast<std::size_t>(last->first_row_ - base);
    row_ends_ = row_ends_.first(before);
  }
  // A character that begins in the first part stays there.
  for (std::size_t more = 0; !any_bytes && more < 3 && at < text_.size(); ++more) {
    if ((static_cast<unsigned char>(text_[at]) & 0xC0) != 0x80) break;
    ++at;
  }
  last->text_ = text_.substr(at);
  text_ = text_.substr(0, at);
  // Between two rows, not behind the last one.
  if (has_rows_ && text_.ends_with(kBetweenRows)) text_.remove_suffix(kBetweenRows.size());
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
  void CheckRoom(const CorpusFile& file, const ScratchFile& copy) {
    constexpr std::size_t kStep = std::size_t{64} << 20;
    if (copy.in_file()) return;
    const auto bytes = static_cast<std::size_t>(copy.size());
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

  std::shared_ptr<ScratchFile> NewScratch() const {
    return std::make_shared<ScratchFile>(rules_.scratch_near, rules_.scratch_above);
  }

  // The copy is the file's text from now on.
  static void Keep(std::shared_ptr<ScratchFile> copy, CorpusFile* file) {
    file->mapped_.reset();
    file->copy_ = std::move(copy);
    file->all_ = file->text_ = TextOf(file->copy_->Finish());
  }

  std::shared_ptr<ScratchFile> WithLineFeeds(std::string_view text) const {
    constexpr std::size_t kPiece = std::size_t{1} << 20;
    const auto changed = NewScratch();
    std::string piece;
    while (!text.empty()) {
      CancelScope::Check();
      std::size_t size = std::min(kPiece, text.size());
      // CR LF stays together.
      if (text[size - 1] == '\r' && text.substr(size).starts_with('\n')) ++size;
      piece.clear();
      AppendWithLineFeeds(text.substr(0, size), &piece);
      changed->Append(piece.data(), piece.size());
      text.remove_prefix(size);
    }
    return changed;
  }

  // Unpacks and decodes prose. Returns how many bytes of a mark stood before it.
  std::size_t ReadDecoded(const std::string& path, CorpusFile* file) {
    TextStream stream(OpenBytes(path), file->source_, encoding_, LineBreaks::kAll);
    const auto copy = NewScratch();
    while (stream.More()) {
      CancelScope::Check();
      if (copy->size() == 0 && rules_.options.format != DataFormat::kText) {
        CheckIsText(stream.start(), file->source_);
      }
      copy->Append(stream.rest().data(), stream.rest().size());
      stream.Take(stream.rest().size());
      CheckRoom(*file, *copy);
    }
    copy->Append(stream.rest().data(), stream.rest().size());
    Keep(copy, file);
    return stream.mark_bytes();
  }

  void ReadProse(const std::string& path, CorpusFile* file) {
    std::size_t mark = 0;
    if (path != kStdinPath) {
      // What would be copied into memory goes into a file of its own.
      const std::uint64_t copied = rules_.scratch_near.empty()
                                       ? rules_.copy_below
                                       : std::min(rules_.copy_below, rules_.scratch_above);
      file->mapped_ = std::make_shared<const MappedFile>(MappedFile::Open(path, copied));
    }
    const bool said = rules_.options.format == DataFormat::kText;
    if (file->mapped_ && LiesAsItIs(path, TextOf(*file->mapped_), encoding_)) {
      std::string_view text = TextOf(*file->mapped_);
      if (!said) CheckIsText(text, file->source_);
      const bool verbatim = encoding_ == kVerbatim;
      if (!verbatim && !rules_.any_bytes) RefuseUnmarkedUtf16(text.substr(0, 512), file->source_);
      if (!verbatim && text.starts_with("\xef\xbb\xbf")) mark = 3;
      text.remove_prefix(mark);
      file->all_ = file->text_ = text;
      if (!verbatim && text.find('\r') != text.npos) {
        Keep(WithLineFeeds(text), file);
      } else if (file->mapped_->mapped() && file->mapped_->size() < rules_.copy_below) {
        const auto copy = NewScratch();
        copy->Append(text.data(), text.size());
        Keep(copy, file);
      }
    } else {
      mark = ReadDecoded(path, file);
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
    const auto all = NewScratch(), ends = NewScratch();
    const auto add = [&](Row& row) {
      CancelScope::Check();
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
      if (all->size() > 0) all->Append(kBetweenRows.data(), kBetweenRows.size());
      all->Append(text.data(), text.size());
      const std::uint64_t end = all->size();
      ends->Append(&end, sizeof(end));
      CheckRoom(*file, *all);
    };
    reader->ForEach(add, [&](const Row& row, const Error& why) {
      // What is cut off or damaged as a whole is no row that could be left out.
      if (row.ends_file && !rules_.on_bad) throw why;
      Bad(why);
    });
    Keep(all, file);
    file->ends_ = ends;
    const std::span<const std::uint8_t> bytes = ends->Finish();
    file->row_ends_ = {reinterpret_cast<const std::uint64_t*>(bytes.data()),
                       bytes.size() / sizeof(std::uint64_t)};
    file->has_rows_ = true;
  }

  const CorpusRules& rules_;
  const std::string encoding_;
  RowRules rows_;
  std::size_t checked_ = 0;
  Corpus* corpus_;
};

Corpus ReadCorpus(const std::vector<std::filesystem::path>& paths, const CorpusRules& rules) {
  std::vector<CorpusFile> files;
  Corpus corpus =
      ReadCorpus(paths, rules, [&](CorpusFile file, bool) { files.push_back(std::move(file)); });
  corpus.files = std::move(files);
  return corpus;
}

Corpus ReadCorpus(const std::vector<std::filesystem::path>& paths, const CorpusRules& rules,
                  const UseCorpusFile& use) {
  Corpus corpus;
  CorpusReader reader(rules, &corpus);
  const std::vector<std::string> names(paths.begin(), paths.end());
  InputFiles inputs(names, rules.options);
  std::optional<CorpusFile> held;  // until it is known whether another one comes
  const auto take = [&] {
    if (corpus.files.empty()) return;
    if (held) use(std::move(*held), false);
    held = std::move(corpus.files.front());
    corpus.files.clear();
  };
  while (const std::optional<std::string> path = inputs.Next()) {
    reader.Read(*path);
    take();
  }
  corpus.notes = inputs.TakeNotes();
  if (corpus.bad > 0 && !rules.on_bad) {
    corpus.notes.push_back(
        fmt::format("{} rows or files cannot be used and are left out", corpus.bad));
  }
  if (corpus.empty > 0) {
    corpus.notes.push_back(fmt::format("{} rows have no text", corpus.empty));
  }
  Check(!names.empty(), ErrorCode::kUsage, "data: no file was given");
  Check(rules.may_be_empty || held, ErrorCode::kFormat, "{}{}: no text in {}{}",
        io::EscapeName(names.front()),
        names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "",
        names.size() > 1 ? "them" : "it", corpus.notes.empty() ? "" : "; " + corpus.notes.front());
  if (held) use(std::move(*held), true);
  return corpus;
}

}  // namespace longspan::data
