#include "cli/model_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "cli/visual/text.h"
#include "longspan/files.h"
#include "longspan/tensor.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

// "name          value".
std::string InfoLine(std::string_view name, const std::string& value) {
  return fmt::format("{:<13} {}\n", name, value);
}

// How many labels, and the names of the first: "3: lease, loan, other".
std::string LabelsText(const nlohmann::ordered_json& labels) {
  constexpr std::size_t kMost = 8;
  std::string text = fmt::format("{}", labels.size());
  for (std::size_t i = 0; i < std::min(labels.size(), kMost); ++i) {
    text += (i == 0 ? ": " : ", ") + Printable(labels[i].get<std::string>());
  }
  return text + (labels.size() > kMost ? ", ..." : "");
}

// A line for each of the "tensors".
std::string TensorLines(const nlohmann::ordered_json& j) {
  std::string text;
  if (!j.contains("tensors")) return text;
  for (const auto& t : j["tensors"]) {
    text += InfoLine("tensor", fmt::format("{} {} {}", t["name"].get<std::string>(),
                                           t["dtype"].get<std::string>(),
                                           ShapeText(t["shape"].get<std::vector<idx_t>>())));
  }
  return text;
}

// The family's lines, the labels, and what the parameters take.
std::string ModelText(const FolderInfo& shown, const ordered_json& j) {
  std::string text;
  for (const auto& [name, value] : shown.lines) text += InfoLine(name, value);
  if (j.contains("labels")) text += InfoLine("labels", LabelsText(j["labels"]));
  text +=
      InfoLine("parameters", fmt::format("{} ({:.1f} MB of weights)", j["parameters"].get<idx_t>(),
                                         j["weight_bytes"].get<double>() * 1e-6));
  return text + TensorLines(j);
}

std::string ContextLines(const nlohmann::ordered_json& j) {
  std::string text;
  if (j.contains("checkpoint")) {
    text +=
        InfoLine("checkpoint",
                 fmt::format("of step {}: a model like any other; its run goes on with --resume",
                             io::Escape(j["checkpoint"].get<std::string>())));
  }
  if (j.contains("run")) {
    text +=
        InfoLine("run", fmt::format("ended at step {} of {}; --resume with more --max-time goes "
                                    "on, if its time was over",
                                    j["run"]["step"].get<idx_t>(), j["run"]["steps"].get<idx_t>()));
  }
  if (j.contains("sentence_transformers")) {
    std::string modules = "sentence-transformers: made for vectors of texts";
    if (j.contains("sentence_tokens")) {
      modules += fmt::format(" of at most {} tokens", j["sentence_tokens"].get<idx_t>());
    }
    text += InfoLine("modules", modules);
  }
  if (j.contains("notes")) {
    for (const auto& note : j["notes"]) text += InfoLine("note", note.get<std::string>());
  }
  return text + InfoLine("next", j["next"].get<std::string>());
}

std::string OtherText(const nlohmann::ordered_json& j) {
  std::string text = InfoLine(j["kind"].get<std::string>(), j["what"].get<std::string>());
  if (j.contains("count")) {
    text += InfoLine("tensors", fmt::format("{} ({:.1f} MB)", j["count"].get<std::size_t>(),
                                            j["weight_bytes"].get<double>() * 1e-6));
    if (j.contains("family")) text += InfoLine("names of", j["family"].get<std::string>());
    for (const auto& head : j["heads"]) text += InfoLine("head", head.get<std::string>());
    text += TensorLines(j);
  }
  return text + InfoLine("next", j["next"].get<std::string>());
}

}  // namespace

std::string InfoText(const FolderInfo& info) {
  const ordered_json j = ordered_json::parse(info.json);
  return info.is_model ? ModelText(info, j) + ContextLines(j) : OtherText(j);
}

}  // namespace longspan::cli
