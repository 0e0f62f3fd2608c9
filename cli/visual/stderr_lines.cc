#include "cli/visual/stderr_lines.h"

#include <atomic>
#include <cstdio>
#include <tuple>

#include "cli/visual/json_text.h"

namespace longspan::cli {
namespace {

std::atomic<bool> lines_are_json = false;

}  // namespace

void WriteLinesAsJson() { lines_are_json = true; }
bool LinesAreJson() { return lines_are_json; }

std::string StderrObject(const nlohmann::ordered_json& object) { return JsonText(object) + "\n"; }

std::string StderrLine(LineKind kind, std::string_view text) {
  const bool warns = kind == LineKind::kWarning;
  if (lines_are_json) return StderrObject({{warns ? "warning" : "note", std::string(text)}});
  const char* const begin = warns ? "warning: " : kind == LineKind::kNote ? "longspan: " : "";
  return std::string(begin).append(text).append("\n");
}

void TellLine(std::string_view text, LineKind kind) {
  const std::string line = StderrLine(kind, text);
  std::ignore = std::fwrite(line.data(), 1, line.size(), stderr);  // nowhere to tell of a failure
}

void TellNote(const std::string& note) { TellLine(note, LineKind::kNote); }

void TellNotes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) TellNote(note);
}

void TellWarning(const std::string& warning) { TellLine(warning, LineKind::kWarning); }

}  // namespace longspan::cli
