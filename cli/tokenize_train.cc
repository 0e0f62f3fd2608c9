#include "cli/tokenize_train.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/data_options.h"
#include "cli/text_inputs.h"
#include "cli/visual/command.h"
#include "cli/visual/output.h"
#include "cli/visual/terminal.h"
#include "cli/waiting.h"
#include "data/corpus.h"
#include "io/escape.h"
#include "io/json.h"
#include "io/paths.h"
#include "model/model_folder.h"
#include "text/open_tokenizer.h"
#include "text/sentencepiece_trainer.h"
#include "text/text_pieces.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;
using text::SentencePieceFile;
using text::TokenizerTraining;

struct TrainTokenizerCommand {
  TokenizerTraining options;
  std::vector<std::string> files;
  std::string output;
  DataOptions data;
  bool no_bytes = false, overwrite = false, json = false;
};

// Smaller texts are read in no time.
constexpr idx_t kTellBytes = idx_t{16} << 20;

// What the new tokenizer makes of the text's beginning.
struct Sample {
  idx_t bytes = 0, tokens = 0, unknown = 0;
};

Sample Measure(const text::Tokenizer& tokenizer, const std::vector<std::string_view>& texts) {
  constexpr std::size_t kMost = std::size_t{1} << 20, kPiece = std::size_t{1} << 16;
  Sample sample;
  for (const std::string_view all : texts) {
    const std::size_t room = kMost - std::min(kMost, static_cast<std::size_t>(sample.bytes));
    std::vector<std::string_view> pieces;
    text::CutAtLines(all.substr(0, room), kPiece, &pieces);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      text::EncodeOptions plain;
      plain.special_tokens = false;
      plain.continues = i > 0;
      const text::Encoding e = tokenizer.Encode(pieces[i], plain).front();
      sample.bytes += static_cast<idx_t>(pieces[i].size());
      sample.tokens += e.size();
      const auto unk = tokenizer.special().unk;
      if (unk) sample.unknown += std::count(e.ids.begin(), e.ids.end(), *unk);
    }
  }
  return sample;
}

// A folder that holds nothing but a tokenizer may be written over.
void CheckOutput(const TrainTokenizerCommand& c) {
  if (!io::IsDirectory(c.output)) return;
  const auto ours = TokenizerFiles(c.output);
  for (const std::string& name : io::ListFolder(c.output)) {
    Check(c.overwrite, ErrorCode::kUsage,
          "{}: not empty (it has {}); --overwrite replaces the tokenizer in it",
          io::Escape(c.output), io::Escape(name));
    Check(std::find(ours.begin(), ours.end(), name) != ours.end() || name.starts_with("."),
          ErrorCode::kUsage, "{}: has {}, which is no part of a tokenizer; choose another -o",
          io::Escape(c.output), io::Escape(name));
  }
  for (const std::string& name : ours) CheckIsNoInputOf(c.files, fs::path(c.output) / name);
}

std::string Report(const TrainTokenizerCommand& c, const text::Tokenizer& tokenizer,
                   const Sample& sample, idx_t bytes, double seconds) {
  const double each =
      static_cast<double>(sample.bytes) / static_cast<double>(std::max<idx_t>(1, sample.tokens));
  if (c.json) {
    nlohmann::ordered_json j = {
        {"output", c.output},  {"kind", tokenizer.kind()}, {"vocabulary", tokenizer.vocabulary()},
        {"text_bytes", bytes}, {"bytes_per_token", each},  {"unknown_tokens", sample.unknown},
        {"seconds", seconds}};
    return io::DumpJson(j);
  }
  return fmt::format(
      "{}: {}, {} pieces, {:.3f} bytes a token, {} unknown in the first {} bytes\n"
      "next: longspan tokenize -m {} 'a text'   longspan init --tokenizer {} -o start\n",
      c.output, tokenizer.kind(), tokenizer.vocabulary(), each, sample.unknown, sample.bytes,
      c.output, c.output);
}

int RunTrainTokenizer(TrainTokenizerCommand c) {
  const auto begin = std::chrono::steady_clock::now();
  CheckOutput(c);
  c.options.byte_fallback = !c.no_bytes;
  data::CorpusRules rules;
  rules.options = c.data;
  Waiting reading("reading texts");
  const data::Corpus corpus = data::ReadCorpus({c.files.begin(), c.files.end()}, rules);
  reading.End();
  TellNotes(corpus.notes);
  std::vector<std::string_view> texts;
  for (const data::CorpusFile& file : corpus.files) texts.push_back(file.text());
  idx_t bytes = 0;
  for (const std::string_view text : texts) bytes += static_cast<idx_t>(text.size());
  // A terminal sees one line that changes; a log gets lines where they are worth their place.
  const bool logged = !DetectTerminal(STDERR_FILENO).interactive && bytes > kTellBytes;
  Waiting learning("counting words");
  const std::string model = text::TrainSentencePiece(
      texts, c.options, [&, before = idx_t{-1}](const auto& event) mutable {
        const idx_t percent = event.bytes * 100 / std::max<idx_t>(1, event.all_bytes);
        learning.Change(percent == 100 ? "learning pieces"
                                       : fmt::format("counting words, {} %", percent));
        if (!logged || percent / 10 == before) return;
        before = percent / 10;
        fmt::print(stderr, "longspan: read {} of {} bytes{}\n", event.bytes, event.all_bytes,
                   event.bytes == event.all_bytes ? ", learning pieces" : "");
      });
  CheckOutput(c);  // once more: learning may have taken an hour
  if (io::IsDirectory(c.output)) {
    for (const std::string& name : TokenizerFiles(c.output)) {
      io::RemoveAll(fs::path(c.output) / name);
    }
  }
  text::WriteTokenizer(model, c.output);
  const auto tokenizer = text::OpenTokenizer(c.output);
  const Sample sample = Measure(*tokenizer, texts);
  learning.End();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  PrintResult(Report(c, *tokenizer, sample, bytes, seconds));
  return 0;
}

}  // namespace

CLI::App* RegisterTokenizeTrain(CLI::App* tokenize, Action& action) {
  auto* command = tokenize->add_subcommand(
      "train", "Learn a SentencePiece vocabulary from texts, by BPE or Unigram");
  const auto c = std::make_shared<TrainTokenizerCommand>();
  TokenizerTraining& o = c->options;
  const std::map<std::string, SentencePieceFile::Kind> kinds = {
      {"bpe", SentencePieceFile::Kind::kBpe}, {"unigram", SentencePieceFile::Kind::kUnigram}};
  command->add_option("FILE", c->files, "Texts, tables, JSON or folders of them")->required();
  AddReadOptions(command, &c->data);
  BeginGroup(command, "Vocabulary");
  command->add_option("--kind", o.kind, "Algorithm: bpe or unigram")
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
