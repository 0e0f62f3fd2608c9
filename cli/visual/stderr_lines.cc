#include "cli/visual/stderr_lines.h"

#include <atomic>
#include <cstdio>
#include <tuple>

#include "cli/visual/json_text.h"

namespace longspan::cli {
namespace {

std::atomic<bool> lines_are_json = false;

const char* KindName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return "usage";
    case ErrorCode::kFormat:
      return "bad_data";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kLimit:
      return "limit";
    case ErrorCode::kNumeric:
      return "numeric";
    case ErrorCode::kLocked:
      return "locked";
    case ErrorCode::kPeer:
      return "peer";
    case ErrorCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace

void WriteLinesAsJson() { lines_are_json = true; }
bool LinesAreJson() { return lines_are_json; }

std::string StderrObject(const nlohmann::ordered_json& object) { return JsonText(object) + "\n"; }

std::string ErrorObject(ErrorCode code, std::string_view message) {
  const nlohmann::ordered_json error = {{"code", static_cast<int>(code)},
                                        {"kind", KindName(code)},
                                        {"message", std::string(message)}};
  return StderrObject({{"error", error}});
}

std::string StderrLine(LineKind kind, std::string_view text) {
  const bool warns = kind == LineKind::kWarning;
  if (lines_are_json) return StderrObject({{warns ? "warning" : "note", std::string(text)}});
  const char* const begin = warns ? "warning: " : kind == LineKind::kNote ? "longspan: " : "";
  return std::string(begin).append(text).append("\n");
}

namespace {

void Write(const std::string& line) {
  std::ignore = std::fwrite(line.data(), 1, line.size(), stderr);  // nowhere to tell of a failure
}

}  // namespace

void TellLine(std::string_view text, LineKind kind) { Write(StderrLine(kind, text)); }

void TellNote(const std::string& note) { TellLine(note, LineKind::kNote); }

void TellNotes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) TellNote(note);
}

void TellWarning(const std::string& warning) { TellLine(warning, LineKind::kWarning); }

void TellErrorObject(ErrorCode code, std::string_view message) {
  if (lines_are_json) Write(ErrorObject(code, message));
}

}  // namespace longspan::cli
