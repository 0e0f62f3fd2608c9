#include "longspan/data_stats.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/errors.h"
#include "data/corpus.h"
#include "io/checksum.h"
#include "longspan/files.h"
#include "parallel/parallel_for.h"
#include "text/text_pieces.h"
#include "text/unicode.h"
#include "train/label_stats.h"
#include "train/length_stats.h"
#include "train/packed_rows.h"
#include "train/token_stream.h"

namespace longspan {
namespace {

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

// How many of the held-out documents are among those with these checksums.
void CompareHeldOut(const DataStatsOptions& options, const std::unordered_set<std::string>& seen,
                    DataStats* stats) {
  if (options.eval.empty()) return;
  data::CorpusRules rules;
  rules.options = options.data;
  rules.any_bytes = true;
  rules.labels = true;
  rules.on_bad = [](const Error&) {};
  for (const data::CorpusFile& file : data::ReadCorpus({options.eval}, rules).files) {
    for (const std::string_view document : file.DocumentsOf(options.documents)) {
      stats->held_out_documents += 1;
      stats->held_out_in_training += seen.contains(io::ChecksumOf(document)) ? 1 : 0;
    }
  }
}

// Calls use(documents) for each file. What cannot be read is counted and ends nothing.
template <class Use>
void ReadDocuments(const DataStatsOptions& options, DataStats* stats, const Use& use) {
  const Documents kind = options.documents;
  const std::string& label = options.data.label_field;
  LabelCounter labels(label);
  data::CorpusRules rules;
  rules.options = options.data;
  if (label != options.data.text_field) {
    rules.fields = {{label, options.need_labels}};
    rules.on_row = [&](const data::Row& row, bool table) { labels.Add(row, table); };
  }
  rules.any_bytes = true;  // broken characters are counted, too
  rules.may_be_empty = true;
  rules.labels = true;
  rules.on_bad = [&](const Error& error) {
    if (stats->unreadable++ == 0) stats->first_unreadable = error.what();
  };
  const std::vector<std::string> names(options.files.begin(), options.files.end());
  data::InputFiles inputs(names, options.data);
  while (const std::optional<std::string> path = inputs.Next()) {
    const data::Corpus corpus = data::ReadCorpus({*path}, rules);
    stats->files += 1;
    stats->without_text += static_cast<idx_t>(corpus.empty);
    for (const data::CorpusFile& file : corpus.files) {
      const std::vector<std::string_view> documents = file.DocumentsOf(kind);
      idx_t bytes = 0;
      for (const std::string_view document : documents)
        bytes += static_cast<idx_t>(document.size());
      stats->bytes += bytes;
      // Between the rows of a table stands nothing that anybody has written.
      if (!file.has_rows()) stats->separators += static_cast<idx_t>(file.text().size()) - bytes;
      use(documents);
    }
  }
  stats->labels = labels.Finish();
  stats->notes = inputs.TakeNotes();
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
  ReadDocuments(options, &stats, use);
  Check(!byte_lengths.empty() || stats.first_unreadable.empty(), ErrorCode::kFormat, "{}",
        stats.first_unreadable);
  Check(!byte_lengths.empty(), ErrorCode::kFormat, "{}: no document in it{}",
        options.files.empty() ? "data" : io::EscapeName(options.files.front().string()),
        stats.notes.empty() ? "" : "; " + stats.notes.front());
  stats.documents = static_cast<idx_t>(byte_lengths.size());
  CompareHeldOut(options, seen, &stats);
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
