#include "longspan/model.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "base/errors.h"
#include "families/families.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_files.h"
#include "generate/generation.h"
#include "generate/token_rules.h"
#include "text/bytes_tokenizer.h"
#include "text/stream_decoder.h"

namespace longspan {

struct Model::Impl {
  Impl(Reformer model, std::filesystem::path from)
      : reformer(std::move(model)), directory(std::move(from)) {}

  Reformer reformer;
  std::filesystem::path directory;  // where it was loaded from; empty: it was not
  std::mutex opening;               // of the tokenizer, by threads that share the model
  std::unique_ptr<text::Tokenizer> tokenizer;

  // That of the folder, read when it is first asked for: logits need none. Without a folder: bytes.
  const text::Tokenizer& Tokens() {
    const std::lock_guard lock(opening);
    if (tokenizer == nullptr) {
      tokenizer = directory.empty() ? text::MakeBytesTokenizer() : OpenModelTokenizer(directory);
    }
    const idx_t words = reformer.config().vocab_size;
    Check(tokenizer->vocabulary() <= words, ErrorCode::kFormat,
          "tokenizer: it has {} ids, the model's word table {} (vocab_size)",
          tokenizer->vocabulary(), words);
    return *tokenizer;
  }
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::Load(const std::filesystem::path& directory) {
  return Model(std::make_unique<Impl>(LoadReformer(OpenModelFolder(directory)), directory));
}

Model Model::Init(std::string_view config_json, std::uint64_t seed) {
  auto impl = std::make_unique<Impl>(Reformer(ParseReformerConfig(config_json, "config")),
                                     std::filesystem::path());
  impl->reformer.Initialise(seed);
  return Model(std::move(impl));
}

void Model::Save(const std::filesystem::path& directory) {
  SaveReformer(impl_->reformer, directory);
}

std::string Model::ConfigJson() const { return ToJson(impl_->reformer.config()); }
idx_t Model::parameters() const { return impl_->reformer.parameters().count(); }
idx_t Model::longest() const { return impl_->reformer.config().longest(); }

Tensor Model::Logits(Context& context, std::span<const std::int32_t> ids, idx_t rows,
                     const CallOptions& options) {
  const auto n = static_cast<idx_t>(ids.size());
  Check(rows >= 1 && n >= 1 && n % rows == 0, ErrorCode::kUsage,
        "logits: {} ids do not divide into {} rows", n, rows);
  Check(options.mask.empty() || options.mask.size() == ids.size(), ErrorCode::kUsage,
        "logits: a mask of {} for {} ids", options.mask.size(), n);
  Reformer& model = impl_->reformer;
  const idx_t channels = model.config().hidden_size;
  ReformerBatch batch{rows, n / rows, ids, {}};
  if (!options.mask.empty()) batch.roles = {options.mask.data(), {rows, n / rows}};
  batch.num_hashes = options.num_hashes;
  Tensor y1({n, channels}), y2({n, channels});
  model.Encode(context, batch, y1.view<2>(), y2.view<2>());
  return model.HeadLogits(context, rows, y1.view<2>(), y2.view<2>());
}

std::vector<Tensor> Model::RaggedLogits(Context& context,
                                        std::span<const std::vector<std::int32_t>> texts,
                                        const CallOptions& options) {
  Check(options.mask.empty(), ErrorCode::kUsage,
        "logits: a mask of {} for texts without padding, need none", options.mask.size());
  std::map<std::size_t, std::vector<std::size_t>> by_length;
  for (std::size_t i = 0; i < texts.size(); ++i) by_length[texts[i].size()].push_back(i);
  std::vector<Tensor> result(texts.size());
  for (const auto& [length, group] : by_length) {
    std::vector<std::int32_t> ids;
    for (const std::size_t i : group) ids.insert(ids.end(), texts[i].begin(), texts[i].end());
    const auto rows = static_cast<idx_t>(group.size());
    const Tensor all = Logits(context, ids, rows, options);
    const idx_t each = all.shape()[0] / rows, width = all.shape()[1];
    for (std::size_t r = 0; r < group.size(); ++r) {
      Tensor& own = result[group[r]] = Tensor({each, width});
      std::copy_n(all.data<float>() + static_cast<idx_t>(r) * own.size(), own.size(),
                  own.data<float>());
    }
  }
  return result;
}

std::string Model::Generate(Context& context, std::string_view prompt, idx_t tokens,
                            const Sampling& sampling) {
  const text::Tokenizer& tokenizer = impl_->Tokens();
  GenerateOptions options;
  options.sampling = {sampling.temperature, sampling.top_k, sampling.top_p, sampling.seed};
  options.tokens = tokens;
  FollowTokenizer(tokenizer, impl_->reformer.config().vocab_size, &options);
  text::EncodeOptions plain;
  plain.special_tokens = false;
  const std::vector<std::int32_t> ids = tokenizer.Encode(prompt, plain).front().ids;
  text::StreamDecoder decoder(tokenizer, ids);
  std::string written;
  longspan::Generate(context, impl_->reformer, ids, options, [&](std::int32_t id) {
    written += decoder.Add(id);
    return true;
  });
  return written + decoder.Finish();
}

}  // namespace longspan
