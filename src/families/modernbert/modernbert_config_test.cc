// config.json of ModernBERTs, in the forms of `transformers` 4 and 5.
#include "families/modernbert/modernbert_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "longspan/error.h"

namespace longspan {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

ModernBertConfig Parsed(const std::string& text) { return ParseModernBertConfig(text, "c.json"); }

std::string Refusal(const std::string& text) {
  try {
    Parsed(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    return error.what();
  }
  return "nothing refused";
}

TEST(ModernBertConfigTest, DefaultsAreThoseOfTheBaseModel) {
  const ModernBertConfig c = Parsed(R"({"architectures": ["ModernBertForMaskedLM"]})");
  EXPECT_EQ(c.layers(), 22u);
  EXPECT_TRUE(c.full[0] && !c.full[1] && !c.full[2] && c.full[3] && c.full[21]);
  EXPECT_EQ(c.window(), 64);
  EXPECT_EQ(c.full_rotary.theta, 160000.0);
  EXPECT_EQ(c.window_rotary.theta, 10000.0);
  EXPECT_FALSE(c.mean_pooling);
  EXPECT_TRUE(c.tied);
  EXPECT_EQ(c.pad_token, 50283);
  EXPECT_EQ(ParameterCount(c), 149655232u);
}

TEST(ModernBertConfigTest, CountsOfTheReleasedModels) {
  EXPECT_EQ(ParameterCount(ModernBertPreset("base")), 149655232u);
  EXPECT_EQ(ParameterCount(ModernBertPreset("large")), 395881664u);
  ModernBertConfig bare = ModernBertPreset("large");
  bare.head = HeadKind::kNone;
  EXPECT_EQ(ParameterCount(bare), 394781696u);
}

// One model in the fields of both versions.
TEST(ModernBertConfigTest, OldAndNewFieldsAreOneModel) {
  const ModernBertConfig v4 = Parsed(R"({"num_hidden_layers": 4, "global_attn_every_n_layers": 2,
      "global_rope_theta": 80000, "local_rope_theta": 5000.0, "layer_norm_eps": 1e-12})");
  const ModernBertConfig v5 = Parsed(R"({"num_hidden_layers": 4,
      "layer_types": ["full_attention", "sliding_attention", "full_attention",
                      "sliding_attention"],
      "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 80000.0},
                          "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0}}})");
  EXPECT_EQ(ToJson(v4), ToJson(v5));
  EXPECT_EQ(v4.norm_eps, 1e-5);  // layer_norm_eps is not read
}

TEST(ModernBertConfigTest, WhichThetaWins) {
  const auto thetas = [](const std::string& fields) {
    const ModernBertConfig c = Parsed("{" + fields + "}");
    return std::pair(c.full_rotary.theta, c.window_rotary.theta);
  };
  using Pair = std::pair<double, double>;
  EXPECT_EQ(thetas(R"("global_rope_theta": 7.0, "local_rope_theta": null)"), Pair(7.0, 7.0));
  EXPECT_EQ(thetas(R"("rope_theta": 7.0)"), Pair(160000.0, 10000.0));
  EXPECT_EQ(thetas(R"("global_rope_theta": 7.0, "rope_parameters":
                      {"full_attention": {"rope_theta": 9.0}, "sliding_attention": {}})"),
            Pair(9.0, 10000.0));
  EXPECT_EQ(thetas(R"("local_rope_theta": 7.0, "rope_parameters": {"full_attention": null})"),
            Pair(160000.0, 7.0));
  EXPECT_EQ(thetas(R"("rope_scaling": {"rope_type": "default"})"), Pair(160000.0, 10000.0));
}

// Both forms of files, and what is written reads the same.
TEST(ModernBertConfigTest, RotaryKindsAreReadAndKept) {
  const std::string small = R"({"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2,
                                "max_position_embeddings": 64, )";
  const std::string fields[] = {
      R"("rope_type": "linear", "factor": 2)", R"("rope_type": "dynamic", "factor": 2.5)",
      R"("rope_type": "yarn", "factor": null, "original_max_position_embeddings": 16,
         "attention_factor": 1.25, "beta_fast": 8, "mscale": 0.5, "mscale_all_dim": 0.25)",
      R"("rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4)",
      R"("rope_type": "longrope", "short_factor": [1, 1.5], "long_factor": [2, 3.5])"};
  for (const std::string& entry : fields) {
    const ModernBertConfig newer = Parsed(small + R"("rope_parameters": {
        "full_attention": {"rope_theta": 7.0, )" +
                                          entry + R"(}, "sliding_attention": {}}})");
    EXPECT_NE(newer.full_rotary.kind, RotaryKind::kDefault) << entry;
    EXPECT_EQ(newer.window_rotary.kind, RotaryKind::kDefault) << entry;
    const ModernBertConfig older =
        Parsed(small + R"("global_rope_theta": 7.0, "rope_scaling": {)" + entry + "}}");
    EXPECT_EQ(older.full_rotary, newer.full_rotary) << entry;
    EXPECT_EQ(older.window_rotary.kind, newer.full_rotary.kind) << entry;
    EXPECT_EQ(older.window_rotary.theta, 10000.0) << entry;
    for (const ModernBertConfig& c : {newer, older}) {
      const ModernBertConfig back = Parsed(ToJson(c));
      EXPECT_EQ(back.full_rotary, c.full_rotary) << entry;
      EXPECT_EQ(back.window_rotary, c.window_rotary) << entry;
      EXPECT_EQ(back.rotary(true).max_positions, 64);
    }
  }
  // The name before there was rope_type.
  EXPECT_EQ(Parsed(R"({"rope_scaling": {"type": "linear", "factor": 2}})").window_rotary.kind,
            RotaryKind::kLinear);
  EXPECT_EQ(Parsed(small + R"("rope_scaling": {"type": "yarn", "factor": 2}})")
                .full_rotary.original_positions,
            64);
  const ModernBertConfig whole = Parsed(
      R"({"rope_parameters": {"truncate": false, "full_attention": {"rope_type": "yarn",
          "factor": 2}}})");
  EXPECT_FALSE(whole.full_rotary.truncate);
  EXPECT_FALSE(Parsed(ToJson(whole)).full_rotary.truncate);
}

TEST(ModernBertConfigTest, RotaryKindsThatCannotBeAreNamed) {
  const auto refusal = [](const std::string& entry) {
    return Refusal(R"({"rope_parameters": {"full_attention": {)" + entry + "}}}");
  };
  EXPECT_THAT(refusal(R"("rope_type": "proportional")"),
              HasSubstr("rope_parameters.full_attention: rope_type 'proportional' is not"));
  EXPECT_THAT(Refusal(R"({"rope_parameters": {"rope_type": "linear", "factor": 2}})"),
              HasSubstr("put it into both"));
  EXPECT_THAT(Refusal(R"({"rope_scaling": {"type": "axial"}})"), HasSubstr("rope_scaling: type"));
  EXPECT_THAT(Refusal(R"({"rope_scaling": 2.0})"), HasSubstr("rope_scaling is no object"));
  for (const char* kind : {"linear", "dynamic", "yarn", "llama3"}) {
    EXPECT_THAT(refusal(fmt::format(R"("rope_type": "{}")", kind)), HasSubstr("factor"));
    EXPECT_THAT(refusal(fmt::format(R"("rope_type": "{}", "factor": 0.5)", kind)),
                HasSubstr("factor"));
  }
  EXPECT_THAT(refusal(R"("rope_type": "linear", "factor": 2, "partial_rotary_factor": 0.5)"),
              HasSubstr("partial_rotary_factor 0.5 is not supported"));
  EXPECT_THAT(refusal(R"("rope_type": "llama3", "factor": 2, "low_freq_factor": 4,
                         "high_freq_factor": 4)"),
              HasSubstr("high_freq_factor 4 must be above low_freq_factor 4"));
  EXPECT_THAT(refusal(R"("rope_type": "longrope", "short_factor": [1], "long_factor": [1])"),
              HasSubstr("short_factor must be a list of 32 numbers"));
  EXPECT_THAT(refusal(R"("rope_type": "yarn", "factor": 2, "rope_theta": 1)"),
              HasSubstr("rope_theta is 1"));
  EXPECT_THAT(refusal(R"("rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 1)"),
              HasSubstr("original_max_position_embeddings"));
  EXPECT_THAT(Refusal(R"({"hidden_size": 4, "num_attention_heads": 2, "rope_scaling":
                          {"rope_type": "dynamic", "factor": 2}})"),
              HasSubstr("more than 2 channels"));
}

TEST(ModernBertConfigTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(Refusal(R"({"num_hidden_layers": 2, "layer_types": ["full_attention"]})"),
              HasSubstr("layer_types has 1 entries, num_hidden_layers is 2"));
  EXPECT_THAT(Refusal(R"({"num_hidden_layers": 1, "layer_types": ["chunked_attention"]})"),
              HasSubstr("layer_types has 'chunked_attention'"));
  EXPECT_THAT(Refusal(R"({"hidden_size": 10, "num_attention_heads": 3})"),
              HasSubstr("no multiple of num_attention_heads"));
  EXPECT_THAT(Refusal(R"({"hidden_size": 9, "num_attention_heads": 3})"),
              HasSubstr("heads of 3 channels; rotary embeddings need an even number"));
  EXPECT_THAT(Refusal(R"({"classifier_pooling": "max"})"), HasSubstr("classifier_pooling"));
  EXPECT_THAT(Refusal(R"({"hidden_activation": "prelu"})"), HasSubstr("hidden_activation"));
  EXPECT_THAT(Refusal(R"({"global_rope_theta": 0})"), HasSubstr("global_rope_theta is 0"));
  EXPECT_THAT(Refusal(R"({"vocab_size": 10, "pad_token_id": 10})"), HasSubstr("pad_token_id"));
  EXPECT_THAT(Refusal(R"({"model_type": "longformer"})"), HasSubstr("need 'modernbert'"));
  EXPECT_THAT(Refusal(R"({"architectures": ["ModernBertForQuestionAnswering"], "num_labels": 3})"),
              HasSubstr("needs 2, start and end"));
}

TEST(ModernBertConfigTest, OddFields) {
  EXPECT_EQ(Parsed(R"({"local_attention": 17})").window(), 8);
  EXPECT_EQ(Parsed(R"({"sliding_window": 9})").window(), 9);
  EXPECT_EQ(Parsed(R"({"hidden_act": "relu"})").activation, "gelu");
  EXPECT_EQ(Parsed(R"({"pad_token_id": null})").pad_token, std::nullopt);
  EXPECT_EQ(Parsed(R"({"vocab_size": 100})").pad_token, std::nullopt);
  EXPECT_EQ(Parsed(R"({"initializer_cutoff_factor": null})").initializer_cutoff, std::nullopt);
  EXPECT_TRUE(Parsed(R"({"auto_map": {"AutoModel": "x.Y"}})").custom_code);
}

// Both forms are written, unless the older one cannot say the order of the layers.
TEST(ModernBertConfigTest, WrittenForBothVersions) {
  ModernBertConfig c = ModernBertPreset("tiny");
  json o = json::parse(ToJson(c));
  EXPECT_EQ(o["global_attn_every_n_layers"], 3);
  EXPECT_EQ(o["global_rope_theta"], 160000.0);
  EXPECT_EQ(o["rope_parameters"]["sliding_attention"]["rope_theta"], 10000.0);
  EXPECT_EQ(o["layer_types"].size(), 4u);
  EXPECT_EQ(o["layer_norm_eps"], o["norm_eps"]);
  c.full = {false, true, false, true};
  o = json::parse(ToJson(c));
  EXPECT_FALSE(o.contains("global_attn_every_n_layers"));
  EXPECT_THAT(ParseModernBertConfig(o.dump(), "x").full, ElementsAre(false, true, false, true));
}

}  // namespace
}  // namespace longspan
