// Lines that the program writes to stderr beside its results: for people, or with --json for a
// script, as one JSON object each.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace longspan::cli {

// What begins a line: nothing, "longspan: " or "warning: ". As JSON the first two are
// {"note": "..."} and the last one is {"warning": "..."}.
enum class LineKind { kPlain, kNote, kWarning };

// From now on lines are JSON, and nothing is drawn on stderr: no bars, no lines that change.
void WriteLinesAsJson();
bool LinesAreJson();

// A whole line with its line break. Text that is not UTF-8 gets U+FFFD in JSON.
std::string StderrLine(LineKind kind, std::string_view text);
// The object in a line.
std::string StderrObject(const nlohmann::ordered_json& object);

// Writes it.
void TellLine(std::string_view text, LineKind kind = LineKind::kPlain);
void TellNote(const std::string& note);  // kNote
void TellNotes(const std::vector<std::string>& notes);
void TellWarning(const std::string& warning);  // kWarning

}  // namespace longspan::cli
