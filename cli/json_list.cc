#include "cli/json_list.h"

#include <utility>

#include "cli/visual/json_text.h"
#include "cli/visual/output.h"

namespace longspan::cli {

std::string JsonListHead(const nlohmann::ordered_json& head, std::string_view list, int indent) {
  std::string text = head.empty() ? "{" : JsonText(head, indent);
  if (!head.empty()) {
    text.resize(text.size() - 2);  // "\n}"
    text += ',';
  }
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  return text + "\n" + margin + JsonText(nlohmann::ordered_json(list)) + ": [";
}

std::string JsonListEnd(bool any, const nlohmann::ordered_json& members, int indent) {
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  std::string text = any ? "\n" + margin + "]" : "]";
  for (const auto& [name, value] : members.items()) {
    text += ",\n" + margin + JsonText(nlohmann::ordered_json(name)) + ": ";
    text += IndentedJson(value, margin.size()).substr(margin.size());
  }
  return text + "\n}\n";
}

std::string IndentedJson(const nlohmann::ordered_json& value, std::size_t columns) {
  const std::string margin(columns, ' ');
  std::string text = margin;
  for (const char c : JsonText(value, 2)) text += c == '\n' ? "\n" + margin : std::string(1, c);
  return text;
}

JsonResults::JsonResults(std::function<void(std::string_view)> print) : print_(std::move(print)) {
  if (!print_) print_ = PrintResult;
}

void JsonResults::Add(const nlohmann::ordered_json& head, const nlohmann::ordered_json& result) {
  if (!any_) print_(JsonListHead(head, "results"));
  print_(std::string(any_ ? "," : "") + "\n" + IndentedJson(result, 4));
  any_ = true;
}

void JsonResults::Finish(const nlohmann::ordered_json& head,
                         const nlohmann::ordered_json& members) {
  if (!any_) print_(JsonListHead(head, "results"));
  print_(JsonListEnd(any_, members));
}

}  // namespace longspan::cli
