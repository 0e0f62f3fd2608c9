// One name for each tensor of a BERT-like file, whoever wrote it and when.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_source.h"

namespace longspan {

// Maps `name` of a file of a BERT, RoBERTa or Longformer to the name in a Longformer with a head:
// "longformer." instead of "bert.", "roberta." or no prefix before the encoder; LayerNorm.weight
// and .bias for .gamma and .beta; lm_head for BERT's cls.predictions. Other names do not change.
// Empty: no model here needs the parameter (position_ids, BERT's next-sentence head).
std::optional<std::string> CanonicalName(std::string_view name);

// The names that a class has itself: `prefix` ("bert.") begins the encoder's, and is empty for a
// bare model. `bert`: the masked LM's are BERT's.
struct ClassNames {
  std::string_view prefix;
  bool bert = false;
};
// The way back from a canonical name.
std::string OwnName(std::string_view canonical, const ClassNames& names);

// For a masked language model whose decoder is the word table: the canonical name whose values
// `canonical` repeats, if it is one of the two copies.
std::optional<std::string_view> TiedTo(std::string_view canonical);

// Whether two tensors of a source are the same bits of one file.
bool SharePlace(const io::TensorInfo& a, const io::TensorInfo& b);

// The word table and the decoder of a masked language model's files.
struct DecoderNames {
  std::string_view words, decoder;  // in the source
  std::string_view told;            // what messages call the decoder
};
// For a config that ties the decoder to the word table. Where the files have both, with different
// values, they are two matrices, as `transformers` 5 has it: *tied becomes false, and a note says
// so. Reads both matrices, unless they lie in one place.
void UntieWhereFilesDiffer(const io::TensorSource& source, const DecoderNames& names, bool* tied,
                           std::vector<std::string>* notes);

// Names of tensors that repeat the memory of the parameter that they are tied to.
std::set<std::string, std::less<>> TiedCopies(const io::TensorSource& source);

// Names as the model's own class has them, without what a wrapper around it put before all of them
// ("module.", "_orig_mod.", "model."): what stands before the word table and is no name of a model.
// Tensors beside the wrapper's keep their names. Says so in one line.
std::unique_ptr<io::TensorSource> WithoutExtraPrefix(std::unique_ptr<io::TensorSource> source,
                                                     std::vector<std::string>* notes = nullptr);

// The file under canonical names. Of a tied pair a file may hold either: the parameter's own name
// is there for both, and so is the copy's when the file has it. Tensors without a canonical name
// are left out and, but for buffers, go to `dropped`, which may be null. kFormat when two tensors
// become one.
std::unique_ptr<io::TensorSource> WithCanonicalNames(std::unique_ptr<io::TensorSource> source,
                                                     std::vector<std::string>* dropped = nullptr);

}  // namespace longspan
