// Where a command's result goes.
#pragma once

#include <filesystem>
#include <string_view>

namespace longspan::cli {

// Writes a whole picture or nothing; says on stderr which file it wrote. Throws kIo.
void WritePicture(const std::filesystem::path& file, std::string_view bytes);

// Writes to stdout and flushes. Throws kIo when stdout cannot take it (a full disk).
void PrintResult(std::string_view text);

}  // namespace longspan::cli
