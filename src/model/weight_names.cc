#include "model/weight_names.h"

#include <cstring>
#include <map>
#include <span>
#include <tuple>
#include <utility>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr std::string_view kModelPrefix = "longformer.";
constexpr std::string_view kPrefixes[] = {"longformer.", "roberta.", "bert."};
// Includes a Reformer, whose other names are unique.
constexpr std::string_view kFamilies[] = {"longformer.", "roberta.", "bert.", "reformer."};
constexpr std::string_view kWordTable = "embeddings.word_embeddings.weight";
// A ModernBERT's, whose own prefix is "model.".
constexpr std::string_view kTokenTable = "embeddings.tok_embeddings.weight";
constexpr std::string_view kTokenFamilies[] = {"model."};
// The parts of an encoder, after its prefix.
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

// Finds the prefix of all names by the word table. Empty: there is no prefix, or there are several
// word tables.
std::string ExtraPrefix(const io::TensorSource& source) {
  std::optional<std::string_view> found;
  for (const auto& [name, info] : source.tensors()) {
    std::string_view prefix = name;
    const bool tokens = prefix.ends_with(kTokenTable);
    if (!tokens && !prefix.ends_with(kWordTable)) continue;
    if (found) return {};
    prefix.remove_suffix(tokens ? kTokenTable.size() : kWordTable.size());
    for (const std::string_view family :
         tokens ? std::span<const std::string_view>(kTokenFamilies) : kFamilies) {
      const bool own =
          prefix.size() == family.size() ||
          (prefix.size() > family.size() && prefix[prefix.size() - family.size() - 1] == '.');
      if (!own || !prefix.ends_with(family)) continue;
      prefix.remove_suffix(family.size());
      break;
    }
    if (!prefix.empty() && !prefix.ends_with('.')) return {};
    found = prefix;
  }
  return std::string(found.value_or(""));
}

}  // namespace

std::unique_ptr<io::TensorSource> WithoutExtraPrefix(std::unique_ptr<io::TensorSource> source,
                                                     std::vector<std::string>* notes) {
  const std::string prefix = ExtraPrefix(*source);
  if (prefix.empty()) return source;
  const auto bare = [&](std::string_view name) {
    return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
  };
  for (const auto& [name, info] : source->tensors()) {
    if (!name.starts_with(prefix)) continue;
    const std::string_view stripped = bare(name);
    // Two names would become one. Keep the names; missing ones are reported later.
    if (source->Has(stripped) && !stripped.starts_with(prefix)) return source;
  }
  if (notes != nullptr) {
    notes->push_back(fmt::format("{}: all names begin with \"{}\", which is left out",
                                 source->source(), io::Escape(prefix, 60)));
  }
  const auto name_of = [&](std::string_view name) {
    return std::optional(std::string(bare(name)));
  };
  return io::RenameTensors(std::move(source), name_of);
}

std::optional<std::string> CanonicalName(std::string_view name) {
  if (IsBuffer(name)) return std::nullopt;
  std::string_view bare = name;
  for (const std::string_view prefix : kPrefixes) {
    if (name.starts_with(prefix)) bare = name.substr(prefix.size());
  }
  std::string canonical(name);
  for (const std::string_view part : kParts) {
    if (bare.starts_with(part)) canonical = std::string(kModelPrefix) + std::string(bare);
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

std::string OwnName(std::string_view canonical, const ClassNames& names) {
  if (canonical.starts_with(kModelPrefix)) {
    return std::string(names.prefix).append(canonical.substr(kModelPrefix.size()));
  }
  for (const auto& [bert, own] : kHeads) {
    if (!names.bert || own.empty() || !canonical.starts_with(own)) continue;
    return std::string(bert).append(canonical.substr(own.size()));
  }
  return std::string(canonical);
}

std::optional<std::string_view> TiedTo(std::string_view canonical) {
  for (const auto& [copy, parameter] : kTied) {
    if (copy == canonical) return parameter;
  }
  return std::nullopt;
}

bool SharePlace(const io::TensorInfo& a, const io::TensorInfo& b) {
  const auto place = [](const io::TensorInfo& info) {
    return std::tie(info.file, info.begin, info.dtype, info.shape, info.stride);
  };
  return place(a) == place(b);
}

void UntieWhereFilesDiffer(const io::TensorSource& source, const DecoderNames& names, bool* tied,
                           std::vector<std::string>* notes) {
  if (!*tied || !source.Has(names.words) || !source.Has(names.decoder)) return;
  const io::TensorInfo &words = source.Info(names.words), &decoder = source.Info(names.decoder);
  if (SharePlace(words, decoder)) return;
  if (words.shape != decoder.shape) return;  // the table's error says it
  const Tensor a = source.ReadFloat(names.words, io::NonFinite::kAllow);
  const Tensor b = source.ReadFloat(names.decoder, io::NonFinite::kAllow);
  if (std::memcmp(a.raw(), b.raw(), a.bytes()) == 0) return;
  *tied = false;
  notes->push_back(fmt::format(
      "{}: tie_word_embeddings is true, but {} and the word table differ; both are kept",
      source.source(), names.told));
}

// Tied tensors of a .bin file share their place.
std::set<std::string, std::less<>> TiedCopies(const io::TensorSource& source) {
  std::map<std::string, const io::TensorInfo*, std::less<>> by_name;
  for (const auto& [name, info] : source.tensors()) {
    if (const auto canonical = CanonicalName(name)) by_name.emplace(*canonical, &info);
  }
  std::set<std::string, std::less<>> copies;
  for (const auto& [name, info] : source.tensors()) {
    const auto canonical = CanonicalName(name);
    const auto tied = canonical ? TiedTo(*canonical) : std::nullopt;
    const auto parameter = tied ? by_name.find(*tied) : by_name.end();
    if (parameter != by_name.end() && SharePlace(*parameter->second, info)) copies.insert(name);
  }
  return copies;
}

std::unique_ptr<io::TensorSource> WithCanonicalNames(std::unique_ptr<io::TensorSource> source,
                                                     std::vector<std::string>* dropped) {
  const auto name_of = [&](std::string_view name) {
    auto canonical = CanonicalName(name);
    if (!canonical && dropped != nullptr && !IsBuffer(name)) dropped->emplace_back(name);
    return canonical;
  };
  std::vector<std::pair<std::string_view, std::string_view>> parameters;
  for (const auto& [copy, parameter] : kTied) parameters.emplace_back(parameter, copy);
  return io::RenameTensors(std::move(source), name_of, parameters);
}

}  // namespace longspan
