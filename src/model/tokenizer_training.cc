#include "longspan/tokenizer_training.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "base/cancel.h"
#include "base/errors.h"
#include "data/corpus.h"
#include "io/paths.h"
#include "longspan/files.h"
#include "longspan/tokenizer.h"
#include "model/model_folder.h"
#include "parallel/team.h"
#include "text/open_tokenizer.h"
#include "text/sentencepiece_trainer.h"
#include "text/text_pieces.h"

namespace longspan::text {
namespace {

namespace fs = std::filesystem;

// What the new tokenizer makes of the text's beginning.
struct Sample {
  idx_t bytes = 0, tokens = 0, unknown = 0;
};

Sample Measure(const Tokenizer& tokenizer, const std::vector<std::string_view>& texts) {
  constexpr std::size_t kMost = std::size_t{1} << 20, kPiece = std::size_t{1} << 16;
  Sample sample;
  for (const std::string_view all : texts) {
    const std::size_t room = kMost - std::min(kMost, static_cast<std::size_t>(sample.bytes));
    std::vector<std::string_view> pieces;
    CutAtLines(all.substr(0, room), kPiece, &pieces);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      EncodeOptions plain;
      plain.special_tokens = false;
      plain.continues = i > 0;
      const Encoding e = tokenizer.Encode(pieces[i], plain).front();
      sample.bytes += static_cast<idx_t>(pieces[i].size());
      sample.tokens += e.size();
      const auto unk = tokenizer.special().unk;
      if (unk) sample.unknown += std::count(e.ids.begin(), e.ids.end(), *unk);
    }
  }
  return sample;
}

// A folder that holds nothing but a tokenizer may be written over, and no file that is read.
void CheckOutput(const std::vector<fs::path>& files, const fs::path& output, bool overwrite) {
  if (!io::IsDirectory(output)) return;
  const std::string shown = io::Escape(output.string());
  const auto ours = TokenizerFiles(output);
  for (const std::string& name : io::ListFolder(output)) {
    Check(overwrite, ErrorCode::kUsage,
          "{}: not empty (it has {}); --overwrite replaces the tokenizer in it", shown,
          io::Escape(name));
    Check(std::find(ours.begin(), ours.end(), name) != ours.end() || name.starts_with("."),
          ErrorCode::kUsage, "{}: has {}, which is no part of a tokenizer; choose another -o",
          shown, io::Escape(name));
  }
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.string());
  for (const std::string& input : ListTextFiles(names)) {
    for (const std::string& name : ours) {
      Check(!io::IsSameFile(output / name, input), ErrorCode::kUsage,
            "{}: is a file that is read; choose another -o", io::Escape(input));
    }
  }
}

}  // namespace

TokenizerTrainingResult TrainTokenizer(
    const std::vector<fs::path>& files, const fs::path& output, const TokenizerTraining& options,
    const DataOptions& data, bool overwrite,
    const std::function<void(const TokenizerTrainingEvent&)>& on_event) {
  CheckOutput(files, output, overwrite);
  data::CorpusRules rules;
  rules.options = data;
  const auto corpus = std::make_shared<const data::Corpus>(data::ReadCorpus(files, rules));
  TokenizerTrainingResult result;
  result.notes = corpus->notes;
  std::vector<std::string_view> texts;
  for (const data::CorpusFile& file : corpus->files) {
    texts.push_back(file.text());
    result.text_bytes += static_cast<idx_t>(file.text().size());
  }
  const std::string model = TrainSentencePiece(texts, options, on_event, corpus);
  CheckOutput(files, output, overwrite);  // once more: learning may have taken an hour
  CancelScope::Check();
  const CancelScope together(nullptr);  // the files of a tokenizer are written all or not at all
  if (io::IsDirectory(output)) {
    for (const std::string& name : TokenizerFiles(output)) io::RemoveAll(output / name);
  }
  WriteTokenizer(model, output);
  const auto tokenizer = OpenTokenizer(output);
  const Sample sample = Measure(*tokenizer, texts);
  result.kind = tokenizer->kind();
  result.vocabulary = tokenizer->vocabulary();
  result.sample_bytes = sample.bytes;
  result.sample_tokens = sample.tokens;
  result.sample_unknown = sample.unknown;
  return result;
}

TokenizerTrainingResult TrainTokenizer(
    Context& context, const std::vector<fs::path>& files, const fs::path& output,
    const TokenizerTraining& options, const DataOptions& data, bool overwrite,
    const std::function<void(const TokenizerTrainingEvent&)>& on_event) {
  const CancelScope scope(CancelFlagOf(context));
  CancelScope::Check();
  return TrainTokenizer(files, output, options, data, overwrite, on_event);
}

}  // namespace longspan::text
