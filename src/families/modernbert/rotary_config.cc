#include "families/modernbert/rotary_config.h"

#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "families/modernbert/modernbert_config.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr double kMostTheta = 1e12, kMostScale = 1e6, kLeastScale = 1e-6;

constexpr std::pair<RotaryKind, std::string_view> kRotaryKinds[] = {
    {RotaryKind::kDefault, "default"}, {RotaryKind::kLinear, "linear"},
    {RotaryKind::kDynamic, "dynamic"}, {RotaryKind::kYarn, "yarn"},
    {RotaryKind::kLlama3, "llama3"},   {RotaryKind::kLongRope, "longrope"},
};

// `source` is the file's name and the field that holds the object.
RotaryKind KindIn(const json& entry, std::string_view source) {
  for (const char* field : {"rope_type", "type"}) {
    if (io::IsNullOrAbsent(entry, field)) continue;
    const std::string type = io::GetString(entry, field, io::kRequired, source);
    std::string names;
    for (const auto& [kind, name] : kRotaryKinds) {
      if (name == type) return kind;
      names.append(names.empty() ? "" : ", ").append(name);
    }
    Fail(ErrorCode::kFormat, "{}: {} '{}' is not supported; need one of {}", source, field,
         io::Escape(type, 60), names);
  }
  return RotaryKind::kDefault;
}

const json* RotaryObject(const json& o, const char* field, std::string_view source) {
  if (io::IsNullOrAbsent(o, field)) return nullptr;
  Check(o[field].is_object(), ErrorCode::kFormat, "{}: {} is no object", source, field);
  return &o[field];
}

double ThetaIn(const json& o, const char* field, double absent, std::string_view source) {
  if (io::IsNullOrAbsent(o, field)) return absent;
  const double theta = io::GetFloat(o, field, 0.0, kMostTheta, io::kRequired, source);
  Check(theta > 0.0, ErrorCode::kFormat, "{}: {} is 0, need more", source, field);
  return theta;
}

std::vector<double> FactorsIn(const json& entry, const char* field, idx_t half,
                              std::string_view source) {
  Check(entry.contains(field) && entry[field].is_array() &&
            static_cast<idx_t>(entry[field].size()) == half,
        ErrorCode::kFormat, "{}: {} must be a list of {} numbers, one for each pair of channels",
        source, field, half);
  std::vector<double> factors;
  for (const json& value : entry[field]) {
    const double factor = value.is_number() ? value.get<double>() : 0.0;
    Check(factor >= kLeastScale && factor <= kMostScale, ErrorCode::kFormat,
          "{}: {} has {}, need numbers from {} to {}", source, field, io::Escape(value.dump(), 60),
          kLeastScale, kMostScale);
    factors.push_back(factor);
  }
  return factors;
}

void ParseYarn(const json& entry, std::string_view source, RotarySpec* spec) {
  const auto number = [&](const char* field, double* value) {
    const double given = io::GetOptionalFloat(entry, field, 0.0, kMostScale, source).value_or(0.0);
    if (given > 0.0) *value = given;  // 0 is as good as nothing, as in the original
  };
  number("beta_fast", &spec->beta_fast);
  number("beta_slow", &spec->beta_slow);
  number("mscale", &spec->mscale);
  number("mscale_all_dim", &spec->mscale_all_dim);
  Check(spec->theta != 1.0, ErrorCode::kFormat, "{}: rope_theta is 1, yarn needs another", source);
}

// What an entry says beside its theta.
void ParseRotary(const json& entry, std::string_view source, idx_t head_size, idx_t max_positions,
                 RotarySpec* spec) {
  spec->theta = ThetaIn(entry, "rope_theta", spec->theta, source);
  spec->kind = KindIn(entry, source);
  const RotaryKind kind = spec->kind;
  if (kind == RotaryKind::kDefault) return;
  const double part =
      io::GetOptionalFloat(entry, "partial_rotary_factor", 0.0, 1.0, source).value_or(1.0);
  Check(part == 1.0, ErrorCode::kFormat,
        "{}: partial_rotary_factor {} is not supported; all channels of a head turn, need 1",
        source, part);
  const bool has_factor = !io::IsNullOrAbsent(entry, "factor");
  const bool may_follow =  // from the positions
      kind == RotaryKind::kLongRope || (kind == RotaryKind::kYarn && entry.contains("factor"));
  if (has_factor || !may_follow) {
    spec->factor = io::GetFloat(entry, "factor", 1.0, kMostScale, io::kRequired, source);
  }
  Check(kind != RotaryKind::kDynamic || head_size > 2, ErrorCode::kFormat,
        "{}: rope_type dynamic needs heads of more than 2 channels", source);
  if (kind == RotaryKind::kLinear || kind == RotaryKind::kDynamic) return;
  spec->original_positions = io::GetInt(entry, "original_max_position_embeddings", 2,
                                        limits::kReformerTokens, max_positions, source);
  spec->attention_factor =
      io::GetOptionalFloat(entry, "attention_factor", kLeastScale, kMostScale, source);
  if (kind == RotaryKind::kYarn) ParseYarn(entry, source, spec);
  if (kind == RotaryKind::kLlama3) {
    const auto frequency = [&](const char* field) {
      return io::GetFloat(entry, field, kLeastScale, kMostScale, io::kRequired, source);
    };
    spec->low_frequency = frequency("low_freq_factor");
    spec->high_frequency = frequency("high_freq_factor");
    Check(spec->high_frequency > spec->low_frequency, ErrorCode::kFormat,
          "{}: high_freq_factor {} must be above low_freq_factor {}", source, spec->high_frequency,
          spec->low_frequency);
  }
  if (kind == RotaryKind::kLongRope) {
    spec->short_factor = FactorsIn(entry, "short_factor", head_size / 2, source);
    spec->long_factor = FactorsIn(entry, "long_factor", head_size / 2, source);
  }
}

json RotaryJson(const RotarySpec& spec) {
  json o = {{"rope_type", RotaryKindName(spec.kind)}, {"rope_theta", spec.theta}};
  if (spec.kind == RotaryKind::kDefault) return o;
  if (spec.factor) {
    o["factor"] = *spec.factor;
  } else if (spec.kind == RotaryKind::kYarn) {
    o["factor"] = nullptr;  // must be there
  }
  if (spec.original_positions > 0) o["original_max_position_embeddings"] = spec.original_positions;
  if (spec.attention_factor) o["attention_factor"] = *spec.attention_factor;
  if (spec.kind == RotaryKind::kYarn) {
    o["beta_fast"] = spec.beta_fast;
    o["beta_slow"] = spec.beta_slow;
    if (spec.mscale > 0.0) o["mscale"] = spec.mscale;
    if (spec.mscale_all_dim > 0.0) o["mscale_all_dim"] = spec.mscale_all_dim;
  }
  if (spec.kind == RotaryKind::kLlama3) {
    o["low_freq_factor"] = spec.low_frequency;
    o["high_freq_factor"] = spec.high_frequency;
  }
  if (spec.kind == RotaryKind::kLongRope) {
    o["short_factor"] = spec.short_factor;
    o["long_factor"] = spec.long_factor;
  }
  return o;
}

}  // namespace

std::string_view RotaryKindName(RotaryKind kind) {
  for (const auto& [known, name] : kRotaryKinds) {
    if (known == kind) return name;
  }
  return "?";
}

std::string RotaryText(const RotarySpec& spec) {
  std::string text = fmt::format("theta {:g}", spec.theta);
  if (spec.kind == RotaryKind::kDefault) return text;
  text += fmt::format(", {}", RotaryKindName(spec.kind));
  if (spec.factor) text += fmt::format(" with factor {:g}", *spec.factor);
  if (spec.original_positions > 0) text += fmt::format(" over {}", spec.original_positions);
  return text;
}

// Entries of newer files stand over the old fields. rope_scaling of the old ones stands over both
// entries, and its `type` is a rope_type, as it was when there was no other name.
void ParseRotaryFields(const json& o, std::string_view source, idx_t head_size, idx_t max_positions,
                       RotarySpec* full, RotarySpec* window) {
  full->theta = ThetaIn(o, "global_rope_theta", full->theta, source);
  // A local_rope_theta of null means the global one.
  const bool null_local = o.contains("local_rope_theta") && o["local_rope_theta"].is_null();
  window->theta = ThetaIn(o, "local_rope_theta", null_local ? full->theta : window->theta, source);
  const json* scaling = RotaryObject(o, "rope_scaling", source);
  const json* entries = RotaryObject(o, "rope_parameters", source);
  const bool flat =
      entries != nullptr &&
      KindIn(*entries, fmt::format("{}: rope_parameters", source)) != RotaryKind::kDefault;
  Check(!flat, ErrorCode::kFormat,
        "{}: rope_parameters: its rope_type stands beside {} and {}, where `transformers` does not "
        "read it; put it into both",
        source, kFullLayer, kWindowLayer);
  Check(
      entries == nullptr || io::IsNullOrAbsent(*entries, "rope_theta"), ErrorCode::kFormat,
      "{}: rope_parameters: its rope_theta stands beside {} and {}, where `transformers` does not "
      "read it; put it into both",
      source, kFullLayer, kWindowLayer);
  for (const auto& [layer, spec] : {std::pair(kFullLayer, full), std::pair(kWindowLayer, window)}) {
    std::string where = fmt::format("{}: rope_parameters.{}", source, layer);
    json entry = json::object();
    if (entries != nullptr) {
      if (const json* own = RotaryObject(*entries, layer, source)) entry = *own;
      // There alone the original looks for it.
      spec->truncate = io::GetBool(*entries, "truncate", true, source);
    }
    if (scaling != nullptr) {
      where = fmt::format("{}: rope_scaling", source);
      if (!io::IsNullOrAbsent(*scaling, "type")) entry.erase("rope_type");
      entry.update(*scaling);
    }
    ParseRotary(entry, where, head_size, max_positions, spec);
  }
}

void WriteRotaryFields(const RotarySpec& full, const RotarySpec& window, json* object) {
  json& o = *object;
  o["rope_parameters"] = {{kFullLayer, RotaryJson(full)}, {kWindowLayer, RotaryJson(window)}};
  if (!full.truncate) o["rope_parameters"]["truncate"] = false;
  o["global_rope_theta"] = full.theta;
  o["local_rope_theta"] = window.theta;
}

}  // namespace longspan
