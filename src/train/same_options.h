// Whether a run that goes on has the options that it began with, and how a message names one that
// differs.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace longspan {

// The saved option of this name as somebody types it at the program: "with --batch 4", "with
// --packed", "without --packed"; of updates that epochs gave "with --epochs 3 (12 updates)". One
// that is not saved has its default. What no option says is named in words: "with the labels
// bad,good". One line.
std::string OptionAsTyped(const nlohmann::json& options, const std::string& name);

// kUsage that names the first of the options (objects, as checkpoints save them) that differs, both
// values, and what to do. Another task goes first. Epochs may differ where the updates do not.
void CheckSameOptions(const nlohmann::json& saved, const nlohmann::json& now,
                      const std::set<std::string>& may_differ);

}  // namespace longspan
