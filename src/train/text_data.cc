#include "train/text_data.h"

#include <algorithm>

#include "base/errors.h"
#include "base/rng.h"
#include "io/escape.h"
#include "text/bytes_tokenizer.h"

namespace longspan {

std::span<const std::uint8_t> HeldOutPart(std::span<const std::uint8_t> bytes, double fraction) {
  const auto count = static_cast<std::size_t>(static_cast<double>(bytes.size()) * fraction);
  return bytes.last(std::min(count, bytes.size()));
}

TextData::TextData(const std::vector<std::filesystem::path>& train,
                   const std::filesystem::path& eval, double held_out, idx_t tokens,
                   std::uint64_t copy_below) {
  Check(!train.empty(), ErrorCode::kUsage, "train: no training text given");
  files_.reserve(train.size() + 1);
  for (const auto& path : train) {
    files_.push_back(text::MappedFile::Open(path, copy_below));
    train_.push_back(files_.back().bytes());
  }
  if (eval.empty()) {
    held_out_ = HeldOutPart(train_.back(), held_out);
    train_.back() = train_.back().first(train_.back().size() - held_out_.size());
  } else {
    files_.push_back(text::MappedFile::Open(eval, copy_below));
    held_out_ = files_.back().bytes();
  }
  for (const auto& part : train_) train_bytes_ += static_cast<idx_t>(part.size());
  Check(train_bytes_ > tokens, ErrorCode::kUsage,
        "train: the text has {} bytes to train on, rows of {} tokens need {}", train_bytes_, tokens,
        tokens + 1);
  Check(held_out_.size() >= 2, ErrorCode::kUsage,
        "train: the held-out part has {} bytes, need at least 2; raise --held-out or give --eval",
        held_out_.size());
}

void TextData::CopyBytes(idx_t position, std::span<std::uint8_t> out) const {
  for (const auto& part : train_) {
    const auto size = static_cast<idx_t>(part.size());
    if (position >= size) {
      position -= size;
      continue;
    }
    const std::size_t count = std::min(out.size(), static_cast<std::size_t>(size - position));
    std::copy_n(part.begin() + position, count, out.begin());
    out = out.subspan(count);
    position = 0;
    if (out.empty()) return;
  }
}

void TextData::Sample(std::uint64_t key, idx_t step, idx_t first_row, idx_t rows, idx_t tokens,
                      TextRows* out) const {
  const auto count = static_cast<std::size_t>(rows * tokens);
  out->ids.resize(count);
  out->targets.resize(count);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(tokens + 1));
  std::vector<std::int32_t> ids(bytes.size());
  for (idx_t row = 0; row < rows; ++row) {
    Rng rng(DeriveKey(key, static_cast<std::uint64_t>(step)),
            static_cast<std::uint64_t>(first_row + row));
    CopyBytes(rng.Below(train_bytes_ - tokens), bytes);
    text::BytesTokenizer::EncodeInto(bytes, ids);
    std::copy(ids.begin(), ids.end() - 1, out->ids.begin() + row * tokens);
    std::copy(ids.begin() + 1, ids.end(), out->targets.begin() + row * tokens);
  }
}

void TextData::CheckUnchanged() const {
  for (const auto& file : files_) {
    if (file.mapped()) file.CheckUnchanged();
  }
}

std::string TextData::Fingerprint() const {
  std::string joined;
  for (const auto& file : files_) joined += (joined.empty() ? "" : " ") + file.Fingerprint();
  return joined + " held out " + std::to_string(held_out_.size());
}

}  // namespace longspan
