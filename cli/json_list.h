// JSON documents that are written piece by piece, so that memory does not grow with them.
#pragma once

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

}  // namespace longspan::cli
