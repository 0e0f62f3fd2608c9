// Bytes to train on and bytes held out.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "longspan/types.h"
#include "text/mapped_file.h"

namespace longspan {

// Rows of a batch: ids and the bytes that follow each of them.
struct TextRows {
  std::vector<std::int32_t> ids, targets;  // (B, T)
};

class TextData {
 public:
  // The texts in `train`, joined; the held-out part is `eval`, or the last `held_out` fraction of
  // the last text. Throws kUsage when a part is shorter than tokens + 1 bytes. Texts of less than
  // copy_below bytes are copied, others mapped.
  TextData(const std::vector<std::filesystem::path>& train, const std::filesystem::path& eval,
           double held_out, idx_t tokens, std::uint64_t copy_below = text::MappedFile::kCopyBelow);

  idx_t train_bytes() const { return train_bytes_; }
  const std::vector<std::span<const std::uint8_t>>& train() const { return train_; }
  std::span<const std::uint8_t> held_out() const { return held_out_; }

  // Row `row` of update `step` starts at an offset that is a pure function of (key, step, row):
  // the data position of a run is its step. Rows may cross from one text into the next.
  void Sample(std::uint64_t key, idx_t step, idx_t first_row, idx_t rows, idx_t tokens,
              TextRows* out) const;

  // kFormat, kIo when a mapped text is no longer what was opened: call it before reading, for what
  // a text has lost cannot be read (SIGBUS). A copy outlives its file.
  void CheckUnchanged() const;

  // Changes when any byte of the texts does: a resumed run must see the same.
  std::string Fingerprint() const;

 private:
  void CopyBytes(idx_t position, std::span<std::uint8_t> out) const;

  std::vector<text::MappedFile> files_;
  std::vector<std::span<const std::uint8_t>> train_;
  std::span<const std::uint8_t> held_out_;
  idx_t train_bytes_ = 0;
};

// The last floor(size * fraction) bytes.
std::span<const std::uint8_t> HeldOutPart(std::span<const std::uint8_t> bytes, double fraction);

}  // namespace longspan
