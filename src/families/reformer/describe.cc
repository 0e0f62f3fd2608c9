#include "families/reformer/describe.h"

#include <algorithm>
#include <functional>

#include "base/errors.h"
#include "families/reformer/shared_mechanism.h"

namespace longspan {
namespace {

using nlohmann::ordered_json;

// What the two axial tables hold, against one table of a row per position.
ordered_json PositionInfo(const ReformerConfig& c) {
  ordered_json j;
  const idx_t full_rows = c.axial ? c.axial_shape[0] * c.axial_shape[1] : c.max_positions;
  j["kind"] = c.axial ? "axial" : "table";
  j["positions"] = c.longest();
  if (c.axial) {
    const idx_t first = c.axial_shape[0] * c.axial_dims[0];
    const idx_t second = c.axial_shape[1] * c.axial_dims[1];
    j["tables"] = {{c.axial_shape[0], c.axial_dims[0]}, {c.axial_shape[1], c.axial_dims[1]}};
    j["numbers"] = first + second;
    j["one_table"] = full_rows * c.hidden_size;
    j["saved"] =
        1.0 - static_cast<double>(first + second) / static_cast<double>(full_rows * c.hidden_size);
  }
  return j;
}

// The LSH layers as configured, whatever choice overrides them.
ordered_json LshInfo(ReformerConfig c) {
  c.attention = AttentionChoice::kConfigured;
  const LshSpec spec = SharedSpec(c, c.longest());
  ordered_json j = {{"chunk", c.lsh_chunk},
                    {"before", c.lsh_before},
                    {"after", c.lsh_after},
                    {"rounds", c.num_hashes}};
  // Of the longest text; one that fits a chunk is not hashed.
  j["buckets"] = spec.Hashes(c.longest()) ? nlohmann::json(spec.buckets) : nlohmann::json(nullptr);
  j["hash_seed"] = c.hash_seed ? nlohmann::json(*c.hash_seed) : nlohmann::json(nullptr);
  j["rotation_seed"] = c.rotation_seed;
  return j;
}

ordered_json JsonOf(const ReformerConfig& c) {
  ordered_json j;
  j["architecture"] = ReformerClass(c.head);
  j["layers"] = c.layers.size();
  for (const LayerKind kind : c.layers) {
    j["attention"].push_back(kind.name());
  }
  j["hidden_size"] = c.hidden_size;
  j["heads"] = c.heads;
  j["head_size"] = c.head_size;
  j["feed_forward_size"] = c.feed_forward_size;
  j["vocab_size"] = c.vocab_size;
  j["causal"] = c.is_decoder;
  j["local"] = {{"chunk", c.local_chunk}, {"before", c.local_before}, {"after", c.local_after}};
  j["lsh"] = LshInfo(c);
  j["attention_choice"] = AttentionName(c.attention);
  if (c.head == HeadKind::kSequence) j["labels"] = c.labels;
  const bool language = c.head == HeadKind::kCausalLm || c.head == HeadKind::kMaskedLm;
  if (language) j["lm_bias"] = c.lm_bias;
  j["positions"] = PositionInfo(c);
  j["parameters"] = ParameterCount(c);
  return j;
}

std::string PositionText(const ordered_json& p) {
  if (p["kind"] == "table") {
    return fmt::format("one table of {} positions", p["positions"].get<idx_t>());
  }
  const auto size = [&](int table, int axis) { return p["tables"][table][axis].get<idx_t>(); };
  return fmt::format(
      "axial, {} positions: tables {} x {} and {} x {}, {} numbers instead of {} ({:.2f} % saved)",
      p["positions"].get<idx_t>(), size(0, 0), size(0, 1), size(1, 0), size(1, 1),
      p["numbers"].get<idx_t>(), p["one_table"].get<idx_t>(), 100.0 * p["saved"].get<double>());
}

// "local x 6", "local, lsh, local".
std::string LayersText(const ordered_json& kinds) {
  std::string text;
  bool same = true;
  for (const auto& kind : kinds) {
    same = same && kind == kinds[0];
    text += (text.empty() ? "" : ", ") + kind.get<std::string>();
  }
  return same ? fmt::format("{} x {}", kinds[0].get<std::string>(), kinds.size()) : text;
}

// "chunks of 64, 1 before, 0 after".
std::string WindowText(const ordered_json& w) {
  return fmt::format("chunks of {}, {} before, {} after", w["chunk"].get<idx_t>(),
                     w["before"].get<idx_t>(), w["after"].get<idx_t>());
}

// "2 rounds, 16 x 32 buckets at 16384 tokens".
std::string HashText(const ordered_json& lsh, idx_t longest) {
  if (lsh["buckets"].is_null()) return "one chunk holds every text";
  std::string buckets;
  for (const auto& factor : lsh["buckets"]) {
    buckets += fmt::format("{}{}", buckets.empty() ? "" : " x ", factor.get<idx_t>());
  }
  const auto rounds = lsh["rounds"].get<idx_t>();
  return fmt::format("{} {}, {} buckets at {} tokens", rounds, rounds == 1 ? "round" : "rounds",
                     buckets, longest);
}

// One line for each kind of layer that the model has, and how they attend.
void AttentionLines(const ordered_json& j,
                    const std::function<void(std::string_view, const std::string&)>& line) {
  const auto has = [&](const char* kind) {
    return std::find(j["attention"].begin(), j["attention"].end(), kind) != j["attention"].end();
  };
  std::string lone;  // the last mechanism of the catalogue that has its line
  const std::string ways = j["causal"] ? "causal" : "both directions";
  if (has("local")) line("local layers", WindowText(j["local"]) + ", " + ways);
  for (const auto& kind : j["attention"]) {
    const std::string name = kind.get<std::string>();
    if (name == "local" || name == "lsh" || name == lone) continue;
    lone = name;
    line(name + " layers", ways);
  }
  if (has("lsh")) {
    line("LSH layers", fmt::format("{}, {}; {}", WindowText(j["lsh"]), ways,
                                   HashText(j["lsh"], j["positions"]["positions"].get<idx_t>())));
  }
  if (j["attention_choice"] == "full") line("attention", "full in every layer");
  if (j["attention_choice"] == "local") line("attention", "chunks of the text in every layer");
  if (j["attention_choice"] == "config") line("attention", "as the layers say");
}

}  // namespace

ModelDescription DescribeReformer(const ReformerConfig& c) {
  ModelDescription shown;
  shown.json = JsonOf(c);
  const ordered_json& j = shown.json;
  const auto line = [&](std::string_view name, const std::string& value) {
    shown.lines.emplace_back(name, value);
  };
  line("model", j["architecture"].get<std::string>());
  line("layers", LayersText(j["attention"]));
  line("width", fmt::format("{} channels, {} heads of {}, feed-forward {}", c.hidden_size, c.heads,
                            c.head_size, c.feed_forward_size));
  AttentionLines(j, line);
  line("positions", PositionText(j["positions"]));
  line("vocabulary", fmt::format("{}", c.vocab_size));
  return shown;
}

}  // namespace longspan
