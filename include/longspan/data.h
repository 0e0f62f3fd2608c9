// Options for reading texts and tables, the same for every command, training and evaluation.
// docs/reference/data.md has the rules.
#pragma once

#include <cstddef>
#include <string>

namespace longspan {

struct DataOptions {
  // The format of a file: "text", "csv", "tsv", "jsonl" or "json". "auto": as the ending of its
  // name says, and text for other endings.
  std::string format = "auto";
  // The encoding: "utf-8", or any name that iconv knows ("latin-1", "cp1252", "utf-16"). "bytes",
  // for models of bytes, keeps every byte of prose, byte-order mark and line breaks included.
  std::string encoding = "utf-8";
  // Columns of tables, fields of JSON.
  std::string text_field = "text", label_field = "label";
  std::string pair_field;      // the second of two texts; empty: none
  char label_separator = '|';  // between the names of a set of labels, in CSV and TSV
  // Largest size of a line, of a record of a table, or of a text that is asked about.
  std::size_t most_line_bytes = std::size_t{64} << 20;
  // True: rows that cannot be used are left out and counted. False: the first one is an error.
  bool skip_bad = false;
};

}  // namespace longspan
