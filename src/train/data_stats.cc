#include "train/data_stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "base/errors.h"
#include "io/checksum.h"
#include "io/csv.h"
#include "io/escape.h"
#include "io/json.h"
#include "parallel/parallel_for.h"
#include "text/mapped_file.h"
#include "text/text_pieces.h"
#include "text/unicode.h"
#include "train/packed_rows.h"
#include "train/token_stream.h"

namespace longspan {
namespace {

constexpr io::JsonLimits kLineLimits{std::size_t{64} << 20, 16, 1'000'000};

// What one document says; the same whichever thread asks.
struct Measures {
  idx_t bytes = 0, characters = 0, invalid = 0, tokens = 0, unknown = 0;
  std::string checksum;
};

// Places where an invalid piece became U+FFFD.
idx_t InvalidPieces(std::string_view text, const text::Glyphs& glyphs,
                    const std::vector<idx_t>& starts) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  idx_t count = 0;
  for (std::size_t i = 0; i < glyphs.size(); ++i) {
    if (glyphs[i].c != 0xFFFD) continue;
    const auto begin = static_cast<std::size_t>(starts[i]);
    const auto length = static_cast<std::size_t>(starts[i + 1]) - begin;
    if (text.substr(begin, length) != kReplacement) ++count;
  }
  return count;
}

Measures Measure(std::string_view document, const text::Tokenizer* tokenizer) {
  Measures m;
  m.bytes = static_cast<idx_t>(document.size());
  m.checksum = io::ChecksumOf(document);
  std::vector<std::string_view> pieces;
  text::CutAtLines(document, TokenStream::kPieceBytes, &pieces);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::vector<idx_t> starts;
    const text::Glyphs glyphs = text::DecodeUtf8(pieces[i], starts);
    m.characters += static_cast<idx_t>(glyphs.size());
    m.invalid += InvalidPieces(pieces[i], glyphs, starts);
    if (tokenizer == nullptr) continue;
    text::EncodeOptions plain;
    plain.special_tokens = false;
    plain.continues = i > 0;
    const text::Encoding e = tokenizer->Encode(pieces[i], plain).front();
    m.tokens += e.size();
    if (const auto unk = tokenizer->special().unk) {
      m.unknown += std::count(e.ids.begin(), e.ids.end(), *unk);
    }
  }
  if (tokenizer != nullptr) m.tokens += tokenizer->AddedTokens(false);
  return m;
}

// The documents of a file: views of it, or texts that were written in another way.
class Reader {
 public:
  Reader(const DataStatsOptions& options, DataStats* stats) : options_(options), stats_(stats) {}

  // Calls use(documents) with as many as are worth measuring together.
  template <class Use>
  void Read(const std::filesystem::path& path, const Use& use) {
    const auto file = text::MappedFile::Open(path);
    source_ = io::Escape(path.string(), 400);
    stats_->files += 1;
    stats_->bytes += static_cast<idx_t>(file.size());
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                                file.bytes().size());
    const std::string ending = path.extension().string();
    if (ending == ".jsonl" || ending == ".ndjson") {
      ReadLines(text, use);
    } else if (ending == ".csv" || ending == ".tsv") {
      ReadTable(text, ending == ".tsv" ? '\t' : ',', use);
    } else {
      use(SplitDocuments(text, ParseDocuments(options_.documents)));
    }
  }

 private:
  static constexpr std::size_t kTogether = 4096;

  void Unreadable(const std::string& what) {
    if (stats_->unreadable++ == 0) stats_->first_unreadable = what;
  }

  template <class Use>
  static void Flush(std::vector<std::string>* texts, const Use& use) {
    use(std::vector<std::string_view>(texts->begin(), texts->end()));
    texts->clear();
  }

  template <class Use>
  void ReadLines(std::string_view text, const Use& use) {
    std::vector<std::string> texts;
    for (idx_t number = 1; !text.empty(); ++number) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      const std::string where = fmt::format("{}:{}", source_, number);
      try {
        const nlohmann::json object = io::ParseJson(line, where, kLineLimits);
        Check(object.is_object(), ErrorCode::kFormat, "{}: not a JSON object", where);
        texts.push_back(io::GetString(object, options_.text_column, io::kRequired, where));
      } catch (const Error& error) {
        Unreadable(error.what());
      }
      if (texts.size() >= kTogether) Flush(&texts, use);
    }
    Flush(&texts, use);
  }

  template <class Use>
  void ReadTable(std::string_view text, char separator, const Use& use) {
    io::CsvReader reader(text, separator, source_);
    std::vector<std::string> fields, texts;
    Check(reader.Next(&fields), ErrorCode::kFormat, "{}: is empty, need a line of column names",
          source_);
    const std::size_t width = fields.size();
    const auto found = std::find(fields.begin(), fields.end(), options_.text_column);
    Check(found != fields.end(), ErrorCode::kFormat,
          "{}: no column \"{}\" (--text-column names another)", source_,
          io::Escape(options_.text_column));
    const auto at = static_cast<std::size_t>(found - fields.begin());
    while (reader.Next(&fields)) {
      if (fields.size() == width) {
        texts.push_back(std::move(fields[at]));
      } else {
        Unreadable(fmt::format("{}:{}: {} fields, the first line names {} columns", source_,
                               reader.line(), fields.size(), width));
      }
      if (texts.size() >= kTogether) Flush(&texts, use);
    }
    Flush(&texts, use);
  }

  const DataStatsOptions& options_;
  DataStats* stats_;
  std::string source_;
};

LengthStats LengthsOf(std::vector<idx_t> lengths) {
  std::sort(lengths.begin(), lengths.end());
  LengthStats s;
  s.total = std::accumulate(lengths.begin(), lengths.end(), idx_t{0});
  s.shortest = lengths.front();
  s.longest = lengths.back();
  const auto count = static_cast<double>(lengths.size());
  s.mean = static_cast<double>(s.total) / count;
  for (const int share : {1, 5, 25, 50, 75, 95, 99}) {
    const auto rank = static_cast<std::size_t>(std::ceil(share * count / 100.0));
    s.percentiles.push_back({share, lengths[std::max<std::size_t>(rank, 1) - 1]});
  }
  for (const idx_t length : lengths) {
    const auto low =
        length == 0 ? 0 : static_cast<idx_t>(std::bit_floor(static_cast<std::uint64_t>(length)));
    if (s.bins.empty() || s.bins.back().low != low) {
      s.bins.push_back({low, low == 0 ? 0 : 2 * low - 1, 0, 0});
    }
    s.bins.back().documents += 1;
    s.bins.back().total += length;
  }
  return s;
}

// `around`: special tokens that each piece of a document has.
CutStats CutAt(idx_t length, const std::vector<idx_t>& lengths, idx_t around) {
  CutStats cut;
  cut.length = length;
  idx_t kept = 0;
  std::vector<idx_t> starts;
  for (const idx_t n : lengths) {
    if (n > length) {
      cut.cut_documents += 1;
      cut.cut_tokens += n - length;
    }
    kept += std::min(n, length);
  }
  const auto places = static_cast<double>(length) * static_cast<double>(lengths.size());
  cut.padding = 1.0 - static_cast<double>(kept) / places;
  cut.packed_padding = PackedPadding(lengths, length, around);
  return cut;
}

}  // namespace

DataStats CollectDataStats(Context& context, const DataStatsOptions& options) {
  for (const idx_t length : options.lengths) {
    Check(length >= 1, ErrorCode::kUsage, "lengths: {} is below 1", length);
  }
  ParseDocuments(options.documents);
  DataStats stats;
  std::vector<idx_t> byte_lengths, token_lengths;
  std::unordered_set<std::string> seen;
  const auto use = [&](const std::vector<std::string_view>& documents) {
    std::vector<Measures> measures(documents.size());
    ParallelFor(context, static_cast<idx_t>(documents.size()), [&](idx_t i, int) {
      const auto n = static_cast<std::size_t>(i);
      measures[n] = Measure(documents[n], options.tokenizer);
    });
    for (const Measures& m : measures) {
      byte_lengths.push_back(m.bytes);
      token_lengths.push_back(m.tokens);
      stats.characters += m.characters;
      stats.invalid_documents += m.invalid > 0 ? 1 : 0;
      stats.invalid_pieces += m.invalid;
      stats.unknown_tokens += m.unknown;
      if (!seen.insert(m.checksum).second) {
        stats.duplicates += 1;
        stats.duplicate_bytes += m.bytes;
      }
    }
  };
  Reader reader(options, &stats);
  for (const auto& path : options.files) reader.Read(path, use);
  Check(!byte_lengths.empty(), ErrorCode::kUsage, "data: no document in {} files{}{}",
        options.files.size(), stats.first_unreadable.empty() ? "" : "; ", stats.first_unreadable);
  stats.documents = static_cast<idx_t>(byte_lengths.size());
  const bool tokens = options.tokenizer != nullptr;
  // A tokenizer with a mask token is a masked LM's, whose pieces all stand between special tokens.
  const bool masked = tokens && options.tokenizer->special().mask.has_value();
  const idx_t around = masked ? options.tokenizer->AddedTokens(false) : 0;
  for (const idx_t length : options.lengths) {
    stats.cuts.push_back(CutAt(length, tokens ? token_lengths : byte_lengths, around));
  }
  if (tokens) stats.token_lengths = LengthsOf(std::move(token_lengths));
  stats.byte_lengths = LengthsOf(std::move(byte_lengths));
  return stats;
}

}  // namespace longspan
