#include "generate/token_rules.h"

#include "text/bytes_tokenizer.h"

namespace longspan {

void FollowTokenizer(const text::Tokenizer& tokenizer, idx_t vocabulary, TokenGeneration* options) {
  const text::SpecialIds& ids = tokenizer.special();
  if (tokenizer.kind() == "bytes") options->banned.push_back(text::BytesTokenizer::kPad);
  for (const auto& id : {ids.bos, ids.unk, ids.sep, ids.pad, ids.cls, ids.mask}) {
    if (id && id != ids.eos) options->banned.push_back(*id);
  }
  if (ids.eos) options->ends.push_back(*ids.eos);
  for (idx_t id = tokenizer.vocabulary(); id < vocabulary; ++id) {
    options->banned.push_back(static_cast<std::int32_t>(id));
  }
}

}  // namespace longspan
