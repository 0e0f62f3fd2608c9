// Texts to train on and texts held out.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "longspan/types.h"

namespace longspan {

// Rows of a batch: ids and the bytes that follow each of them.
struct TextRows {
  std::vector<std::int32_t> ids, targets;  // (B, T)
};

// What the texts to train on and the held-out ones are together.
struct TextParts {
  idx_t train_bytes = 0, held_out_bytes = 0;
  std::string fingerprint;         // changes when any byte of the texts does
  std::vector<std::string> notes;  // lines for people about what was left out
};
// Reads the texts in `train` and those held out, and gives each to `use` as soon as it is known
// which part it belongs to, so that two of them are in memory at a time. What is held out is
// `eval`, or the last `held_out` fraction of the last text. Throws kUsage when a part is shorter
// than tokens + 1 bytes; errors of ReadCorpus. Without `digest` the fingerprint is empty: it reads
// all bytes once more.
using UseText = std::function<void(data::CorpusFile file, bool held_out)>;
TextParts ReadTextParts(const std::vector<std::filesystem::path>& train,
                        const std::filesystem::path& eval, double held_out, idx_t tokens,
                        const data::CorpusRules& rules, bool digest, const UseText& use);

class TextData {
 public:
  // All texts, as ReadTextParts reads them; errors are its.
  TextData(const std::vector<std::filesystem::path>& train, const std::filesystem::path& eval,
           double held_out, idx_t tokens, const data::CorpusRules& rules);

  idx_t train_bytes() const { return parts_.train_bytes; }
  const std::vector<data::CorpusFile>& train() const { return train_; }
  const std::vector<data::CorpusFile>& held_out() const { return held_out_; }
  // All held-out texts, one after another.
  std::span<const std::uint8_t> held_out_bytes() const;

  // Row `row` of update `step` starts at an offset that is a pure function of (key, step, row):
  // the data position of a run is its step. Rows may cross from one text into the next.
  void Sample(std::uint64_t key, idx_t step, idx_t first_row, idx_t rows, idx_t tokens,
              TextRows* out) const;

  // The row's first byte or token in the joined training texts.
  idx_t RowBegin(std::uint64_t key, idx_t step, idx_t row, idx_t tokens) const;
  // "bytes 512 to 1024 of book.txt": `tokens` bytes from `begin` on.
  std::string WhereIs(idx_t begin, idx_t tokens) const;

  // kFormat, kIo when a mapped text is no longer what was opened: call it before reading, for what
  // a text has lost cannot be read (SIGBUS). A copy outlives its file.
  void CheckUnchanged() const;

  // Changes when any byte of the texts does: a resumed run must see the same.
  std::string Fingerprint() const;
  // Lines for people about what was left out.
  const std::vector<std::string>& notes() const { return parts_.notes; }

 private:
  void CopyBytes(idx_t position, std::span<std::uint8_t> out) const;

  std::vector<data::CorpusFile> train_, held_out_;
  std::string joined_;  // of several held-out texts
  TextParts parts_;     // without a fingerprint
  bool own_eval_ = false;
};

// Size of the last part: floor(size * share).
idx_t LastPart(idx_t size, double share);
// kUsage unless such a share of a text to be evaluated is above 0 and at most 1.
void CheckEvaluatedShare(double share);
// The last floor(size * share) bytes.
std::span<const std::uint8_t> HeldOutPart(std::span<const std::uint8_t> bytes, double share);

std::span<const std::uint8_t> BytesOf(std::string_view text);

// The end of a text, or of all texts of a folder one after another. Must not be moved: `text`
// points into the other members.
struct LastText {
  // `share` of it, above 0 and at most 1. kUsage; errors of ReadCorpus.
  LastText(const std::filesystem::path& path, const DataOptions& options, bool of_bytes,
           double share);
  LastText(const LastText&) = delete;
  LastText& operator=(const LastText&) = delete;

  std::span<const std::uint8_t> bytes() const { return BytesOf(text); }

  data::Corpus corpus;
  std::string joined;
  std::string_view all, text;  // text: the end of all
};

// Options for reading texts with this tokenizer. Of a training `near` is its output: what of its
// texts is too large for memory lies in a file there.
data::CorpusRules CorpusRulesFor(const DataOptions& options, bool of_bytes,
                                 const std::filesystem::path& near = {});

}  // namespace longspan
