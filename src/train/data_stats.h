// Statistics of a file of texts: documents, lengths, duplicates, and broken text.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/data.h"
#include "text/tokenizer.h"
#include "train/label_stats.h"

namespace longspan {

struct DataStatsOptions {
  std::vector<std::filesystem::path> files;  // and folders
  // Where a document of a plain text ends: "file", "blank-line", "line"; the default is that of the
  // trainings. Each row of a table or of JSON is one.
  std::string documents = "file";
  DataOptions data;                            // how the files are read
  bool need_labels = false;                    // a table without data.label_field cannot be read
  const text::Tokenizer* tokenizer = nullptr;  // null: no tokens are counted
  std::vector<idx_t> lengths;                  // rows that documents would be cut or padded to
};

// The number of documents in [low, high], and their bytes or tokens together.
struct LengthBin {
  idx_t low = 0, high = 0, documents = 0, total = 0;
};

// Lengths of all documents, in bytes or tokens.
struct LengthStats {
  idx_t total = 0, shortest = 0, longest = 0;
  double mean = 0.0;
  // The smallest length that so many hundredths of the documents do not exceed.
  struct Percentile {
    int share = 0;
    idx_t length = 0;
  };
  std::vector<Percentile> percentiles;  // 1, 5, 25, 50, 75, 95, 99
  std::vector<LengthBin> bins;          // powers of two: [1, 1], [2, 3], [4, 7], ...
};

// What rows of `length` tokens (bytes, without a tokenizer) would do to the documents, the special
// tokens around them counted.
struct CutStats {
  idx_t length = 0;
  idx_t cut_documents = 0;      // longer ones
  idx_t cut_tokens = 0;         // what they lose
  double padding = 0.0;         // share of all places, each document padded to `length`
  double packed_padding = 0.0;  // whole documents packed side by side
};

struct DataStats {
  idx_t files = 0, documents = 0;
  idx_t bytes = 0;       // of the documents
  idx_t separators = 0;  // bytes of prose that belong to no document: line breaks, blank lines
  idx_t characters = 0;
  idx_t duplicates = 0;  // documents that stand before them, byte for byte
  idx_t duplicate_bytes = 0;
  idx_t invalid_documents = 0;   // with bytes that are no UTF-8
  idx_t invalid_pieces = 0;      // of which each becomes U+FFFD
  idx_t without_text = 0;        // rows whose text is empty or blank
  idx_t unreadable = 0;          // damaged rows and files, rows without the field
  std::string first_unreadable;  // where the first one stands and what it is
  LengthStats byte_lengths;
  std::optional<LengthStats> token_lengths;
  idx_t unknown_tokens = 0;          // of the tokenizer's unk
  std::optional<LabelStats> labels;  // none: no row has data.label_field
  std::vector<CutStats> cuts;
  std::vector<std::string> notes;  // about files that were passed over: lines for people
};

// Reads all files. The same for any number of threads. kUsage for lengths below 1, kFormat without
// a document; kIo, kFormat for files that cannot be read at all.
DataStats CollectDataStats(Context& context, const DataStatsOptions& options);

}  // namespace longspan
