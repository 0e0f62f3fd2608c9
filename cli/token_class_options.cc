#include "cli/token_class_options.h"

#include <algorithm>
#include <charconv>

#include "cli/check.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

// A number is a column of CoNLL's, anything else the name of a field.
void PutColumn(const char* option, const std::string& given, idx_t* column, std::string* field) {
  if (given.empty()) return;
  const char* const end = given.data() + given.size();
  const bool number =
      std::all_of(given.begin(), given.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number) {
    *field = given;
    return;
  }
  const auto [last, error] = std::from_chars(given.data(), end, *column);
  Check(error == std::errc() && last == end && *column >= 1 && *column <= 10000, ErrorCode::kUsage,
        "{}: {} is no column from 1 to 10000", option, io::Escape(given, 40));
}

}  // namespace

void TokenClassFields::PutInto(TokenClassOptions* task) const {
  PutColumn("--token-column", word_column, &task->word_column, &task->word_field);
  PutColumn("--tag-column", tag_column, &task->tag_column, &task->tag_field);
  if (!span_field.empty()) task->span_field = span_field;
  task->label_names = label_names;
}

void AddTokenClassFields(CLI::App* command, TokenClassFields* fields) {
  command
      ->add_option("--token-column", fields->word_column,
                   "Words: a field or CoNLL's column (default: tokens; 1)")
      ->type_name("NAME");
  command
      ->add_option("--tag-column", fields->tag_column,
                   "Tags: a field or CoNLL's column (default: tags; the last)")
      ->type_name("NAME");
  command
      ->add_option("--span-field", fields->span_field,
                   "Field of a text's entities: start, end, label (default: spans)")
      ->type_name("NAME");
  command
      ->add_option("--label-names", fields->label_names,
                   "Names of tags that are numbers, from 0: O,B-PER,I-PER")
      ->delimiter(',')
      ->type_name("NAMES");
}

}  // namespace longspan::cli
