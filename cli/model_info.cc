#include "cli/model_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "model/longformer_files.h"

namespace longspan::cli {
namespace {

nlohmann::ordered_json LongformerJson(const std::string& directory, bool tensors) {
  const LongformerConfig c = LongformerConfigOf(directory);
  const auto source = io::OpenModel(directory);
  nlohmann::ordered_json j;
  j["architecture"] = LongformerClass(c.head);
  j["layers"] = c.layers();
  j["hidden_size"] = c.hidden_size;
  j["heads"] = c.heads;
  j["head_size"] = c.head_size();
  j["feed_forward_size"] = c.feed_forward_size;
  j["vocab_size"] = c.vocab_size;
  for (std::size_t i = 0; i < c.layers(); ++i) j["windows"].push_back(c.window(i));
  j["attention_window"] = c.attention_window;
  j["positions"] = {{"kind", "table"}, {"positions", c.longest()}, {"rows", c.max_positions}};
  j["token_types"] = c.token_types;
  j["activation"] = c.activation;
  j["pooler"] = c.has_pooler();
  if (c.head == LongformerHead::kSequence || c.head == LongformerHead::kToken) {
    j["labels"] = c.labels;
  }
  j["parameters"] = ParameterCount(c);
  AddTensors(*source, tensors, &j);
  return j;
}

// "256 x 12", "4, 8": one number when all are the same.
std::string ListText(const nlohmann::ordered_json& numbers) {
  std::string text;
  bool same = true;
  for (const auto& number : numbers) {
    same = same && number == numbers[0];
    text += fmt::format("{}{}", text.empty() ? "" : ", ", number.get<idx_t>());
  }
  return same ? fmt::format("{}", numbers[0].get<idx_t>()) : text;
}

}  // namespace

std::string InfoLine(std::string_view name, const std::string& value) {
  return fmt::format("{:<13} {}\n", name, value);
}

void AddTensors(const io::TensorSource& source, bool list, nlohmann::ordered_json* j) {
  std::uint64_t bytes = 0;
  for (const auto& [name, info] : source.tensors()) {
    bytes += info.bytes();
    if (list) {
      (*j)["tensors"].push_back(
          {{"name", name}, {"dtype", DTypeName(info.dtype)}, {"shape", info.shape}});
    }
  }
  (*j)["weight_bytes"] = bytes;
}

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

std::string LongformerInfo(const std::string& directory, bool json, bool tensors) {
  const nlohmann::ordered_json j = LongformerJson(directory, tensors);
  if (json) return j.dump(2) + "\n";
  const auto number = [&](const char* name) { return j[name].get<idx_t>(); };
  std::string text = InfoLine("model", j["architecture"].get<std::string>());
  text += InfoLine("layers", fmt::format("{}", number("layers")));
  text += InfoLine(
      "width", fmt::format("{} channels, {} heads of {}, feed-forward {}", number("hidden_size"),
                           number("heads"), number("head_size"), number("feed_forward_size")));
  text += InfoLine("window", fmt::format("{} to each side (attention_window {})",
                                         ListText(j["windows"]), ListText(j["attention_window"])));
  text += InfoLine("positions", fmt::format("one table of {} positions",
                                            j["positions"]["positions"].get<idx_t>()));
  text += InfoLine("vocabulary", fmt::format("{}", number("vocab_size")));
  if (j.contains("labels")) text += InfoLine("labels", fmt::format("{}", j["labels"].size()));
  text += InfoLine("parameters", fmt::format("{} ({:.1f} MB of weights)", number("parameters"),
                                             static_cast<double>(number("weight_bytes")) * 1e-6));
  return text + TensorLines(j);
}

}  // namespace longspan::cli
