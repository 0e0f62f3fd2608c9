// Files of rows (tables, JSON) that a training or an evaluation reads as a whole.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/rows.h"
#include "io/checksum.h"

namespace longspan {

// Reads all rows of files and folders by `rules` and gives them to `add`, with whether the row is a
// table's, whose fields are text. A row that the reader or `add` refuses (kFormat) ends it, or is
// left out and counted in `notes` with rules.options.skip_bad. The error of such a row also says
// which statistics name them all: those of `task` (ParseDataTask). `what` names the rows in
// messages: "texts with labels". Prose is kUsage, unless the rules read it as columns. kFormat
// where no row is left; kIo. Returns the first path, escaped.
std::string ReadRowFiles(const std::vector<std::filesystem::path>& files,
                         const data::RowRules& rules, const char* what, const char* task,
                         const std::function<void(const data::Row& row, bool table)>& add,
                         std::vector<std::string>* notes);

// What a resumed run must find again of its data.
class RowDigest {
 public:
  void Add(std::string_view part);
  std::string Fingerprint() const;

 private:
  io::Checksum checksum_;
  std::uint64_t read_ = 0;  // bytes
};

// The field "id" of a row as JSON text; empty: it has none, or the rules do not read it.
std::string IdOf(const data::Row& row);
// Lets the rules read that field, unless it is read as something else.
void WantId(data::RowRules* rules);

}  // namespace longspan
