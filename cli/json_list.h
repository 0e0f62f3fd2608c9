// JSON documents that are written piece by piece, so that memory does not grow with them.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace longspan::cli {

// The members of `head`, and behind them a list that is left open: "{...,\n  \"results\": [".
std::string JsonListHead(const nlohmann::ordered_json& head, std::string_view list, int indent = 2);

// Closes that list, which has items if `any`, and adds `members` behind it.
std::string JsonListEnd(bool any, const nlohmann::ordered_json& members, int indent = 2);

// A value that stands in a document `columns` to the right, without a line break at its end.
std::string IndentedJson(const nlohmann::ordered_json& value, std::size_t columns);

// The document of --json that a command prints as its results come: members, then the list
// "results". `head` is the same in all calls.
class JsonResults {
 public:
  // `print` takes the next piece of the document; absent: it goes to stdout.
  explicit JsonResults(std::function<void(std::string_view)> print = {});
  void Add(const nlohmann::ordered_json& head, const nlohmann::ordered_json& result);
  // Closes the list, which may be empty; `members` stand behind it.
  void Finish(const nlohmann::ordered_json& head, const nlohmann::ordered_json& members);

 private:
  std::function<void(std::string_view)> print_;
  bool any_ = false;
};

}  // namespace longspan::cli
