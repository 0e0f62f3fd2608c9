// How `train token-classify` and `eval` read tagged words: in one meaning in both.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "longspan/head_training.h"

namespace longspan::cli {

struct TokenClassFields {
  std::string word_column, tag_column, span_field;  // empty: the defaults
  std::vector<std::string> label_names;

  // Puts them where the library reads them. A column is a number, a field is a name. kUsage.
  void PutInto(TokenClassOptions* task) const;
};

// Registers --token-column, --tag-column, --span-field and --label-names.
void AddTokenClassFields(CLI::App* command, TokenClassFields* fields);

}  // namespace longspan::cli
