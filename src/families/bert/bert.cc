#include "families/bert/bert.h"

#include "model/joined_texts.h"
#include "model/post_norm_encoder_impl.h"
#include "model/post_norm_files.h"
#include "model/post_norm_heads.h"

namespace longspan {

std::unique_ptr<HeadLayer> BertKind::MakeHead(const BertConfig& config, const std::string& prefix,
                                              ParameterTable& parameters) {
  const bool bert = config.type->bert;
  PostNormHeadStyle style;
  style.bert = bert;
  if (bert) style.activation = config.activation;  // RoBERTa's is always gelu
  style.dropout = config.classifier_dropout.value_or(config.hidden_dropout);
  style.choice_dropout = bert ? style.dropout : config.hidden_dropout;
  return MakePostNormHead(config, style, prefix, parameters);
}

double BertKind::AttentionFlop(const BertConfig& config, const BatchView& batch,
                               std::size_t backward_from) {
  double pairs = 0.0;
  ForEachText(batch, [&](idx_t, idx_t begin, idx_t length) {
    idx_t keys = 0;
    for (idx_t at = begin; at < begin + length; ++at) {
      const bool hidden =
          !batch.roles.empty() && batch.roles(at / batch.tokens, at % batch.tokens) == kHiddenToken;
      keys += hidden ? 0 : 1;
    }
    pairs += static_cast<double>(length) * static_cast<double>(keys);
  });
  const auto layers = static_cast<double>(config.layers());
  const double each = 14.0 * layers - 10.0 * static_cast<double>(backward_from);  // times D, a pair
  return each * static_cast<double>(config.hidden_size) * pairs;
}

template class PostNormEncoder<BertKind>;

// ---- files --------------------------------------------------------------------------------------

Bert LoadBert(const ModelFolder& folder, const LoadOptions& options,
              std::vector<std::string>* warnings) {
  BertConfig config = LoadBertConfig(folder);
  const std::string_view title = config.type->title;
  return LoadPostNorm<Bert>(folder, std::move(config), title, options, warnings);
}

BertConfig BertConfigOf(const ModelFolder& folder) {
  return WithPoolerOf(LoadBertConfig(folder), *OpenCanonical(folder.directory));
}

void CheckBertTensors(const ModelFolder& folder) {
  CheckPostNormTensors<Bert>(folder, LoadBertConfig(folder));
}

void SaveBert(const Bert& model, const std::filesystem::path& directory) {
  SavePostNorm(model, directory);
}

std::map<std::string, std::string> BertNamesToWrite(const std::filesystem::path& in,
                                                    const io::TensorSource& source,
                                                    std::string_view class_name,
                                                    std::vector<std::string>* warnings) {
  for (const BertType& type : BertTypes()) {
    for (const HeadClass& row : type.heads) {
      if (row.class_name != class_name) continue;
      BertConfig config(type);
      config.head = row.head;
      const bool bare = row.head == HeadKind::kNone;
      return PostNormNamesToWrite(in, source, class_name, {bare ? "" : type.prefix, type.bert},
                                  config.has_pooler(), warnings);
    }
  }
  return {};  // a folder's class is one of them
}

}  // namespace longspan
