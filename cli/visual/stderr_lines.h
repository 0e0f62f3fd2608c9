// Lines that the program writes to stderr beside its results: for people, or with --json for a
// script, as one JSON object each.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/error.h"

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
// The line of an error with --json:
// {"error": {"code": 3, "kind": "bad_data", "message": "..."}}. kinds: usage, bad_data, io, limit,
// numeric, locked, peer, cancelled.
std::string ErrorObject(ErrorCode code, std::string_view message);

// Writes it.
void TellLine(std::string_view text, LineKind kind = LineKind::kPlain);
void TellNote(const std::string& note);  // kNote
void TellNotes(const std::vector<std::string>& notes);
void TellWarning(const std::string& warning);  // kWarning
// With --json ErrorObject, for a command that ends with this status although it has printed its
// results. Without: nothing, because lines have told why.
void TellErrorObject(ErrorCode code, std::string_view message);

}  // namespace longspan::cli
