// A file's text, a chunk at a time: unpacked, in UTF-8, without a byte-order mark, with one kind of
// line break.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "data/bytes.h"
#include "data/encoding.h"

namespace longspan::data {

// What becomes of CR LF and of a CR alone, where the text is not taken byte for byte.
enum class LineBreaks {
  kAll,    // both are line breaks and become LF
  kTable,  // CR LF becomes LF; a CR alone stays, and the table's reader refuses it
  kKeep,   // both stay, and so does a byte-order mark
};

// Parsers look at rest(), ask for More() where it does not reach, and Take() what they are done
// with. Memory: what was not taken yet, and a chunk.
class TextStream {
 public:
  // `source` is what messages call the file. `encoding` as EncodingName gives it; text that begins
  // with a byte-order mark of UTF-16 or UTF-32 is read as that where UTF-8 is expected. UTF-8
  // itself is not checked here: only what somebody uses has to be right.
  TextStream(std::unique_ptr<ByteStream> bytes, std::string source, std::string encoding,
             LineBreaks breaks);

  const std::string& source() const { return source_; }
  std::string_view rest() const { return std::string_view(buffer_).substr(at_); }
  // Reads on behind rest(), which moves. False: there is no more.
  bool More();
  // Drops bytes from the front and counts their line breaks.
  void Take(std::size_t bytes);
  // The line in which rest() begins, from 1.
  std::size_t line() const { return line_; }
  // The first bytes as they stand in the file, unpacked; once More() was called.
  std::string_view start() const { return start_; }
  // Bytes of the mark that stood before the text.
  std::size_t mark_bytes() const { return mark_bytes_; }

 private:
  void Begin();
  void Append(std::string_view piece, bool end);
  std::size_t ReadChunk();

  std::unique_ptr<ByteStream> bytes_;
  std::string source_, encoding_;
  LineBreaks breaks_;
  std::unique_ptr<Decoder> decoder_;
  std::string start_, chunk_, decoded_, buffer_;
  std::size_t at_ = 0, line_ = 1, mark_bytes_ = 0;
  bool begun_ = false, ended_ = false, held_cr_ = false, mark_may_come_ = false;
};

// LF in place of CR LF and CR; appended to `out`.
void AppendWithLineFeeds(std::string_view text, std::string* out);

}  // namespace longspan::data
