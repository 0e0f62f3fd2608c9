// config.json: every field's range, defaults, and the way back to JSON.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_config.h"

namespace longspan {
namespace {

using nlohmann::json;

json Valid() { return json::parse(ToJson(ReformerPreset("tiny"))); }

// The message of the Error that parsing throws; its code must be kFormat.
std::string ParseError(const json& config) {
  try {
    ParseReformerConfig(config.dump(), "config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat) << error.what();
    return error.what();
  }
  return {};
}

TEST(Config, EveryPresetSurvivesTheRoundTrip) {
  for (const std::string& name : ReformerPresetNames()) {
    const std::string text = ToJson(ReformerPreset(name));
    EXPECT_EQ(ToJson(ParseReformerConfig(text, name)), text);
  }
}

TEST(Config, AbsentFieldsMeanTheOriginalsDefaults) {
  const ReformerConfig c =
      ParseReformerConfig(R"({"model_type": "reformer", "architectures": ["ReformerModel"]})", "x");
  EXPECT_EQ(c.heads, 12);
  EXPECT_EQ(c.head_size, 64);
  EXPECT_EQ(c.hidden_size, 256);
  EXPECT_EQ(c.feed_forward_size, 512);
  EXPECT_EQ(c.layers.size(), 6u);
  EXPECT_EQ(c.axial_shape, (std::vector<idx_t>{64, 64}));
  EXPECT_EQ(c.vocab_size, 320);
  EXPECT_DOUBLE_EQ(c.hidden_dropout, 0.05);
  EXPECT_FALSE(c.is_decoder);
}

TEST(Config, UnknownAndLegacyFieldsAreIgnored) {
  json config = Valid();
  config["sinusoidal_pos_embds"] = true;
  config["intermediate_size"] = "nonsense";
  EXPECT_EQ(ParseError(config), "");
}

TEST(Config, BadFieldsAreNamedWithTheirValue) {
  const std::vector<std::pair<std::string, std::vector<json>>> bad = {
      {"hidden_size", {0, -1, 1.5, "768", true, nullptr, 4294967296}},
      {"num_attention_heads", {0, -3, 2147483648}},
      {"attention_head_size", {0}},
      {"feed_forward_size", {0, -1}},
      {"vocab_size", {0, -1, 1e9}},
      {"max_position_embeddings", {0, -5}},
      {"attn_layers", {json::array(), json{"foo"}, "local", 7}},
      {"hidden_act", {"nope", 3}},
      {"axial_pos_shape", {json{64}, json{0, 64}, json{64, 64, 64}, "64"}},
      {"axial_pos_embds_dim", {json{1, 1}, json{64}, json{-64, 192}}},
      {"local_attn_chunk_length", {0, -1, 1.5}},
      {"local_num_chunks_before", {-1, 100000}},
      {"hidden_dropout_prob", {-0.1, 1.0, "0.1"}},
      {"local_attention_probs_dropout_prob", {1.5}},
      {"layer_norm_eps", {0.0, -1.0}},
      {"initializer_range", {-1.0}},
      {"num_hashes", {0}},
      {"num_buckets",
       {3, 0, json{2, 3}, 65536, 2147483648, json{1 << 20, 1 << 20}, json{256, 256},
        json{2, 32768}}},
      {"num_hidden_layers", {-1, 0, "foo", 1.5, 4097, 77}},
      {"bos_token_id", {-1, 258, 1000000}},
      {"is_decoder", {1, "true"}},
      {"id2label", {json::array(), json::object(), json{{"x", "a"}}, json{{"0", json::array()}}}},
      {"problem_type", {"guess", 3}},
      {"classifier_dropout", {1.0, -0.5, "0.1"}},
      {"eos_token_id", {json::array(), "2", -1, 258, 1000000, json{1, 258}}},
      {"chunk_size_lm_head", {-1, "0"}},
      {"longspan_rotation_seed", {-1, 0.5}},
      {"longspan_lm_bias", {0, "no"}},
      {"tie_word_embeddings", {true}},
      {"model_type", {"bert"}},
      {"architectures", {json{"ReformerForNothing"}, json{"A", "B"}, json{3}}},
  };
  for (const auto& [field, values] : bad) {
    for (const json& value : values) {
      json config = Valid();
      config[field] = value;
      const std::string message = ParseError(config);
      EXPECT_NE(message, "") << field << " = " << value << " was accepted";
      EXPECT_NE(message.find(field), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
}

TEST(Config, LayersMayBeCountedOrNot) {
  json config = Valid();
  config["num_hidden_layers"] = config["attn_layers"].size();
  EXPECT_EQ(ParseError(config), "");
  config["num_hidden_layers"] = nullptr;
  EXPECT_EQ(ParseError(config), "");
  config.erase("num_hidden_layers");
  EXPECT_EQ(ParseError(config), "");
  config["num_buckets"] = {2, 32766};
  EXPECT_EQ(ParseError(config), "");
}

TEST(Config, LanguageModelMustBeCausalAndLookBackOnly) {
  json config = Valid();
  config["is_decoder"] = false;
  EXPECT_NE(ParseError(config).find("is_decoder"), std::string::npos);
  config = Valid();
  config["local_num_chunks_after"] = 1;
  EXPECT_NE(ParseError(config).find("local_num_chunks_after"), std::string::npos);
}

TEST(Config, SpecialTokensMustHaveRows) {
  json config = Valid();
  config["pad_token_id"] = config["vocab_size"];
  EXPECT_NE(ParseError(config).find("pad_token_id"), std::string::npos);
  config["pad_token_id"] = 0;
  EXPECT_EQ(ParseError(config), "");
}

// Every field that a head reads, and every one that changes how the original runs.
TEST(Config, EveryFieldSurvivesTheRoundTrip) {
  json config = Valid();
  config["architectures"] = {"ReformerForSequenceClassification"};
  config["is_decoder"] = false;
  config["id2label"] = {{"0", "calm"}, {"1", "storm"}, {"2", "fog"}};
  config["label2id"] = {{"calm", 0}, {"storm", 1}, {"fog", 2}};
  config["problem_type"] = "multi_label_classification";
  config["classifier_dropout"] = 0.25;
  config["bos_token_id"] = 7;
  config["eos_token_id"] = {1, 9};
  config["use_cache"] = false;
  config["chunk_size_feed_forward"] = 16;
  config["chunk_size_lm_head"] = 32;
  config["longspan_rotation_seed"] = 11;
  config["longspan_lm_bias"] = false;
  config["hash_seed"] = -3;
  config["num_buckets"] = {4, 8};
  const ReformerConfig c = ParseReformerConfig(config.dump(), "x");
  EXPECT_EQ(c.labels, (std::vector<std::string>{"calm", "storm", "fog"}));
  EXPECT_EQ(c.problem, ProblemType::kMultiLabel);
  EXPECT_EQ(c.classifier_dropout, 0.25);
  EXPECT_EQ(c.eos_token, 1);
  EXPECT_EQ(json::parse(ToJson(c)), config);
}

TEST(Config, HeadsHaveTheLabelsThatTheyNeed) {
  json config = Valid();
  config["architectures"] = {"ReformerForQuestionAnswering"};
  EXPECT_EQ(ParseError(config), "");
  config.erase("id2label");
  config["num_labels"] = 3;
  EXPECT_NE(ParseError(config).find("3 labels"), std::string::npos);
  config["architectures"] = {"ReformerForSequenceClassification"};
  EXPECT_EQ(ParseReformerConfig(config.dump(), "x").labels,
            (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));
}

TEST(Config, ParameterCountIsWhatTheModelAllocates) {
  for (const std::string& name : ReformerPresetNames()) {
    const ReformerConfig config = ReformerPreset(name);
    EXPECT_EQ(static_cast<std::uint64_t>(Reformer(config).parameters().count()),
              ParameterCount(config));
  }
  for (const HeadKind head :
       {HeadKind::kNone, HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kQuestion}) {
    ReformerConfig config = ReformerPreset("tiny");
    config.head = head;
    EXPECT_EQ(static_cast<std::uint64_t>(Reformer(config).parameters().count()),
              ParameterCount(config));
  }
  ReformerConfig table = ReformerPreset("tiny");
  table.axial = false;
  EXPECT_EQ(static_cast<std::uint64_t>(Reformer(table).parameters().count()),
            ParameterCount(table));
}

}  // namespace
}  // namespace longspan
