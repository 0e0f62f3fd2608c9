#include "cli/tokenize_train.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/data_options.h"
#include "cli/visual/command.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/terminal.h"
#include "cli/waiting.h"
#include "longspan/tokenizer_training.h"

namespace longspan::cli {
namespace {

using text::PieceAlgorithm;
using text::TokenizerTraining;
using text::TokenizerTrainingResult;

struct TrainTokenizerCommand {
  TokenizerTraining options;
  std::vector<std::string> files;
  std::string output;
  DataOptions data;
  bool no_bytes = false, overwrite = false, json = false;
};

// Smaller texts are read in no time.
constexpr idx_t kTellBytes = idx_t{16} << 20;

std::string Report(const TrainTokenizerCommand& c, const TokenizerTrainingResult& r,
                   double seconds) {
  const double each = static_cast<double>(r.sample_bytes) /
                      static_cast<double>(std::max<idx_t>(1, r.sample_tokens));
  if (c.json) {
    nlohmann::ordered_json j = {{"output", c.output},         {"kind", r.kind},
                                {"vocabulary", r.vocabulary}, {"text_bytes", r.text_bytes},
                                {"bytes_per_token", each},    {"unknown_tokens", r.sample_unknown},
                                {"seconds", seconds}};
    return DumpJson(j);
  }
  return fmt::format(
      "{}: {}, {} pieces, {:.3f} bytes a token, {} unknown in the first {} bytes\n"
      "next: longspan tokenize -m {} 'a text'   longspan init --tokenizer {} -o start\n",
      c.output, r.kind, r.vocabulary, each, r.sample_unknown, r.sample_bytes, c.output, c.output);
}

int RunTrainTokenizer(TrainTokenizerCommand c) {
  const auto begin = std::chrono::steady_clock::now();
  c.options.byte_fallback = !c.no_bytes;
  // A terminal sees one line that changes; a log gets lines where they are worth their place.
  const bool terminal = DetectTerminal(STDERR_FILENO).interactive;
  Waiting learning("reading texts");
  const TokenizerTrainingResult result = text::TrainTokenizer(
      {c.files.begin(), c.files.end()}, c.output, c.options, c.data, c.overwrite,
      [&, before = idx_t{-1}](const auto& event) mutable {
        const idx_t percent = event.bytes * 100 / std::max<idx_t>(1, event.all_bytes);
        learning.Change(percent == 100 ? "learning pieces"
                                       : fmt::format("counting words, {} %", percent));
        if (terminal || event.all_bytes <= kTellBytes || percent / 10 == before) return;
        before = percent / 10;
        TellNote(fmt::format("read {} of {} bytes{}", event.bytes, event.all_bytes,
                             event.bytes == event.all_bytes ? ", learning pieces" : ""));
      });
  learning.End();
  TellNotes(result.notes);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  PrintResult(Report(c, result, seconds));
  return 0;
}

}  // namespace

CLI::App* RegisterTokenizeTrain(CLI::App* tokenize, Action& action) {
  auto* command = tokenize->add_subcommand(
      "train", "Learn a SentencePiece vocabulary from texts, by BPE or Unigram");
  const auto c = std::make_shared<TrainTokenizerCommand>();
  TokenizerTraining& o = c->options;
  const std::map<std::string, PieceAlgorithm> kinds = {{"bpe", PieceAlgorithm::kBpe},
                                                       {"unigram", PieceAlgorithm::kUnigram}};
  command->add_option("FILE", c->files, "Texts, tables, JSON or folders of them")->required();
  AddReadOptions(command, &c->data);
  BeginGroup(command, "Vocabulary");
  command->add_option("--kind", o.algorithm, "Algorithm: bpe or unigram")
      ->transform(CLI::CheckedTransformer(kinds).description("bpe|unigram"))
      ->default_str("bpe");
  command
      ->add_option(
          "--vocab-size", o.vocabulary,
          "Number of pieces, of which 3 are special and 256 bytes (see --no-byte-fallback)")
      ->capture_default_str();
  command->add_flag("--no-byte-fallback", c->no_bytes,
                    "Make <unk> of a character without a piece, for vocabularies below 1000");
  command
      ->add_option("--normalization", o.normalization,
                   "Normalization: identity (texts come back as they were), nmt_nfkc, nfkc, "
                   "nmt_nfkc_cf or nfkc_cf")
      ->capture_default_str();
  command
      ->add_option("--coverage", o.coverage, "Share of the characters that get a piece, from 0.98")
      ->capture_default_str();
  command->add_option("--longest-piece", o.longest_piece, "Longest piece in characters")
      ->capture_default_str();
  BeginGroup(command, heading::kOutput);
  command->add_option("-o,--output", c->output, "Folder to write")->required();
  command->add_flag("--overwrite", c->overwrite, "Replace the tokenizer in the folder");
  command->add_flag("--json", c->json, "Print one JSON document at the end");
  command->footer(
      "Writes spiece.model, and the same as tokenizer.json with tokenizer_config.json, which\n"
      "`transformers` opens. The same texts give the same bytes.\nExamples:\n"
      "  longspan tokenize train book.txt --vocab-size 4000 -o pieces\n"
      "  longspan tokenize train a.txt b.txt --kind unigram --vocab-size 320 --no-byte-fallback "
      "-o few");
  command->callback([c, &action] { action = [c] { return RunTrainTokenizer(*c); }; });
  return command;
}

}  // namespace longspan::cli
