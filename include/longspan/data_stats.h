// Statistics of files of texts: documents, lengths, duplicates, labels, and broken text.
#pragma once

#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/data.h"
#include "longspan/head_training.h"
#include "longspan/tokenizer.h"

#pragma GCC visibility push(default)
namespace longspan {

// How often a label occurs.
struct LabelCount {
  std::string label;  // its name, as in the data
  idx_t rows = 0;     // that have it
};

// Labels that are numbers, some of them no integers: what --problem regression learns.
struct LabelNumbers {
  double lowest = std::numeric_limits<double>::infinity();    // of all labels
  double highest = -std::numeric_limits<double>::infinity();  // of all labels
  double mean = 0.0;                                          // of all labels
};

// The labels of a table.
struct LabelStats {
  idx_t rows = 0;              // with a label, the empty set among them
  idx_t without = 0;           // rows of tables and JSON that have a text and no label
  idx_t unusable = 0;          // rows whose label cannot be read
  std::string first_unusable;  // where the first of these stands and what it is
  bool sets = false;           // some label is a list
  // The most frequent first; of one frequency in the order of their names. Empty for numbers.
  std::vector<LabelCount> counts;
  std::optional<LabelNumbers> numbers;
};

// What is counted, and how.
struct DataStatsOptions {
  std::vector<std::filesystem::path> files;  // and folders
  // Where a document of a plain text ends: "file", "blank-line", "line"; the default is that of the
  // trainings. Each row of a table or of JSON is one.
  Documents documents = Documents::kFile;
  DataOptions data;                            // how the files are read
  bool need_labels = false;                    // a table without data.label_field cannot be read
  const text::Tokenizer* tokenizer = nullptr;  // null: no tokens are counted
  std::vector<idx_t> lengths;                  // rows that documents would be cut or padded to
  std::filesystem::path eval;                  // held-out documents; empty: none are read
};

// The number of documents in [low, high], and their bytes or tokens together.
struct LengthBin {
  idx_t low = 0, high = 0;  // lengths from `low` to below `high`
  idx_t documents = 0;      // of these lengths
  idx_t total = 0;          // the sum of their lengths
};

// Lengths of all documents, in bytes or tokens.
struct LengthStats {
  idx_t total = 0, shortest = 0, longest = 0;  // their sum, and the extremes
  double mean = 0.0;                           // of a document
  // The smallest length that so many hundredths of the documents do not exceed.
  struct Percentile {
    int share = 0;     // in percent
    idx_t length = 0;  // that this share of the documents does not exceed
  };
  std::vector<Percentile> percentiles;  // 1, 5, 25, 50, 75, 95, 99
  std::vector<LengthBin> bins;          // powers of two: [1, 1], [2, 3], [4, 7], ...
};

// What rows of `length` tokens (bytes, without a tokenizer) would do to the documents, the special
// tokens around them counted.
struct CutStats {
  idx_t length = 0;             // tokens of a row
  idx_t cut_documents = 0;      // longer ones
  idx_t cut_tokens = 0;         // what they lose
  double padding = 0.0;         // share of all places, each document padded to `length`
  double packed_padding = 0.0;  // whole documents packed side by side
};

// What stands in files of texts.
struct DataStats {
  idx_t files = 0, documents = 0;  // how many
  idx_t bytes = 0;                 // of the documents
  idx_t separators = 0;       // bytes of prose that belong to no document: line breaks, blank lines
  idx_t characters = 0;       // Unicode code points
  idx_t duplicates = 0;       // documents that stand before them, byte for byte
  idx_t duplicate_bytes = 0;  // of documents that stood earlier too
  idx_t invalid_documents = 0;               // with bytes that are no UTF-8
  idx_t invalid_pieces = 0;                  // of which each becomes U+FFFD
  idx_t without_text = 0;                    // rows whose text is empty or blank
  idx_t unreadable = 0;                      // damaged rows and files, rows without the field
  std::string first_unreadable;              // where the first one stands and what it is
  LengthStats byte_lengths;                  // of documents, in bytes
  std::optional<LengthStats> token_lengths;  // in tokens, with a tokenizer
  idx_t unknown_tokens = 0;                  // of the tokenizer's unk
  std::optional<LabelStats> labels;          // none: no row has data.label_field
  std::vector<CutStats> cuts;                // what rows of some lengths would cut off
  idx_t held_out_documents = 0;              // of DataStatsOptions::eval
  idx_t held_out_in_training = 0;            // those of them that are in the files, byte for byte
  std::vector<std::string> notes;            // about files that were passed over: lines for people
};

// Reads all files. The same for any number of threads. kUsage for lengths below 1, kFormat without
// a document; kIo, kFormat for files that cannot be read at all.
DataStats CollectDataStats(Context& context, const DataStatsOptions& options);

// ---- rows of a training -------------------------------------------------------------------------

// The training whose rows are counted, as its own reader reads them.
enum class DataTask { kClassify, kTokenClassify, kAnswers, kChoices, kEmbed, kRerank };
// "classify", "token-classify", "qa", "multiple-choice", "embed" or "rerank"; kUsage otherwise.
DataTask ParseDataTask(std::string_view name);
const char* DataTaskName(DataTask task);

// What is counted, and how.
struct RowStatsOptions {
  DataTask task = DataTask::kClassify;           // whose rows
  std::vector<std::filesystem::path> files;      // and folders: the training's rows
  std::filesystem::path eval;                    // held-out rows; empty: none are counted
  DataOptions data;                              // how the files are read
  ProblemType problem = ProblemType::kInferred;  // of kClassify: what labels are
  TokenClassOptions words;                       // of kTokenClassify: where words and tags are
  PairColumns pairs;                             // of kEmbed
  JudgedColumns judged;                          // of kRerank
  const text::Tokenizer* tokenizer = nullptr;    // null: lengths are bytes
  std::vector<idx_t> lengths;  // rows that may be too short: how many texts are longer
};

// A number with its name: "questions without an answer".
struct NamedNumber {
  std::string name;    // what is counted or measured
  double value = 0.0;  // a count, or a mean
};

// How often names occur: labels, tags, types of entities.
struct NameCounts {
  std::string what;                // "labels", "tags", "types of entities", "right choices"
  std::string of;                  // what has them: "rows", "words", "questions"
  std::vector<LabelCount> counts;  // the most frequent first
};

// Lengths of rows, or places in them, in tokens (bytes, without a tokenizer).
struct RowLengths {
  std::string what;           // "rows", "texts", "pairs", "answers begin at"
  LengthStats lengths;        // of all of them
  std::vector<idx_t> longer;  // how many are longer than each of RowStatsOptions::lengths
};

// Rows of a training, or those that are held out.
struct RowPartStats {
  idx_t rows = 0;                     // that can be used
  idx_t bad = 0;                      // that a training would stop at
  std::vector<std::string> bad_rows;  // the first ten: place and reason
  idx_t duplicates = 0;               // rows whose texts an earlier row of this part has
  idx_t contradictions = 0;           // those of them with another label, answer or score
  idx_t in_training = 0;              // of held-out rows: those whose texts a training row has
  std::vector<NamedNumber> numbers;   // what else is there to count, by the task
  std::vector<NameCounts> names;      // by the task
  // Of kClassify: labels that differ from an earlier one only by blanks around them or by case, a
  // line for each, with both places. A training from a model without these labels stops at them.
  std::vector<std::string> label_twins;
  std::vector<RowLengths> lengths;  // by the task; none of the rows' may be missing
};

// What the rows of a training are.
struct RowStats {
  RowPartStats train;                    // of RowStatsOptions::files
  std::optional<RowPartStats> held_out;  // of RowStatsOptions::eval
  std::vector<std::string> notes;        // about files that were passed over: lines for people
};

// Reads all rows, and counts those that cannot be used instead of stopping at them. The same for
// any number of threads. A row's length is that of the model's row before it is cut or read in
// windows, special tokens included, prompts not. kUsage for lengths below 1 and for files that the
// training does not read, kFormat if no row can be used; kIo.
RowStats CollectRowStats(Context& context, const RowStatsOptions& options);

}  // namespace longspan
#pragma GCC visibility pop
