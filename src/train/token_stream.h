// Texts as one stream of token ids, from which rows of any length are cut.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/corpus.h"
#include "data/scratch_file.h"
#include "longspan/context.h"
#include "longspan/tokenizer.h"

namespace longspan {

// A view of ids, two or four bytes each.
class TokenIds {
 public:
  TokenIds() = default;
  TokenIds(std::span<const std::int32_t> ids) : wide_(ids.data()), size_(ids.size()) {}
  TokenIds(const std::vector<std::int32_t>& ids) : TokenIds(std::span(ids)) {}
  explicit TokenIds(std::span<const std::uint16_t> ids) : narrow_(ids.data()), size_(ids.size()) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::int32_t operator[](std::size_t i) const {
    return narrow_ != nullptr ? narrow_[i] : wide_[i];
  }
  TokenIds subspan(std::size_t begin, std::size_t count) const;
  void AppendTo(std::vector<std::int32_t>* ids) const;
  std::vector<std::int32_t> ToVector() const;
  std::string Checksum() const;  // of the ids as four bytes each

 private:
  const std::uint16_t* narrow_ = nullptr;
  const std::int32_t* wide_ = nullptr;
  std::size_t size_ = 0;
};

class TokenStream {
 public:
  // Bytes of text that are turned into tokens at a time: pieces end with a line where there is one.
  // A token that would cross from one piece into the next is split there.
  static constexpr std::size_t kPieceBytes = 1 << 16;

  TokenStream() = default;
  // The ids of a training lie near its output, in a file that is mapped, if they are many
  // (data/scratch_file.h): two bytes each if the vocabulary has at most 65,536. `starts`: whether
  // starts() is wanted, eight bytes a document.
  explicit TokenStream(const std::filesystem::path& near, bool starts = true,
                       std::uint64_t in_memory = data::ScratchFile::kInMemory)
      : store_(near, in_memory), keeps_starts_(starts), starts_(near, in_memory) {}

  // Appends the ids of more documents, each followed by `end` if there is one. A few MB of text are
  // encoded at a time. kIo if there is no room for the ids, kCancelled.
  void Append(Context& context, const text::Tokenizer& tokenizer,
              std::span<const std::string_view> documents, std::optional<std::int32_t> end);
  // The same for the documents of a file.
  void Append(Context& context, const text::Tokenizer& tokenizer, const data::CorpusFile& file,
              Documents kind, std::optional<std::int32_t> end);
  // The same, with `separator` between two documents of the stream, if there is one, and the file
  // in the fingerprint.
  void Join(Context& context, const text::Tokenizer& tokenizer, const data::CorpusFile& file,
            Documents kind, std::optional<std::int32_t> separator);

  // Valid until the next Append.
  TokenIds ids() const;
  idx_t documents() const { return documents_; }
  // First index of each document in ids(). It ends where the next begins, with its separator.
  // Valid until the next Append.
  std::span<const idx_t> starts() const { return starts_.all(); }
  idx_t bytes() const { return bytes_; }  // of the documents
  // Changes when any byte of the joined files does.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  // Pieces that are encoded together.
  struct Piece {
    std::string_view text;
    bool begins = false, ends = false;  // a document
  };
  class Encoder;
  void Put(std::span<const std::int32_t> ids);

  mutable data::ScratchFile store_;
  bool keeps_starts_ = true, narrow_ = false;
  data::ScratchList<idx_t> starts_;
  idx_t documents_ = 0, bytes_ = 0, size_ = 0;
  std::string fingerprint_;
};

}  // namespace longspan
