// How files of texts and tables are read: one rule for every command, training and evaluation.
// docs/reference/data.md tells it in full.
#pragma once

#include <cstddef>
#include <string>

namespace longspan {

struct DataOptions {
  // What a file holds: "text", "csv", "tsv", "jsonl", "json"; "auto": as its ending says, and text
  // where the ending is another.
  std::string format = "auto";
  // Of the bytes: "utf-8", or any name that iconv knows ("latin-1", "cp1252", "utf-16"). "bytes":
  // prose as it stands, with its byte-order mark and line breaks; for models of bytes.
  std::string encoding = "utf-8";
  // Columns of tables, fields of JSON.
  std::string text_field = "text", label_field = "label";
  std::string pair_field;      // the second of two texts; empty: none
  char label_separator = '|';  // between the names of a set of labels, in CSV and TSV
  // Of one line, one record of a table or one text that is asked about.
  std::size_t most_line_bytes = std::size_t{64} << 20;
  // Rows that cannot be used are left out and counted, instead of ending what reads them.
  bool skip_bad = false;
};

}  // namespace longspan
