#include "model/weight_names.h"

#include "io/safetensors.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::TempDir;
using test::Throws;

TEST(WeightNamesTest, OneNameForAll) {
  const std::pair<const char*, const char*> names[] = {
      {"roberta.encoder.layer.0.attention.self.query.weight",
       "longformer.encoder.layer.0.attention.self.query.weight"},
      {"bert.embeddings.LayerNorm.gamma", "longformer.embeddings.LayerNorm.weight"},
      {"bert.encoder.layer.11.output.LayerNorm.beta",
       "longformer.encoder.layer.11.output.LayerNorm.bias"},
      {"embeddings.word_embeddings.weight", "longformer.embeddings.word_embeddings.weight"},
      {"pooler.dense.bias", "longformer.pooler.dense.bias"},
      {"longformer.pooler.dense.bias", "longformer.pooler.dense.bias"},
      {"lm_head.dense.weight", "lm_head.dense.weight"},
      {"lm_head.layer_norm.gamma", "lm_head.layer_norm.weight"},
      {"cls.predictions.transform.dense.bias", "lm_head.dense.bias"},
      {"cls.predictions.transform.LayerNorm.gamma", "lm_head.layer_norm.weight"},
      {"cls.predictions.bias", "lm_head.bias"},
      {"cls.predictions.decoder.weight", "lm_head.decoder.weight"},
      {"classifier.weight", "classifier.weight"},
      {"qa_outputs.bias", "qa_outputs.bias"},
      {"something.gamma", "something.gamma"},
      {"roberta.other", "roberta.other"}};
  for (const auto& [name, canonical] : names) EXPECT_EQ(CanonicalName(name), canonical) << name;
  for (const char* name : {"embeddings.position_ids", "roberta.embeddings.position_ids",
                           "bert.embeddings.token_type_ids", "cls.seq_relationship.weight"}) {
    EXPECT_FALSE(CanonicalName(name)) << name;
  }
  EXPECT_EQ(TiedTo("lm_head.decoder.bias"), "lm_head.bias");
  EXPECT_EQ(TiedTo("lm_head.decoder.weight"), "longformer.embeddings.word_embeddings.weight");
  EXPECT_FALSE(TiedTo("lm_head.bias"));
}

class CanonicalTest : public testing::Test {
 protected:
  std::unique_ptr<io::TensorSource> Open(const std::vector<std::string>& names) {
    std::vector<io::TensorEntry> entries;
    for (std::size_t i = 0; i < names.size(); ++i) {
      entries.push_back({names[i], DType::kF32, {1}, &values_[i]});
    }
    io::WriteSafetensors(dir_ / "model.safetensors", entries);
    return WithCanonicalNames(io::OpenModel(dir_.path()), &dropped_);
  }
  static float Value(const io::TensorSource& source, std::string_view name) {
    return source.ReadFloat(name).data<float>()[0];
  }

  const float values_[4] = {10, 11, 12, 13};
  std::vector<std::string> dropped_;
  TempDir dir_;
};

TEST_F(CanonicalTest, ReadsUnderTheNewNames) {
  const auto source = Open({"roberta.pooler.dense.weight", "cls.seq_relationship.bias",
                            "embeddings.position_ids", "classifier.bias"});
  ASSERT_EQ(source->tensors().size(), 2u);
  EXPECT_EQ(Value(*source, "longformer.pooler.dense.weight"), 10);
  EXPECT_EQ(Value(*source, "classifier.bias"), 13);
  EXPECT_EQ(dropped_, (std::vector<std::string>{"cls.seq_relationship.bias"}));
}

TEST_F(CanonicalTest, EitherNameOfATiedPair) {
  const auto alone = Open({"lm_head.decoder.weight", "lm_head.decoder.bias"});
  EXPECT_EQ(Value(*alone, "longformer.embeddings.word_embeddings.weight"), 10);
  EXPECT_EQ(Value(*alone, "lm_head.bias"), 11);
  // A file that has both keeps both.
  const auto both = Open({"lm_head.decoder.weight", "embeddings.word_embeddings.weight"});
  EXPECT_EQ(Value(*both, "longformer.embeddings.word_embeddings.weight"), 11);
  EXPECT_EQ(Value(*both, "lm_head.decoder.weight"), 10);
}

TEST_F(CanonicalTest, RefusesTwoForOne) {
  EXPECT_TRUE(Throws(
      [&] {
        Open({"pooler.dense.bias", "roberta.pooler.dense.bias"});
      },
      ErrorCode::kFormat, "are both longformer.pooler.dense.bias"));
}

// ---- prefixes of wrappers
// -------------------------------------------------------------------------

class PrefixTest : public testing::Test {
 protected:
  // The names that are read, and the notes, of a file with these names.
  std::vector<std::string> Names(const std::vector<std::string>& names) {
    static constexpr float kValue = 1.0f;
    std::vector<io::TensorEntry> entries;
    for (const std::string& name : names) entries.push_back({name, DType::kF32, {1}, &kValue});
    io::WriteSafetensors(dir_ / "model.safetensors", entries);
    notes_.clear();
    std::vector<std::string> read;
    const auto source = WithoutExtraPrefix(io::OpenModel(dir_.path()), &notes_);
    for (const auto& [name, info] : source->tensors()) read.push_back(name);
    return read;
  }

  std::vector<std::string> notes_;
  TempDir dir_;
};

TEST_F(PrefixTest, WhatAWrapperPutBeforeAllNames) {
  const std::vector<std::string> plain = {"lm_head.bias",
                                          "longformer.embeddings.word_embeddings.weight",
                                          "longformer.encoder.layer.0.output.dense.bias"};
  EXPECT_EQ(Names(plain), plain);
  EXPECT_TRUE(notes_.empty());
  for (const std::string prefix :
       {"model.", "module.", "_orig_mod.", "module._orig_mod.", "a.b-c."}) {
    std::vector<std::string> wrapped;
    for (const std::string& name : plain) wrapped.push_back(prefix + name);
    EXPECT_EQ(Names(wrapped), plain) << prefix;
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_NE(notes_[0].find("all names begin with \"" + prefix + "\""), std::string::npos);
  }
  // An encoder that is a member of somebody's own class, with a head beside it.
  EXPECT_EQ(Names({"encoder.embeddings.word_embeddings.weight", "encoder.encoder.layer.0.a.bias",
                   "classifier.weight"}),
            (std::vector<std::string>{"classifier.weight", "embeddings.word_embeddings.weight",
                                      "encoder.layer.0.a.bias"}));
  EXPECT_EQ(
      Names({"model.reformer.embeddings.word_embeddings.weight", "model.lm_head.bias"}),
      (std::vector<std::string>{"lm_head.bias", "reformer.embeddings.word_embeddings.weight"}));
}

TEST_F(PrefixTest, WhatIsNoPrefix) {
  for (const std::vector<std::string>& names : std::vector<std::vector<std::string>>{
           {"embeddings.word_embeddings.weight", "encoder.layer.0.a.bias"},
           {"roberta.embeddings.word_embeddings.weight"},
           {"myembeddings.word_embeddings.weight"},
           {"a.embeddings.word_embeddings.weight", "b.embeddings.word_embeddings.weight"},
           {"lm_head.bias", "x.embeddings.word_embeddings.weight", "x.lm_head.bias"},
           {"module.other"}}) {
    EXPECT_EQ(Names(names), names);
    EXPECT_TRUE(notes_.empty());
  }
}

}  // namespace
}  // namespace longspan
