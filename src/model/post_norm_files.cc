#include "model/post_norm_files.h"

#include <algorithm>

#include "base/errors.h"
#include "io/policy.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr std::string_view kEncoder = "longformer.";
constexpr std::string_view kPooler = "longformer.pooler.";
constexpr std::string_view kCanonicalWords = "longformer.embeddings.word_embeddings.weight";
constexpr std::string_view kCanonicalDecoder = "lm_head.decoder.weight";
constexpr std::string_view kBias = "lm_head.bias", kBiasAlias = "lm_head.decoder.bias";

std::string CanonicalOf(std::string_view name) {
  return CanonicalName(name).value_or(std::string(name));
}

std::string CanonicalNameIn(const io::TensorSource& source, const std::string& name) {
  const std::string canonical = CanonicalOf(name);
  // A tied decoder has one bias under two names. Where files give it two values, `transformers`
  // adds the decoder's.
  if (canonical == kBias && source.Has(kBiasAlias)) return std::string(kBiasAlias);
  if (source.Has(canonical)) return canonical;
  // An untied decoder's bias is its own; files from before it was hold the other name alone.
  if (canonical == kBiasAlias && source.Has(kBias)) return std::string(kBias);
  return {};
}

// True for tensors of a known head. Under another head they may be left out.
bool OfKnownHead(std::string_view canonical) {
  for (const std::string_view begin :
       {kPooler, std::string_view("lm_head."), std::string_view("classifier."),
        std::string_view("qa_outputs."), std::string_view("cls.")}) {
    if (canonical.starts_with(begin)) return true;
  }
  return false;
}

bool HasLanguageHead(const ParameterTable& table) {
  return std::any_of(table.list().begin(), table.list().end(), [](const ParameterInfo& info) {
    const std::string canonical = CanonicalOf(info.name);
    return canonical == kBias || canonical == kBiasAlias;
  });
}

// The table's own name of an untied decoder's bias; empty: there is none.
std::string UntiedBias(const ParameterTable& table) {
  for (const ParameterInfo& info : table.list()) {
    if (CanonicalOf(info.name) == kBiasAlias) return info.name;
  }
  return {};
}

}  // namespace

std::unique_ptr<io::TensorSource> OpenCanonical(const std::filesystem::path& directory,
                                                std::vector<std::string>* notes,
                                                std::vector<std::string>* dropped) {
  return WithCanonicalNames(WithoutExtraPrefix(io::OpenModel(directory), notes), dropped);
}

bool HasPooler(const io::TensorSource& canonical) {
  return canonical.Has("longformer.pooler.dense.weight");
}

WeightRules PostNormRules(const ParameterTable& table, const io::TensorSource& canonical,
                          const ClassNames& names) {
  // Copies of tied parameters, and the other name of the decoder's bias.
  const auto ignored = [decodes = HasLanguageHead(table)](std::string_view name) {
    return TiedTo(name).has_value() || (name == kBias && decodes);
  };
  const auto of_head = [&canonical](std::string_view name) {
    const std::string wanted = CanonicalOf(name);
    if (wanted.starts_with(kPooler)) return !canonical.Has(wanted);
    return !wanted.starts_with(kEncoder);
  };
  WeightRules rules{{CanonicalNameIn, ignored}, of_head, OfKnownHead};
  rules.names.told = [names](std::string_view name) { return OwnName(name, names); };
  return rules;
}

void UntiePostNorm(const io::TensorSource& canonical, const ClassNames& names, bool* tied,
                   std::vector<std::string>* notes) {
  const std::string told = OwnName(kCanonicalDecoder, names);
  UntieWhereFilesDiffer(canonical, {kCanonicalWords, kCanonicalDecoder, told}, tied, notes);
}

std::vector<io::TensorEntry> PostNormEntries(const ParameterTable& table) {
  std::vector<io::TensorEntry> entries = WeightEntries(table);
  // `transformers` looks for both names: one is used by its 4.x, the other from 5 on.
  const std::string bias = UntiedBias(table);
  if (!bias.empty()) {
    std::string alias = bias;
    const std::string_view inner = "decoder.";
    alias.erase(alias.rfind(inner), inner.size());
    AddAlias(bias, alias, &entries);
  }
  return entries;
}

std::map<std::string, std::string> PostNormNamesToWrite(const std::filesystem::path& in,
                                                        const io::TensorSource& source,
                                                        std::string_view class_name,
                                                        const ClassNames& names, bool pooler,
                                                        std::vector<std::string>* warnings) {
  OpenCanonical(in);  // finds two names that become one
  std::map<std::string, std::string> from;
  const auto copies = TiedCopies(source);
  std::size_t left_out = 0;
  for (const auto& [name, info] : source.tensors()) {
    const auto canonical = CanonicalName(name);
    if (!canonical || copies.count(name) != 0) continue;
    if (!pooler && canonical->starts_with(kPooler)) {
      ++left_out;
      continue;
    }
    from[OwnName(*canonical, names)] = name;
  }
  if (left_out > 0) {
    const std::string text = fmt::format("{}: the pooler is left out: {} has none", source.source(),
                                         io::Escape(class_name));
    Check(!io::GetPolicy().strict_weights, ErrorCode::kFormat, "{}; --strict refuses that", text);
    warnings->push_back(text);
  }
  return from;
}

}  // namespace longspan
