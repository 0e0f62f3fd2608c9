// What training reads and in which order: masks, token streams, tables, batches, scores.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>
#include <set>

#include "base/errors.h"
#include "base/rng.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"
#include "train/labelled_text.h"
#include "train/length_batches.h"
#include "train/mask_tokens.h"
#include "train/token_stream.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;
using test::TempDir;
using test::Throws;

void Write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

// ---- masks --------------------------------------------------------------------------------------

struct Masked {
  std::vector<std::int32_t> ids, labels;
  idx_t count = 0;
};

Masked Mask(const MaskRule& rule, std::uint64_t key, const std::vector<std::int32_t>& ids,
            const std::vector<std::uint8_t>& fixed) {
  Masked m{ids, std::vector<std::int32_t>(ids.size()), 0};
  m.count = MaskTokens(rule, key, fixed, m.ids, m.labels);
  return m;
}

TEST(MaskTokensTest, SharesAreThoseOfTheRule) {
  constexpr idx_t kTokens = 200000;
  MaskRule rule;
  rule.mask_id = 4;
  rule.vocabulary = 1000;
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> fixed;
  for (idx_t t = 0; t < kTokens; ++t) {
    ids.push_back(static_cast<std::int32_t>(500 + t % 7));
    fixed.push_back(t % 10 == 0);
  }
  const Masked m = Mask(rule, 11, ids, fixed);
  idx_t chosen = 0, masked = 0, same = 0;
  std::set<std::int32_t> others;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    if (m.labels[t] == kIgnoreLabel) {
      EXPECT_EQ(m.ids[t], ids[t]);
      continue;
    }
    EXPECT_EQ(fixed[t], 0);
    EXPECT_EQ(m.labels[t], ids[t]);
    ++chosen;
    masked += m.ids[t] == 4;
    same += m.ids[t] == ids[t];
    others.insert(m.ids[t]);
  }
  EXPECT_EQ(chosen, m.count);
  // Five standard deviations of the binomial.
  const auto near = [](idx_t hits, double n, double p) {
    return std::abs(static_cast<double>(hits) - n * p) < 5.0 * std::sqrt(n * p * (1.0 - p));
  };
  EXPECT_TRUE(near(chosen, 0.9 * kTokens, 0.15)) << chosen;
  EXPECT_TRUE(near(masked, static_cast<double>(chosen), 0.8001)) << masked;
  EXPECT_TRUE(near(same, static_cast<double>(chosen), 0.1001)) << same;
  EXPECT_GT(others.size(), 900u);  // random ids come from the whole vocabulary
  EXPECT_LT(*others.rbegin(), 1000);
}

TEST(MaskTokensTest, IsAFunctionOfTheKey) {
  const std::vector<std::int32_t> ids(64, 9);
  const std::vector<std::uint8_t> fixed(64, 0);
  MaskRule rule;
  rule.vocabulary = 20;
  const Masked a = Mask(rule, 5, ids, fixed), b = Mask(rule, 5, ids, fixed);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_NE(a.labels, Mask(rule, 6, ids, fixed).labels);
}

TEST(MaskTokensTest, AtLeastOneWhereOneIsPossible) {
  MaskRule rule;
  rule.share = 1e-9;
  rule.vocabulary = 20;
  EXPECT_EQ(Mask(rule, 5, {7, 8, 9}, {1, 0, 0}).count, 1);
  EXPECT_EQ(Mask(rule, 5, {7, 8, 9}, {1, 1, 1}).count, 0);
}

// ---- token streams ------------------------------------------------------------------------------

TEST(TokenStreamTest, JoinsFilesAndPieces) {
  const TempDir d;
  const test::WordTokenizer tokenizer({"a", "b", "c"});
  const auto id = [&](const char* word) { return *tokenizer.IdOf(word); };
  Write(d.path() / "1", "a b\n\nc");
  Write(d.path() / "2", "b");
  Context context(2);
  const std::int32_t sep = *tokenizer.special().sep;
  const auto join = [&](Context& c, const std::vector<fs::path>& files, Documents documents,
                        TokenStream stream = {}) {
    for (const data::CorpusFile& file : data::ReadCorpus(files, {}).files) {
      stream.Join(c, tokenizer, file, documents, sep);
    }
    return stream;
  };
  const TokenStream stream = join(context, {d.path() / "1", d.path() / "2"}, Documents::kBlankLine);
  const std::vector<std::int32_t> expected = {id("a"), id("b"), sep, id("c"), sep, id("b")};
  EXPECT_EQ(stream.ids().ToVector(), expected);
  EXPECT_EQ(stream.documents(), 3);
  // Longer than a piece: nothing is lost at the seams, for any number of threads.
  std::string lines;
  for (int i = 0; i < 40000; ++i) lines += i % 3 == 0 ? "a b\n" : "c\n";
  Write(d.path() / "3", lines);
  Context one(1);
  const TokenStream three = join(context, {d.path() / "3"}, Documents::kFile);
  // In a file, too.
  const TokenStream again =
      join(one, {d.path() / "3"}, Documents::kFile, TokenStream(d.path() / "run", true, 1000));
  EXPECT_EQ(three.ids().size(), 40000u + 13334u);
  EXPECT_EQ(three.ids().ToVector(), again.ids().ToVector());
  EXPECT_EQ(three.ids().Checksum(), again.ids().Checksum());
  EXPECT_TRUE(std::ranges::equal(three.starts(), again.starts()));
  EXPECT_NE(three.fingerprint(), stream.fingerprint());
}

// ---- tables -------------------------------------------------------------------------------------

TEST(LabelledTextTest, TablesAndLinesSayTheSame) {
  const TempDir d;
  Write(d.path() / "t.csv", "label,text\nyes,\"one, two\nthree\"\nno,four\n");
  Write(d.path() / "t.tsv", "text\tlabel\n\"one, two\nthree\"\tyes\nfour\tno\n");
  Write(d.path() / "t.jsonl",
        "{\"text\": \"one, two\\nthree\", \"label\": \"yes\"}\n\n{\"text\": \"four\", \"label\": "
        "\"no\"}\n");
  for (const char* name : {"t.csv", "t.tsv", "t.jsonl"}) {
    const LabelledTexts t = ReadLabelledTexts({d.path() / name}, {}, ProblemType::kInferred);
    ASSERT_EQ(t.rows.size(), 2u) << name;
    EXPECT_EQ(t.rows[0].text, "one, two\nthree");
    EXPECT_EQ(t.rows[0].labels, std::vector<std::string>{"yes"});
    EXPECT_EQ(t.rows[1].text, "four");
    EXPECT_EQ(LabelNames(t.rows), (std::vector<std::string>{"no", "yes"}));
    EXPECT_FALSE(t.sets);
  }
  EXPECT_EQ(ReadLabelledTexts({d.path() / "t.csv"}, {}, ProblemType::kInferred).rows[1].line, 4);
}

TEST(LabelledTextTest, SetsNumbersAndPairs) {
  const TempDir d;
  DataOptions columns;
  columns.pair_field = "b";
  Write(d.path() / "t.csv", "text,b,label\nx,y,10|2\nz,,\n");
  const LabelledTexts sets =
      ReadLabelledTexts({d.path() / "t.csv"}, columns, ProblemType::kMultiLabel);
  EXPECT_EQ(sets.rows[0].labels, (std::vector<std::string>{"10", "2"}));
  EXPECT_EQ(sets.rows[0].pair, "y");
  EXPECT_TRUE(sets.rows[1].labels.empty());
  EXPECT_EQ(LabelNames(sets.rows), (std::vector<std::string>{"2", "10"}));  // as numbers
  Write(d.path() / "t.jsonl",
        "{\"text\":\"x\",\"label\":[\"a\",3]}\n{\"text\":\"y\",\"label\":[]}\n");
  const LabelledTexts lists = ReadLabelledTexts({d.path() / "t.jsonl"}, {}, ProblemType::kInferred);
  EXPECT_TRUE(lists.sets);
  EXPECT_EQ(lists.rows[0].labels, (std::vector<std::string>{"a", "3"}));
  Write(d.path() / "n.csv", "text,label\nx,-1.5e0\n");
  EXPECT_EQ(ReadLabelledTexts({d.path() / "n.csv"}, {}, ProblemType::kRegression).rows[0].value,
            -1.5);
}

TEST(LabelledTextTest, DamageIsNamedWithItsLine) {
  const TempDir d;
  const auto throws = [&](const char* name, const std::string& text, ProblemType problem,
                          const char* says, ErrorCode code = ErrorCode::kFormat) {
    Write(d.path() / name, text);
    return Throws([&] { ReadLabelledTexts({d.path() / name}, {}, problem); }, code, says);
  };
  constexpr ProblemType kAuto = ProblemType::kInferred;
  EXPECT_TRUE(throws("a.txt", "x", kAuto, "come as .csv, .tsv, .jsonl", ErrorCode::kUsage));
  EXPECT_TRUE(
      throws("a.csv", "text,class\nx,1\n", kAuto, "no column \"label\"; there are text, class"));
  EXPECT_TRUE(throws("a.csv", "text,label\nx,1\ny\n", kAuto, "a.csv:3: 1 fields, but the first"));
  EXPECT_TRUE(throws("a.csv", "text,label\nx,\n", kAuto, "a.csv:2: the label is empty"));
  EXPECT_TRUE(throws("a.csv", "text,label\n", kAuto, "holds no text"));
  EXPECT_TRUE(throws("a.csv", "text,label\nx,nan\n", ProblemType::kRegression, "is no number"));
  EXPECT_TRUE(throws("a.csv", "text,label\nx,1\ny,-1e300\n", ProblemType::kRegression,
                     "a.csv:3: label -1e+300 is too large to be learned"));
  EXPECT_TRUE(throws("a.jsonl", "{\"text\":\"x\",\"label\":1e39}\n", ProblemType::kRegression,
                     "a.jsonl:1: label 1e+39 is too large to be learned"));
  EXPECT_TRUE(
      throws("a.jsonl", "{\"text\":\"x\",\"label\":1}\n[1]\n", kAuto, "a.jsonl:2: is no JSON"));
  EXPECT_TRUE(throws("a.jsonl", "{\"text\":\"x\"}\n", kAuto, "\"label\" is missing"));
  EXPECT_TRUE(throws("a.jsonl", "{\"text\":\"x\",\"label\":1.5}\n", kAuto, "--problem regression"));
  EXPECT_TRUE(throws("a.jsonl", "{\"text\":\"x\",\"label\":[1]}\n", ProblemType::kSingleLabel,
                     "--problem multi"));
  EXPECT_TRUE(throws("a.jsonl", "{\"text\":\"x\",\"label\":\"1\"}\n", ProblemType::kRegression,
                     "is no number"));
  EXPECT_TRUE(throws("a.jsonl", "{\"text\":\"x\"\n", kAuto, "a.jsonl:1"));
  EXPECT_TRUE(throws("a.csv", "text,label\nx,1\n,2\n", kAuto, "a.csv:3: \"text\" is missing"));
  EXPECT_TRUE(throws("a.csv", "text,label\nx,1\ny,\xfc\n", kAuto, "a.csv:3: column \"label\""));
}

TEST(LabelledTextTest, SetsInFieldsOfTables) {
  const TempDir d;
  const auto labels = [&](const std::string& rows) {
    Write(d.path() / "s.csv", "text,label\n" + rows);
    const LabelledTexts t = ReadLabelledTexts({d.path() / "s.csv"}, {}, ProblemType::kInferred);
    return std::pair(t.rows[0].labels, t.one_hot);
  };
  EXPECT_EQ(labels("x,\"[1, 0, 1]\"\ny,\"[0, 1, 0]\"\n"),
            (std::pair<Names, idx_t>({"LABEL_0", "LABEL_2"}, 3)));
  EXPECT_EQ(labels("x,\"['a', 'b']\"\ny,['c']\n"), (std::pair<Names, idx_t>({"a", "b"}, 0)));
  const auto throws = [&](const std::string& rows, const char* says) {
    return Throws([&] { labels(rows); }, ErrorCode::kFormat, says);
  };
  EXPECT_TRUE(throws("x,\"[1, 0, 1]\"\ny,\"[0, 1]\"\n", "s.csv:2: a label stands twice"));
  EXPECT_TRUE(throws("x,[a b\" c]\n", "s.csv:2: "));
  EXPECT_TRUE(throws("x," + std::string(5000, 'a') + "\n", "s.csv:2: a label of 5000 bytes"));
}

TEST(LabelledTextTest, TruthValuesAreZerosAndOnesInEveryFormat) {
  const TempDir d;
  Write(d.path() / "t.csv", "text,label\nx,\"[True, False]\"\ny,\"[False, False]\"\n");
  Write(d.path() / "t.jsonl",
        "{\"text\":\"x\",\"label\":[true,false]}\n{\"text\":\"y\",\"label\":[false,false]}\n");
  for (const char* name : {"t.csv", "t.jsonl"}) {
    const LabelledTexts t = ReadLabelledTexts({d.path() / name}, {}, ProblemType::kInferred);
    EXPECT_EQ(t.one_hot, 2) << name;
    EXPECT_EQ(t.rows[0].labels, Names{"LABEL_0"}) << name;
    EXPECT_EQ(t.rows[1].labels, Names{}) << name;
  }
  // Alone it is a name, and so are 0 and 1 in quotation marks.
  Write(d.path() / "one.jsonl", "{\"text\":\"x\",\"label\":true}\n");
  EXPECT_EQ(ReadLabelledTexts({d.path() / "one.jsonl"}, {}, ProblemType::kInferred).rows[0].labels,
            Names{"true"});
  Write(d.path() / "names.jsonl", "{\"text\":\"x\",\"label\":[\"1\",\"0\"]}\n");
  EXPECT_EQ(ReadLabelledTexts({d.path() / "names.jsonl"}, {}, ProblemType::kInferred).one_hot, 0);
}

TEST(LabelledTextTest, ListsOfNumbersAreReadAlikeInJsonAndTables) {
  const TempDir d;
  Write(d.path() / "a.jsonl",
        "{\"text\":\"x\",\"label\":[1.0,0.0]}\n{\"text\":\"y\",\"label\":[true,1]}\n");
  Write(d.path() / "a.csv", "text,label\nx,\"[1.0, 0.0]\"\ny,\"[True, 1]\"\n");
  for (const char* name : {"a.jsonl", "a.csv"}) {
    const LabelledTexts texts = ReadLabelledTexts({d.path() / name}, {}, ProblemType::kInferred);
    EXPECT_EQ(texts.one_hot, 2) << name;
    EXPECT_EQ(texts.rows[0].labels, (Names{"LABEL_0"})) << name;
    EXPECT_EQ(texts.rows[1].labels, (Names{"LABEL_0", "LABEL_1"})) << name;
  }
  Write(d.path() / "b.jsonl", "{\"text\":\"x\",\"label\":[0.5,1.0]}\n");
  EXPECT_TRUE(Throws([&] { ReadLabelledTexts({d.path() / "b.jsonl"}, {}, ProblemType::kInferred); },
                     ErrorCode::kFormat,
                     "b.jsonl:1: label 0.5 is no text, integer or list of them"));
}

TEST(LabelledTextTest, ProseHasLabelsInItsLinesOrItsFolders) {
  const TempDir d;
  const auto read = [&](const char* name, ProblemType problem = ProblemType::kInferred) {
    return ReadLabelledTexts({d.path() / name}, {}, problem);
  };
  Write(d.path() / "one.txt", "\n__label__pos  Fine weather.\n\n__label__neg\tRain, again.\n");
  const LabelledTexts one = read("one.txt");
  ASSERT_EQ(one.rows.size(), 2u);
  EXPECT_FALSE(one.sets);
  EXPECT_EQ(one.rows[0].text, "Fine weather.");
  EXPECT_EQ(one.rows[1].labels, (Names{"neg"}));
  EXPECT_EQ(one.rows[1].where, (d.path() / "one.txt:4").string());
  Write(d.path() / "sets.txt", "__label__a __label__b x\n__label__b y\n");
  const LabelledTexts sets = read("sets.txt");
  EXPECT_TRUE(sets.sets);
  EXPECT_EQ(sets.one_hot, 0);
  EXPECT_EQ(sets.rows[0].labels, (Names{"a", "b"}));
  EXPECT_EQ(sets.rows[1].labels, (Names{"b"}));
  EXPECT_TRUE(Throws([&] { read("sets.txt", ProblemType::kSingleLabel); }, ErrorCode::kFormat,
                     "sets.txt:1: the label is a list; sets of labels are learned with"));
  Write(d.path() / "stars.txt", "__label__4.5 good\n__label__1 bad\n");
  EXPECT_EQ(read("stars.txt", ProblemType::kRegression).rows[0].value, 4.5);
  EXPECT_TRUE(Throws([&] { read("one.txt", ProblemType::kRegression); }, ErrorCode::kFormat,
                     "one.txt:2: label \"pos\" is no number"));
  std::filesystem::create_directories(d.path() / "mail/spam");
  std::filesystem::create_directories(d.path() / "mail/ham");
  Write(d.path() / "mail/spam/1", "Buy now.\n");
  Write(d.path() / "mail/ham/2.txt", "See you\nat eight.\n");
  Write(d.path() / "mail/ham/3.txt", "");
  const LabelledTexts mail = read("mail");
  ASSERT_EQ(mail.rows.size(), 2u);
  EXPECT_EQ(mail.rows[0].text, "See you\nat eight.");
  EXPECT_EQ(mail.rows[0].labels, (Names{"ham"}));
  EXPECT_EQ(mail.rows[1].labels, (Names{"spam"}));
  EXPECT_EQ(mail.rows[1].where, (d.path() / "mail/spam/1").string());
  EXPECT_NE(mail.fingerprint, one.fingerprint);
}

TEST(LabelledTextTest, BadRowsMayBeLeftOut) {
  const TempDir d;
  Write(d.path() / "a.csv", "text,label\nx,1\n,2\ny,\nz,3\nu\n");
  DataOptions options;
  options.skip_bad = true;
  std::vector<std::string> notes;
  const LabelledTexts t =
      ReadLabelledTexts({d.path() / "a.csv"}, options, ProblemType::kInferred, &notes);
  ASSERT_EQ(t.rows.size(), 2u);
  EXPECT_EQ(t.rows[1].text, "z");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("3 rows cannot be used"), std::string::npos) << notes[0];
}

TEST(LabelledTextTest, AColumnOfTheUsualNameIsTheSecondText) {
  const TempDir d;
  Write(d.path() / "p.csv", "text,text_pair,label\nx,y,1\nz,,2\n");
  Write(d.path() / "p.jsonl",
        "{\"text\":\"x\",\"text_pair\":\"y\",\"label\":1}\n{\"text\":\"z\",\"label\":2}\n");
  for (const char* name : {"p.csv", "p.jsonl"}) {
    std::vector<std::string> notes;
    const auto read = [&](const DataOptions& options) {
      notes.clear();
      return ReadLabelledTexts({d.path() / name}, options, ProblemType::kInferred, &notes);
    };
    const LabelledTexts pairs = read({});
    EXPECT_EQ(pairs.rows[0].pair, "y");
    EXPECT_EQ(pairs.rows[1].pair, "");
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_NE(notes[0].find("pairs: \"text_pair\" is the second text of 1 of 2 rows"),
              std::string::npos)
        << notes[0];
    DataOptions none;
    none.pair_field = "";
    const LabelledTexts single = read(none);
    EXPECT_EQ(single.rows[0].pair, "");
    EXPECT_TRUE(notes.empty());
    EXPECT_NE(single.fingerprint, pairs.fingerprint);
    DataOptions other;
    other.text_field = "text_pair";  // then it is the text
    other.skip_bad = true;
    EXPECT_EQ(read(other).rows[0].text, "y");
    EXPECT_EQ(read(other).rows[0].pair, "");
  }
  DataOptions named;
  named.pair_field = "text_pair";  // of JSON every row must have it, as any field that is named
  EXPECT_TRUE(
      Throws([&] { ReadLabelledTexts({d.path() / "p.jsonl"}, named, ProblemType::kInferred); },
             ErrorCode::kFormat, "text_pair"));
  // Elsewhere nothing changes: neither prose with labels nor tables without that column.
  Write(d.path() / "t.csv", "text,label\nx,1\n");
  std::vector<std::string> notes;
  ReadLabelledTexts({d.path() / "t.csv"}, {}, ProblemType::kInferred, &notes);
  EXPECT_TRUE(notes.empty());
}

TEST(LabelledTextTest, LabelsThatLookLikeSetsAreNamed) {
  const TempDir d;
  Write(d.path() / "s.csv", "text,label\nx,a\ny,a|b\nz,b|a\n");
  const auto notes_of = [&](ProblemType problem) {
    std::vector<std::string> notes;
    ReadLabelledTexts({d.path() / "s.csv"}, {}, problem, &notes);
    return notes;
  };
  const std::vector<std::string> notes = notes_of(ProblemType::kInferred);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("s.csv:3: the label \"a|b\" is read as one name"), std::string::npos)
      << notes[0];
  EXPECT_NE(notes[0].find("2 rows with '|' in it; --problem multi"), std::string::npos) << notes[0];
  EXPECT_TRUE(notes_of(ProblemType::kSingleLabel).empty());  // what was asked for
  EXPECT_TRUE(notes_of(ProblemType::kMultiLabel).empty());
}

// ---- batches ------------------------------------------------------------------------------------

TEST(LengthBatchesTest, EveryEpochSeesEveryRowOnce) {
  std::vector<idx_t> lengths;
  Rng rng(3);
  for (int i = 0; i < 1003; ++i) lengths.push_back(1 + rng.Below(500));
  for (const idx_t batch : {1, 4}) {
    LengthBatches order(lengths, batch, 3, 17);
    idx_t padded = 0, real = 0;
    std::vector<std::vector<idx_t>> epochs;
    for (idx_t epoch = 0; epoch < 2; ++epoch) {
      std::vector<idx_t> seen;
      for (idx_t u = 1; u <= order.updates(); ++u) {
        const auto micros = order.Update(epoch * order.updates() + u);
        EXPECT_LE(micros.size(), 3u);
        for (const std::vector<idx_t>& micro : micros) {
          ASSERT_FALSE(micro.empty());
          idx_t longest = 0;
          for (const idx_t r : micro) {
            longest = std::max(longest, lengths[static_cast<std::size_t>(r)]);
            real += lengths[static_cast<std::size_t>(r)];
            seen.push_back(r);
          }
          padded += longest * static_cast<idx_t>(micro.size());
        }
      }
      epochs.push_back(seen);
      std::sort(seen.begin(), seen.end());
      std::vector<idx_t> all(lengths.size());
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(seen, all);
    }
    EXPECT_NE(epochs[0], epochs[1]);
    // Rows of random lengths padded without order waste more than a third.
    EXPECT_LT(static_cast<double>(padded), 1.1 * static_cast<double>(real));
    // Any update can be asked for at any time.
    const std::vector<idx_t> first = order.Update(2)[0];
    LengthBatches other(lengths, batch, 3, 17);
    other.Update(2 * order.updates());
    EXPECT_EQ(other.Update(2)[0], first);
  }
}

}  // namespace
}  // namespace longspan
