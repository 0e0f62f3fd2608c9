// Which files are meant by what people name: files, folders, standard input; and the texts in them.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/rows.h"

namespace longspan::data {

struct InputFile {
  std::string path;     // "-": standard input
  bool listed = false;  // found in a folder, not named by anybody
};

// Files as they stand; of a folder all regular files below it, in the order of their names, but
// hidden ones (.git, .DS_Store) and what editors and systems leave behind (a~, #a#, a.swp, a.bak,
// Thumbs.db). kIo for what does not exist, kUsage for a folder without a file, kLimit for one with
// too many.
std::vector<InputFile> ListFiles(const std::vector<std::string>& paths);

// Whether somebody's leftover has this file name.
bool IsLeftover(std::string_view name);

// Why a file that was found in a folder is none to read: it is empty, or binary (a NUL among its
// first bytes, as grep and git tell). Nothing for one to read. kIo.
std::optional<std::string> WhyPassedOver(const InputFile& file, const DataOptions& options);

// All texts that a command is asked about: of files, of folders, and those that were given as they
// stand, which may be empty. Files are read when their turn comes.
class Texts {
 public:
  // kUsage when there is nothing to read; errors of ListFiles.
  Texts(const std::vector<std::string>& paths, std::vector<std::string> given, RowRules rules);

  // A model of bytes takes any bytes of prose.
  void AllowAnyBytes() { rules_.any_bytes = true; }

  // The next row; one that cannot be used says why. A file that cannot be read as what it is (a
  // table without the column, damaged gzip) is one such row. kIo, kLimit.
  std::optional<Row> Next();
  // The next few, as many as are worth running together; none: that was all.
  std::vector<Row> NextChunk();
  // Files of folders that were passed over since the last call, and why: lines for people.
  std::vector<std::string> TakeNotes() { return std::exchange(notes_, {}); }

 private:
  bool Open();
  std::optional<Row> Given();

  RowRules rules_;
  std::deque<InputFile> files_;
  std::vector<std::string> given_, notes_;
  std::size_t next_given_ = 0;
  std::unique_ptr<RowReader> reader_;
};

}  // namespace longspan::data
