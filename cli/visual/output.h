// Where a command's result goes.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace longspan::cli {

// Writes a whole picture or nothing; says on stderr which file it wrote. Throws kIo.
void WritePicture(const std::filesystem::path& file, std::string_view bytes);

// kUsage when a file to write is one of those that are read ("-": what standard input comes from):
// reading would not see what was there, or the writing would destroy it.
void CheckIsNoInput(const std::filesystem::path& output, std::span<const std::string> inputs);

// Writes to stdout and flushes. Throws kIo when stdout cannot take it (a full disk).
void PrintResult(std::string_view text);

// The same at the end of a run whose result is on the disk: a reader that went away is no error.
void PrintResultIfRead(std::string_view text);

}  // namespace longspan::cli
