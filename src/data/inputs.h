// Which files are meant by what people name: files, folders, standard input; and the texts in them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/rows.h"

namespace longspan::data {

struct InputFile {
  std::string path;        // "-": standard input
  bool listed = false;     // found in a folder, not named by anybody
  std::string unfit = {};  // why what was found is no file to read: "a FIFO"; empty: it may be one
  std::string label = {};  // the name of the sub-folder it lies in, where that is its label
};

// Files as they stand; of a folder all that lies below it, in the order of the names, but hidden
// files (.git, .DS_Store) and what editors and systems leave behind (a~, #a#, a.swp, a.bak,
// Thumbs.db). What is no regular file, such as a link to nowhere, is named with the reason. kIo for
// what does not exist, kFormat for a folder without a file, kLimit for one with too many.
// `hint` ends the message about a path that does not exist.
std::vector<InputFile> ListFiles(const std::vector<std::string>& paths,
                                 const std::string& hint = {});

// Whether somebody's leftover has this file name.
bool IsLeftover(std::string_view name);

// The files to read, one by one. Of those that were found in folders some are passed over: empty
// ones, binary ones (a NUL among the first bytes, as grep and git tell), what cannot be opened and
// what is no file.
class InputFiles {
 public:
  // Errors of ListFiles and CheckDataOptions. `labels`: a folder whose sub-folders hold texts names
  // their labels; kFormat, with what to do, for one that does so by half.
  InputFiles(const std::vector<std::string>& paths, const DataOptions& options,
             const std::string& hint = {}, bool labels = false);

  // The next one; nothing: that was all. kIo.
  std::optional<InputFile> NextFile();
  // Its path.
  std::optional<std::string> Next();
  // What was passed over since the last call, and why: lines for people.
  std::vector<std::string> TakeNotes() { return std::exchange(notes_, {}); }

 private:
  std::deque<InputFile> files_;
  DataOptions options_;
  std::vector<std::string> notes_;
};

// All texts that a command is asked about: of files, of folders, and those that were given as they
// stand, which may be empty. Files are read when their turn comes.
class Texts {
 public:
  // kUsage when there is nothing to read; errors of ListFiles.
  Texts(const std::vector<std::string>& paths, std::vector<std::string> given, RowRules rules);

  // A model of bytes takes any bytes of prose.
  void AllowAnyBytes() { rules_.any_bytes = true; }

  // The next row; one that cannot be used says why. A file that cannot be read as what it is (a
  // table without the column, damaged gzip) is one such row. kFormat where all files together hold
  // no row; kIo, kLimit.
  std::optional<Row> Next();
  // The next few, as many as are worth running together; none: that was all.
  std::vector<Row> NextChunk();
  // Gives each row to one of the two, as TakeRow does; `tell` gets the notes, before the rows that
  // follow them.
  void ForEach(const UseRow& use, const RefuseRow& refuse,
               const std::function<void(const std::string&)>& tell);
  std::vector<std::string> TakeNotes() { return files_.TakeNotes(); }  // as of InputFiles

 private:
  std::optional<Row> Given();
  // At the end of all: kFormat if there was nothing, and no text is `given` either.
  void CheckSomeText(bool given);

  RowRules rules_;
  InputFiles files_;
  std::string first_;  // path, to name where nothing was found
  bool any_ = false;   // row so far, refused or not
  std::vector<std::string> given_;
  std::size_t next_given_ = 0;
  std::unique_ptr<RowReader> reader_;
};

}  // namespace longspan::data
