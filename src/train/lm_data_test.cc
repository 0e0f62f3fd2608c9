// What a language model reads: tokens instead of bytes, documents, rows of whole documents.
#include "train/lm_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numbers>
#include <numeric>

#include "base/errors.h"
#include "families/families.h"
#include "families/reformer/reformer_files.h"
#include "generate/token_rules.h"
#include "generate/written_text.h"
#include "longspan/data_stats.h"
#include "longspan/evaluate.h"
#include "longspan/generate.h"
#include "longspan/model.h"
#include "model/model_folder.h"
#include "tests/support/files.h"
#include "text/open_tokenizer.h"
#include "train/evaluate.h"
#include "train/packed_rows.h"
#include "train/token_stream.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::PutFile;
using test::TempDir;
using test::Throws;

const fs::path kPieces = test::kRoot / "tests/tokenizers/spiece-unigram";

// ---- packed rows --------------------------------------------------------------------------------

struct Documents5 {
  std::vector<std::int32_t> ids;
  std::vector<idx_t> starts;
  explicit Documents5(const std::vector<idx_t>& lengths) {
    std::int32_t next = 1;
    for (const idx_t length : lengths) {
      starts.push_back(static_cast<idx_t>(ids.size()));
      for (idx_t i = 0; i < length; ++i) ids.push_back(next++);
    }
  }
};

TEST(PackedRowsTest, HoldWholeDocumentsOnce) {
  const std::vector<idx_t> lengths = {5, 3, 8, 1, 17, 2, 4};
  const Documents5 d(lengths);
  const PackedRows rows(d.ids, d.starts, 8, 0);
  // 5 + 3, 8, 1 + 2 + 4, 8, 8 and a rest of 1 with the 1: six pieces of at most 8.
  std::vector<idx_t> all(static_cast<std::size_t>(rows.rows()));
  std::iota(all.begin(), all.end(), 0);
  Batch batch;
  const BatchView b = rows.Fill(all, &batch);
  EXPECT_EQ(b.tokens, 8);
  std::map<std::int32_t, int> seen;
  std::size_t at = 0;
  idx_t filled = 0, predicted = 0;
  for (const idx_t length : b.documents) {
    EXPECT_LE(at % 8 + static_cast<std::size_t>(length), 8u);
    for (std::size_t i = at; i < at + static_cast<std::size_t>(length); ++i) {
      const bool last = i + 1 == at + static_cast<std::size_t>(length);
      if (b.ids[i] == 0) {
        EXPECT_EQ(b.labels[i], kIgnoreLabel);
        continue;
      }
      ++filled;
      ++seen[b.ids[i]];
      predicted += last ? 0 : 1;
      EXPECT_EQ(b.labels[i], last ? kIgnoreLabel : b.ids[i] + 1);
    }
    at += static_cast<std::size_t>(length);
  }
  EXPECT_EQ(seen.size(), 40u);
  EXPECT_EQ(filled, 40);
  idx_t told = 0, told_predicted = 0;
  for (const idx_t row : all) {
    told += rows.Filled(row);
    told_predicted += rows.Predicted(row);
  }
  EXPECT_EQ(told, 40);
  EXPECT_EQ(told_predicted, predicted);
  EXPECT_NEAR(rows.pieces().padding(), 1.0 - 40.0 / static_cast<double>(8 * rows.rows()), 1e-12);
  EXPECT_NEAR(PackedPadding(lengths, 8), rows.pieces().padding(), 1e-12);
  EXPECT_LE(rows.rows(), 6);
  // With two special tokens around every piece: 6 of the 8 places are for text.
  const PackedPieces framed(d.starts, 40, 8, 2);
  idx_t pieces = 0, text = 0;
  for (idx_t row = 0; row < framed.rows(); ++row) {
    idx_t size = 0;
    for (const PackedPieces::Piece& piece : framed.Pieces(row)) {
      EXPECT_LE(piece.end - piece.begin, 6);
      size += piece.end - piece.begin + 2;
      text += piece.end - piece.begin;
      ++pieces;
    }
    EXPECT_LE(size, 8);
    EXPECT_EQ(framed.Filled(row), size);
  }
  EXPECT_EQ(text, 40);
  EXPECT_EQ(pieces, 10);  // 8 is cut into two, 17 into three
  std::vector<idx_t> with_specials = lengths;
  for (idx_t& length : with_specials) length += 2;
  EXPECT_NEAR(PackedPadding(with_specials, 8, 2), framed.padding(), 1e-12);
  EXPECT_TRUE(Throws([&] { PackedPieces(d.starts, 40, 2, 2); }, ErrorCode::kUsage, "need 3"));
  EXPECT_TRUE(Throws([&] { PackedRows(d.ids, d.starts, 1, 0); }, ErrorCode::kUsage, "need 2"));
}

// ---- tokens -------------------------------------------------------------------------------------

TrainOptions OptionsFor(const fs::path& text) {
  TrainOptions o;
  o.data.train = {text};
  o.data.held_out = 0.2;
  o.batch = 2;
  o.tokens = 16;
  o.accumulate = 2;
  return o;
}

TEST(LmDataTest, TokensOfTheSameHeldOutText) {
  TempDir d;
  PutFile(d / "t", GetFile(test::kRoot / "data/persuasion.txt").substr(0, 20000));
  const auto tokenizer = text::OpenTokenizer(kPieces);
  Context context(2);
  const TrainOptions o = OptionsFor(d / "t");
  const auto data = MakeLmData(context, o, {}, *tokenizer);
  EXPECT_LT(data->TokensPerByte(), 0.7);
  EXPECT_GT(data->TokensPerByte(), 0.2);
  EXPECT_EQ(data->Draw(3).counted, 64);
  const BatchView first = data->Micro(0);
  const std::vector<std::int32_t> ids(first.ids.begin(), first.ids.end());
  for (std::size_t t = 0; t + 1 < 16; ++t) EXPECT_EQ(first.labels[t], first.ids[t + 1]);
  data->Draw(4);
  EXPECT_NE(std::vector(data->Micro(0).ids.begin(), data->Micro(0).ids.end()), ids);
  data->Draw(3);
  EXPECT_EQ(std::vector(data->Micro(0).ids.begin(), data->Micro(0).ids.end()), ids);
  // One thread reads the same; another text does not.
  Context one(1);
  EXPECT_EQ(MakeLmData(one, o, {}, *tokenizer)->Fingerprint(), data->Fingerprint());
  PutFile(d / "t", GetFile(test::kRoot / "data/persuasion.txt").substr(1, 20000));
  EXPECT_NE(MakeLmData(context, o, {}, *tokenizer)->Fingerprint(), data->Fingerprint());
}

TEST(LmDataTest, DocumentsEndWithTheEndOfText) {
  TempDir d;
  PutFile(d / "t", "one line\n\nanother one\n\nthe third\n\na fourth\n\nand a last one\n");
  const auto tokenizer = text::OpenTokenizer(kPieces);
  Context context(1);
  TokenStream stream;
  const data::Corpus corpus = data::ReadCorpus({d / "t"}, {});
  stream.Append(context, *tokenizer, corpus.files[0].DocumentsOf(Documents::kBlankLine),
                tokenizer->special().eos);
  EXPECT_EQ(stream.documents(), 5);
  const std::vector<std::int32_t> ids = stream.ids().ToVector();
  EXPECT_EQ(std::count(ids.begin(), ids.end(), *tokenizer->special().eos), 5);
  EXPECT_EQ(ids.back(), *tokenizer->special().eos);
  for (const idx_t start : stream.starts()) {
    EXPECT_TRUE(start == 0 ||
                ids[static_cast<std::size_t>(start - 1)] == *tokenizer->special().eos);
  }
  TrainOptions o = OptionsFor(d / "t");
  LanguageModelOptions task;
  task.packed = true;
  EXPECT_TRUE(Throws([&] { MakeLmData(context, o, task, *tokenizer); }, ErrorCode::kUsage,
                     "say where a document ends"));
  task.documents = Documents::kBlankLine;
  const auto packed = MakeLmData(context, o, task, *tokenizer);
  const StepSize size = packed->Draw(1);
  EXPECT_LT(size.counted, size.tokens);
  EXPECT_FALSE(packed->Micro(0).documents.empty());
  EXPECT_NE(packed->Describe().find("packed: 5 documents"), std::string::npos)
      << packed->Describe();
  const auto no_end = text::OpenTokenizer(test::kRoot / "tests/tokenizers/bert-uncased");
  EXPECT_TRUE(Throws([&] { MakeLmData(context, o, task, *no_end); }, ErrorCode::kFormat,
                     "it has none (eos_token)"));
}

// ---- training -----------------------------------------------------------------------------------

// A small model with local and LSH layers for the pieces.
void MakeModel(const fs::path& directory, const text::Tokenizer& tokenizer) {
  ReformerConfig c = ReformerPreset("tiny");
  c.vocab_size = tokenizer.vocabulary();
  c.hidden_dropout = c.local_dropout = c.lsh_dropout = 0.0;
  Reformer model(c);
  model.Initialise(3);
  SaveReformer(model, directory);
}

TEST(TrainPieces, ReportsBitsPerByteAndTakesTheTokenizerAlong) {
  TempDir d;
  PutFile(d / "t", GetFile(test::kRoot / "data/persuasion.txt").substr(0, 30000));
  const auto tokenizer = text::OpenTokenizer(kPieces);
  MakeModel(d / "start", *tokenizer);
  Context context(2);
  TrainOptions o = OptionsFor(d / "t");
  o.model = d / "start";
  o.output = d / "run";
  o.steps = 4;
  o.tokens = 64;
  o.checkpoints.eval_every = 2;
  o.checkpoints.save_every = 2;
  LanguageModelOptions task;
  task.tokenizer = kPieces;
  const TrainResult result = TrainLanguageModel(context, o, task);
  EXPECT_TRUE(fs::exists(d / "run/spiece.model"));
  EXPECT_TRUE(fs::exists(d / "run/checkpoint-2/spiece.model"));
  // The same number from the model alone, on the same bytes.
  EvalOptions eval;
  eval.model = d / "run";
  eval.text = d / "t";
  eval.held_out = 0.2;
  eval.tokens = 64;
  const EvalResult r = EvaluateLanguageModel(context, eval);
  EXPECT_NEAR(r.bits_per_byte, result.eval_bits_per_byte, 1e-9);
  EXPECT_NEAR(r.loss, result.eval_loss, 1e-9);
  EXPECT_EQ(r.bytes, 6000);
  EXPECT_NEAR(r.bits_per_byte,
              r.loss / std::numbers::ln2 * static_cast<double>(r.counted + 1) / 6000.0, 1e-9);
  // The library goes on from a text with the same tokenizer.
  const Model library = Model::Load(d / "run");
  GenerateOptions eight;
  eight.tokens = 8;
  const std::string written = Generate(context, library, "She had", eight).text;
  EXPECT_EQ(written, Generate(context, library, "She had", eight).text);
  EXPECT_FALSE(written.empty());
  // By the rule that the program has for what may be written.
  Reformer trained = LoadReformer(OpenModelFolder(d / "run"));
  const auto pieces = OpenModelTokenizer(d / "run");
  TokenGeneration options;
  options.tokens = 8;
  FollowTokenizer(*pieces, trained.config().vocab_size, &options);
  text::EncodeOptions plain;
  plain.special_tokens = false;
  const std::vector<std::int32_t> prompts[] = {pieces->Encode("She had", plain).front().ids};
  WrittenText shown(*pieces, prompts[0], {});
  GenerateTexts(context, trained, prompts, options, [&](std::size_t, std::int32_t id) {
    shown.Add(id);
    return true;
  });
  shown.Finish();
  EXPECT_EQ(written, shown.text());
  // Stopped after two updates and resumed: the same.
  TrainOptions half = o;
  half.output = d / "again";
  idx_t seen = 0;
  TrainHooks stop;
  stop.should_stop = [&] { return ++seen == 2; };
  EXPECT_TRUE(TrainLanguageModel(context, half, task, stop).stopped);
  half.checkpoints.resume = true;
  EXPECT_EQ(TrainLanguageModel(context, half, task).eval_loss, result.eval_loss);
  // The tokenizer of another model.
  ReformerConfig small = LoadReformerConfig(OpenModelFolder(d / "start"));
  small.vocab_size = 300;
  Reformer model(small);
  SaveReformer(model, d / "small");
  o.model = d / "small";
  o.output = d / "other";
  EXPECT_TRUE(Throws([&] { TrainLanguageModel(context, o, task); }, ErrorCode::kFormat,
                     "it has 700 ids, the model's word table 300 (vocab_size)"));
}

TEST(TrainPieces, PackedRunsAreTheSameForAnyThreads) {
  TempDir d;
  PutFile(d / "t", GetFile(test::kRoot / "data/persuasion.txt").substr(0, 30000));
  const auto tokenizer = text::OpenTokenizer(kPieces);
  MakeModel(d / "start", *tokenizer);
  TrainOptions o = OptionsFor(d / "t");
  o.model = d / "start";
  o.steps = 3;
  o.tokens = 128;
  LanguageModelOptions task;
  task.tokenizer = kPieces;
  task.documents = Documents::kBlankLine;
  task.packed = true;
  std::vector<double> losses;
  for (const int threads : {1, 2}) {
    Context context(threads);
    o.output = d / ("run" + std::to_string(threads));
    losses.push_back(TrainLanguageModel(context, o, task).eval_loss);
  }
  EXPECT_EQ(losses[0], losses[1]);
}

// ---- data stats ---------------------------------------------------------------------------------

TEST(DataStatsTest, CountsWhatIsThere) {
  TempDir d;
  PutFile(d / "a.txt", "one\n\ntwo two\n\none\n\n\n\nb\xFF\xFEroken \xEF\xBF\xBD\n");
  PutFile(d / "b.jsonl",
          "{\"text\": \"one\"}\nno json\n{\"other\": 1}\n{\"text\": \"caf\xC3\xA9\"}\n");
  PutFile(d / "c.csv", "text,label\n\"a, \xE0\xBD\x80 \xE0\xBD\x81\",x\nshort\n");
  DataStatsOptions o;
  o.files = {d / "a.txt", d / "b.jsonl", d / "c.csv"};
  o.documents = Documents::kBlankLine;
  o.lengths = {4, 100};
  Context context(2);
  const DataStats s = CollectDataStats(context, o);
  EXPECT_EQ(s.files, 3);
  EXPECT_EQ(s.documents, 7);
  EXPECT_EQ(s.duplicates, 2);
  EXPECT_EQ(s.duplicate_bytes, 6);
  EXPECT_EQ(s.invalid_documents, 1);
  EXPECT_EQ(s.invalid_pieces, 2);
  EXPECT_EQ(s.unreadable, 3);
  EXPECT_NE(s.first_unreadable.find("b.jsonl:2"), std::string::npos) << s.first_unreadable;
  EXPECT_FALSE(s.token_lengths.has_value());
  EXPECT_EQ(s.byte_lengths.shortest, 3);
  idx_t in_bins = 0;
  for (const LengthBin& bin : s.byte_lengths.bins) in_bins += bin.documents;
  EXPECT_EQ(in_bins, 7);
  ASSERT_EQ(s.cuts.size(), 2u);
  EXPECT_EQ(s.cuts[1].cut_documents, 0);
  EXPECT_GT(s.cuts[0].cut_documents, 0);
  EXPECT_NEAR(s.cuts[1].padding, 1.0 - static_cast<double>(s.byte_lengths.total) / 700.0, 1e-12);
  EXPECT_NEAR(s.cuts[1].packed_padding, 1.0 - static_cast<double>(s.byte_lengths.total) / 100.0,
              1e-12);
  const auto tokenizer = text::OpenTokenizer(test::kRoot / "tests/tokenizers/spiece-bpe");
  o.tokenizer = tokenizer.get();
  const DataStats t = CollectDataStats(context, o);
  ASSERT_TRUE(t.token_lengths.has_value());
  idx_t tokens = 0;
  for (const char* x : {"one", "two two", "one", "b\xEF\xBF\xBD\xEF\xBF\xBDroken \xEF\xBF\xBD",
                        "one", "caf\xC3\xA9", "a, \xE0\xBD\x80 \xE0\xBD\x81"}) {
    tokens += tokenizer->Encode(x)[0].size();
  }
  EXPECT_EQ(t.token_lengths->total, tokens);
  EXPECT_EQ(t.unknown_tokens, 2);
  o.files = {d / "empty.txt"};
  PutFile(d / "empty.txt", "\n\n");
  EXPECT_TRUE(Throws([&] { CollectDataStats(context, o); }, ErrorCode::kFormat, "no document"));
}

TEST(DataStatsTest, PercentilesAreLengthsThatOccur) {
  TempDir d;
  std::string lines;
  for (int i = 1; i <= 200; ++i) lines += std::string(static_cast<std::size_t>(i), 'x') + "\n";
  PutFile(d / "t", lines);
  DataStatsOptions o;
  o.files = {d / "t"};
  o.documents = Documents::kLine;
  Context context(1);
  const DataStats s = CollectDataStats(context, o);
  std::map<int, idx_t> shares;
  for (const auto& p : s.byte_lengths.percentiles) shares[p.share] = p.length;
  EXPECT_EQ(shares[1], 2);
  EXPECT_EQ(shares[50], 100);
  EXPECT_EQ(shares[99], 198);
  EXPECT_EQ(s.byte_lengths.longest, 200);
}

}  // namespace
}  // namespace longspan
