#include "model/weight_names.h"

#include <map>
#include <utility>

#include "base/errors.h"
#include "io/escape.h"

namespace longspan {
namespace {

constexpr std::string_view kPrefix = "longformer.";
constexpr std::string_view kPrefixes[] = {"longformer.", "roberta.", "bert."};
// What an encoder consists of, behind its prefix.
constexpr std::string_view kParts[] = {"embeddings.", "encoder.", "pooler."};

// Beginnings of BERT's heads; an empty one has no counterpart.
constexpr std::pair<std::string_view, std::string_view> kHeads[] = {
    {"cls.predictions.transform.dense.", "lm_head.dense."},
    {"cls.predictions.transform.LayerNorm.", "lm_head.layer_norm."},
    {"cls.predictions.decoder.", "lm_head.decoder."},
    {"cls.predictions.bias", "lm_head.bias"},
    {"cls.seq_relationship.", ""},
};

// The names of old TensorFlow files.
constexpr std::pair<std::string_view, std::string_view> kNorms[] = {
    {"LayerNorm.gamma", "LayerNorm.weight"},
    {"LayerNorm.beta", "LayerNorm.bias"},
    {"layer_norm.gamma", "layer_norm.weight"},
    {"layer_norm.beta", "layer_norm.bias"},
};

constexpr std::pair<std::string_view, std::string_view> kTied[] = {
    {"lm_head.decoder.weight", "longformer.embeddings.word_embeddings.weight"},
    {"lm_head.decoder.bias", "lm_head.bias"},
};

// Numbers 0, 1, 2, ... and zeros that old files keep beside the parameters.
bool IsBuffer(std::string_view name) {
  return name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids");
}

}  // namespace

std::optional<std::string> CanonicalName(std::string_view name) {
  if (IsBuffer(name)) return std::nullopt;
  std::string_view bare = name;
  for (const std::string_view prefix : kPrefixes) {
    if (name.starts_with(prefix)) bare = name.substr(prefix.size());
  }
  std::string canonical(name);
  for (const std::string_view part : kParts) {
    if (bare.starts_with(part)) canonical = std::string(kPrefix) + std::string(bare);
  }
  for (const auto& [begin, instead] : kHeads) {
    if (!canonical.starts_with(begin)) continue;
    if (instead.empty()) return std::nullopt;
    canonical.replace(0, begin.size(), instead);
    break;
  }
  for (const auto& [end, instead] : kNorms) {
    if (!canonical.ends_with(end)) continue;
    canonical.replace(canonical.size() - end.size(), end.size(), instead);
    break;
  }
  return canonical;
}

std::optional<std::string_view> TiedTo(std::string_view canonical) {
  for (const auto& [copy, parameter] : kTied) {
    if (copy == canonical) return parameter;
  }
  return std::nullopt;
}

std::unique_ptr<io::TensorSource> WithCanonicalNames(std::unique_ptr<io::TensorSource> source,
                                                     std::vector<std::string>* dropped) {
  std::map<std::string, std::string, std::less<>> original_of;
  for (const auto& [name, info] : source->tensors()) {
    const auto canonical = CanonicalName(name);
    if (!canonical) {
      if (dropped != nullptr && !IsBuffer(name)) dropped->push_back(name);
      continue;
    }
    const auto [place, added] = original_of.emplace(*canonical, name);
    Check(added, ErrorCode::kFormat, "{}: tensors \"{}\" and \"{}\" are both {}", source->source(),
          io::Escape(place->second), io::Escape(name), io::Escape(*canonical));
  }
  for (const auto& [copy, parameter] : kTied) {
    const auto found = original_of.find(copy);
    if (found != original_of.end()) original_of.emplace(parameter, found->second);
  }
  return io::RenameTensors(std::move(source), original_of);
}

}  // namespace longspan
