// What a file is that is not what it should be, told by its first bytes.
#pragma once

#include <string>
#include <string_view>

namespace longspan::io {

// A kind of file that holds no text as it lies there.
struct KnownFile {
  std::string_view what;  // "a zip archive"
  std::string_view next;  // what to do: "unpack it first"; may be empty
};
// By the beginning of the file (512 bytes tell all); null: none that is known here.
const KnownFile* KnownFileOf(std::string_view start);

// Ends a message about a file that begins with `start` and is not what it should be; often empty.
// JSON readers (io/json_events.h) and readers of weights add it, so every reader has it.
std::string FileHint(std::string_view start);

// The encoding, as --encoding names it, of a text of two bytes a character; empty: it is none.
std::string_view WideEncodingOf(std::string_view start);

}  // namespace longspan::io
