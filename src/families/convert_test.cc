#include "families/convert.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "io/safetensors.h"
#include "model/model_folder.h"
#include "tests/support/entries.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

constexpr idx_t kWidth = 4, kInner = 6, kVocabulary = 10;

// A folder of one layer whose tensors all differ: element i of tensor k is k + i / 1000.
class ToLongformerTest : public testing::Test {
 protected:
  void Put(const json& config, const std::vector<std::pair<std::string, std::vector<idx_t>>>& head,
           idx_t positions, idx_t types, const std::string& prefix = "") {
    names_.clear();
    values_.clear();
    fs::create_directories(dir_ / "in");
    PutFile(dir_ / "in/config.json", config.dump());
    std::vector<io::TensorEntry> entries;
    const auto add = [&](const std::string& name, const std::vector<idx_t>& shape) {
      Tensor& tensor = values_.emplace_back(shape);
      for (idx_t i = 0; i < tensor.size(); ++i) {
        tensor.data<float>()[i] =
            static_cast<float>(values_.size()) + static_cast<float>(i) / 1000.0f;
      }
      entries.push_back(test::EntryOf(name, tensor));
      names_.push_back(name);
    };
    add(prefix + "embeddings.word_embeddings.weight", {kVocabulary, kWidth});
    add(prefix + "embeddings.position_embeddings.weight", {positions, kWidth});
    add(prefix + "embeddings.token_type_embeddings.weight", {types, kWidth});
    add(prefix + "embeddings.LayerNorm.gamma", {kWidth});
    add(prefix + "embeddings.LayerNorm.beta", {kWidth});
    const std::string layer = prefix + "encoder.layer.0.";
    for (const char* name : {"attention.self.query", "attention.self.key", "attention.self.value",
                             "attention.output.dense"}) {
      add(layer + name + ".weight", {kWidth, kWidth});
      add(layer + name + ".bias", {kWidth});
    }
    add(layer + "intermediate.dense.weight", {kInner, kWidth});
    add(layer + "intermediate.dense.bias", {kInner});
    add(layer + "output.dense.weight", {kWidth, kInner});
    add(layer + "output.dense.bias", {kWidth});
    for (const char* norm : {"attention.output.LayerNorm", "output.LayerNorm"}) {
      add(layer + norm + ".weight", {kWidth});
      add(layer + norm + ".bias", {kWidth});
    }
    for (const auto& [name, shape] : head) add(name, shape);
    io::WriteSafetensors(dir_ / "in/model.safetensors", entries);
  }
  void PutBert() {
    Put(Config("bert", "BertModel", 5),
        {{"pooler.dense.weight", {kWidth, kWidth}}, {"pooler.dense.bias", {kWidth}}}, 5, 2);
  }
  static json Config(const std::string& type, const std::string& name, idx_t positions) {
    return {{"model_type", type},        {"architectures", {name}},
            {"hidden_size", kWidth},     {"num_hidden_layers", 1},
            {"num_attention_heads", 2},  {"intermediate_size", kInner},
            {"vocab_size", kVocabulary}, {"max_position_embeddings", positions},
            {"custom", "kept"},          {"use_cache", true}};
  }
  ConvertReport Convert(idx_t tokens = 12, idx_t window = 3) {
    return ConvertTo("longformer", dir_ / "in", dir_ / "out", {tokens, window, kShardBytes});
  }
  testing::AssertionResult Rejects(const json& config, std::string_view fragment) {
    PutFile(dir_ / "in/config.json", config.dump());
    auto result = Throws([&] { Convert(); }, ErrorCode::kFormat, fragment);
    if (result && Listing(dir_.path()) != "in") {
      return testing::AssertionFailure() << "left: " << Listing(dir_.path());
    }
    return result;
  }
  static std::vector<float> Row(const io::TensorSource& source, std::string_view name, idx_t row) {
    const Tensor tensor = source.ReadFloat(name);
    const float* begin = tensor.data<float>() + row * tensor.shape()[1];
    return {begin, begin + tensor.shape()[1]};
  }

  TempDir dir_;
  std::vector<std::string> names_;
  std::vector<Tensor> values_;
};

constexpr std::string_view kTable = "embeddings.position_embeddings.weight";

TEST_F(ToLongformerTest, BertPositionsBeginBehindThePad) {
  PutBert();
  const ConvertReport report = Convert();
  EXPECT_EQ(report.from, "BertModel");
  EXPECT_EQ(report.to, "LongformerModel");
  EXPECT_EQ(report.old_tokens, 5);
  EXPECT_TRUE(report.warnings.empty());
  const auto in = io::OpenModel(dir_ / "in"), out = io::OpenModel(dir_ / "out");
  // 20 tensors of a layer and embeddings, 6 global ones, the pooler; no prefix without a head.
  EXPECT_EQ(out->tensors().size(), in->tensors().size() + 6);
  ASSERT_EQ(out->Info(kTable).shape, (std::vector<idx_t>{13, kWidth}));
  EXPECT_EQ(Row(*out, kTable, 0), (std::vector<float>(kWidth, 0.0f)));
  for (idx_t k = 0; k < 12; ++k) EXPECT_EQ(Row(*out, kTable, k + 1), Row(*in, kTable, k % 5)) << k;
  EXPECT_TRUE(out->Has("embeddings.LayerNorm.weight"));
  EXPECT_TRUE(out->Has("pooler.dense.weight"));
}

TEST_F(ToLongformerTest, RobertaPositionsKeepTheirFirstRows) {
  Put(Config("roberta", "RobertaModel", 6), {}, 6, 2);
  EXPECT_EQ(Convert(9).old_tokens, 4);
  const auto in = io::OpenModel(dir_ / "in"), out = io::OpenModel(dir_ / "out");
  ASSERT_EQ(out->Info(kTable).shape, (std::vector<idx_t>{11, kWidth}));
  EXPECT_EQ(Row(*out, kTable, 0), Row(*in, kTable, 0));
  EXPECT_EQ(Row(*out, kTable, 1), Row(*in, kTable, 1));
  for (idx_t k = 0; k < 9; ++k) {
    EXPECT_EQ(Row(*out, kTable, k + 2), Row(*in, kTable, 2 + k % 4)) << k;
  }
}

TEST_F(ToLongformerTest, GlobalProjectionsAreCopies) {
  PutBert();
  Convert();
  const auto in = io::OpenModel(dir_ / "in"), out = io::OpenModel(dir_ / "out");
  const std::string self = "encoder.layer.0.attention.self.";
  for (const char* name : {"query", "key", "value"}) {
    for (const char* part : {".weight", ".bias"}) {
      const Tensor old = in->Read(self + name + part);
      for (const char* global : {"", "_global"}) {
        const Tensor now = out->Read(self + name + global + part);
        ASSERT_EQ(now.shape(), old.shape());
        EXPECT_EQ(std::memcmp(now.raw(), old.raw(), old.bytes()), 0) << name << global;
      }
    }
  }
}

TEST_F(ToLongformerTest, WritesTheConfig) {
  PutBert();
  PutFile(dir_ / "in/vocab.txt", "[PAD]\n[UNK]\n[CLS]\r\n[SEP]\n[MASK]\n");
  Convert();
  const json config = io::ReadJsonFile(dir_ / "out/config.json");
  EXPECT_EQ(config["model_type"], "longformer");
  EXPECT_EQ(config["architectures"], json({"LongformerModel"}));
  EXPECT_EQ(config["attention_window"], json({6}));
  EXPECT_EQ(config["max_position_embeddings"], 13);
  EXPECT_EQ(config["pad_token_id"], 0);
  EXPECT_EQ(config["bos_token_id"], 2);
  EXPECT_EQ(config["sep_token_id"], 3);
  EXPECT_EQ(config["type_vocab_size"], 2);
  EXPECT_EQ(config["layer_norm_eps"], 1e-12);
  EXPECT_EQ(config["custom"], "kept");
  EXPECT_FALSE(config.contains("use_cache"));
}

TEST_F(ToLongformerTest, HeadsFindTheirPlaces) {
  const auto square = std::vector<idx_t>{kWidth, kWidth}, vector = std::vector<idx_t>{kWidth};
  Put(Config("bert", "BertForSequenceClassification", 5),
      {{"bert.pooler.dense.weight", square},
       {"bert.pooler.dense.bias", vector},
       {"classifier.weight", {3, kWidth}},
       {"classifier.bias", {3}}},
      5, 2, "bert.");
  Convert();
  const auto in = io::OpenModel(dir_ / "in"), out = io::OpenModel(dir_ / "out");
  EXPECT_FALSE(out->Has("longformer.pooler.dense.weight"));
  EXPECT_EQ(Row(*out, "classifier.dense.weight", 1), Row(*in, "bert.pooler.dense.weight", 1));
  EXPECT_EQ(Row(*out, "classifier.out_proj.weight", 2), Row(*in, "classifier.weight", 2));
  EXPECT_TRUE(out->Has("longformer.encoder.layer.0.attention.self.query_global.bias"));
  fs::remove_all(dir_ / "out");

  Put(Config("bert", "BertForPreTraining", 5),
      {{"cls.predictions.transform.dense.weight", square},
       {"cls.predictions.transform.dense.bias", vector},
       {"cls.predictions.transform.LayerNorm.gamma", vector},
       {"cls.predictions.transform.LayerNorm.beta", vector},
       {"cls.predictions.bias", {kVocabulary}},
       {"cls.predictions.decoder.weight", {kVocabulary, kWidth}},
       {"cls.seq_relationship.weight", {2, kWidth}}},
      5, 2, "bert.");
  const ConvertReport report = Convert();
  EXPECT_EQ(report.to, "LongformerForMaskedLM");
  ASSERT_EQ(report.warnings.size(), 2u);
  EXPECT_NE(report.warnings[0].find("both are kept"), std::string::npos) << report.warnings[0];
  EXPECT_NE(report.warnings[1].find("1 tensor without a place"), std::string::npos)
      << report.warnings[1];
  const auto mlm = io::OpenModel(dir_ / "out");
  EXPECT_TRUE(mlm->Has("lm_head.layer_norm.weight"));
  // The config ties the decoder, the file has one of its own.
  const auto bert = io::OpenModel(dir_ / "in");
  EXPECT_EQ(Row(*mlm, "lm_head.decoder.weight", 1),
            Row(*bert, "cls.predictions.decoder.weight", 1));
  EXPECT_TRUE(mlm->Has("lm_head.decoder.bias"));
  EXPECT_EQ(io::ReadJsonFile(dir_ / "out/config.json")["tie_word_embeddings"], false);
}

TEST_F(ToLongformerTest, TakesTheOtherFilesAlong) {
  PutBert();
  fs::create_directories(dir_ / "in/1_Pooling");
  fs::create_directories(dir_ / "in/other");
  PutFile(dir_ / "in/1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true}");
  PutFile(dir_ / "in/modules.json", R"([{"path":""},{"path":"1_Pooling"},{"path":"2_Normalize"}])");
  PutFile(dir_ / "in/sentence_bert_config.json",
          "{\"max_seq_length\":256,\"do_lower_case\":false}");
  PutFile(dir_ / "in/vocab.txt", "a\nb\n");
  for (const char* name : {"pytorch_model.bin", "tf_model.h5", ".hidden", "other/x"}) {
    PutFile(dir_ / "in" / name, "x");
  }
  fs::create_symlink("nowhere", dir_ / "in/broken");
  Convert();
  EXPECT_EQ(Listing(dir_ / "out"),
            "1_Pooling config.json model.safetensors modules.json sentence_bert_config.json "
            "tokenizer_config.json vocab.txt");
  EXPECT_EQ(GetFile(dir_ / "out/1_Pooling/config.json"),
            GetFile(dir_ / "in/1_Pooling/config.json"));
  EXPECT_EQ(io::ReadJsonFile(dir_ / "out/sentence_bert_config.json")["max_seq_length"], 12);
  const json tokenizer = io::ReadJsonFile(dir_ / "out/tokenizer_config.json");
  EXPECT_EQ(tokenizer["model_max_length"], 12);
  EXPECT_EQ(tokenizer["tokenizer_class"], "BertTokenizer");
  PutFile(dir_ / "in/modules.json", R"([{"path":"../other"}])");
  fs::remove_all(dir_ / "out");
  EXPECT_TRUE(Throws([&] { Convert(); }, ErrorCode::kFormat, "plain name of a folder"));
  EXPECT_EQ(Listing(dir_.path()), "in");
}

// Older folders have them under other names, and in the folder of the transformer.
TEST_F(ToLongformerTest, LengthensEverySentenceConfig) {
  PutBert();
  fs::create_directories(dir_ / "in/old");
  PutFile(dir_ / "in/modules.json", R"([{"path":""},{"path":"old"}])");
  PutFile(dir_ / "in/sentence_roberta_config.json", "{\"max_seq_length\":256}");
  PutFile(dir_ / "in/old/sentence_bert_config.json", "{\"max_seq_length\":128}");
  Convert();
  for (const char* file :
       {"out/sentence_roberta_config.json", "out/old/sentence_bert_config.json"}) {
    EXPECT_EQ(io::ReadJsonFile(dir_ / file)["max_seq_length"], 12) << file;
  }
}

TEST_F(ToLongformerTest, RefusesWhatDoesNotFit) {
  PutBert();
  const json good = Config("bert", "BertModel", 5);
  const auto with = [&](const char* field, const json& value) {
    json config = good;
    config[field] = value;
    return config;
  };
  EXPECT_TRUE(Rejects(with("model_type", "gpt2"), "model_type 'gpt2' is not supported"));
  EXPECT_TRUE(
      Rejects(with("architectures", {"BertLMHeadModel"}), "'BertLMHeadModel' is not supported"));
  EXPECT_TRUE(Rejects(with("architectures", {"RobertaModel"}), "'RobertaModel' is not supported"));
  EXPECT_TRUE(Rejects(with("position_embedding_type", "relative_key"), "is not computed"));
  EXPECT_TRUE(Rejects(with("is_decoder", true), "as an encoder"));
  EXPECT_TRUE(Rejects(with("num_attention_heads", 3), "no multiple"));
  EXPECT_TRUE(
      Rejects(with("max_position_embeddings", 6), "has shape (5, 4), the config needs (6, 4)"));
  EXPECT_TRUE(Rejects(with("num_hidden_layers", 2), "tensors unlike config.json"));
  EXPECT_TRUE(Rejects(with("hidden_size", 1 << 30), "hidden_size"));
  EXPECT_TRUE(Rejects(with("pad_token_id", 10), "pad_token_id"));
  EXPECT_TRUE(Rejects(json::array(), "a list instead of an object"));
  PutFile(dir_ / "in/config.json", good.dump());
  EXPECT_TRUE(Throws([&] { Convert(0); }, ErrorCode::kUsage, "max-pos: 0"));
  EXPECT_TRUE(Throws([&] { Convert(12, 0); }, ErrorCode::kUsage, "window: 0"));
  fs::create_directories(dir_ / "out/full");
  EXPECT_TRUE(Throws([&] { Convert(); }, ErrorCode::kUsage, "there already"));
}

// Classes and labels that the config leaves open are the weights', and are written out.
TEST_F(ToLongformerTest, TheWeightsSayWhatTheConfigDoesNot) {
  const auto square = std::vector<idx_t>{kWidth, kWidth}, vector = std::vector<idx_t>{kWidth};
  const std::vector<std::pair<std::string, std::vector<idx_t>>> pooled = {
      {"bert.pooler.dense.weight", square}, {"bert.pooler.dense.bias", vector}};
  const auto with = [](auto head, std::vector<std::pair<std::string, std::vector<idx_t>>> more) {
    head.insert(head.end(), more.begin(), more.end());
    return head;
  };
  const auto convert = [&](const json& change, const auto& head) {
    json config = Config("bert", "BertModel", 5);
    config.erase("architectures");
    config.update(change);
    Put(config, head, 5, 2, "bert.");
    fs::remove_all(dir_ / "out");
    Convert();
    return io::ReadJsonFile(dir_ / "out/config.json");
  };
  json config = convert(
      json::object(), with(pooled, {{"classifier.weight", {3, kWidth}}, {"classifier.bias", {3}}}));
  EXPECT_EQ(config["architectures"], json({"LongformerForSequenceClassification"}));
  EXPECT_EQ(config["id2label"], json({{"0", "LABEL_0"}, {"1", "LABEL_1"}, {"2", "LABEL_2"}}));
  const std::vector<std::pair<std::string, std::vector<idx_t>>> bare = {
      {"classifier.weight", {3, kWidth}}, {"classifier.bias", {3}}};
  config = convert({{"id2label", {{"0", 0}, {"2", 2}}}}, bare);
  EXPECT_EQ(config["architectures"], json({"LongformerForTokenClassification"}));
  EXPECT_EQ(config["id2label"], json({{"0", "0"}, {"1", "LABEL_1"}, {"2", "2"}}));
  const auto one = with(pooled, {{"classifier.weight", {1, kWidth}}, {"classifier.bias", {1}}});
  EXPECT_EQ(convert(json::object(), one)["architectures"], json({"LongformerForMultipleChoice"}));
  EXPECT_EQ(convert({{"num_labels", 1}}, one)["architectures"],
            json({"LongformerForSequenceClassification"}));
  config = convert({{"architectures", {"BertModel", "BertForTokenClassification"}}}, bare);
  EXPECT_EQ(config["architectures"], json({"LongformerForTokenClassification"}));
  EXPECT_EQ(convert(json::object(), pooled)["architectures"], json({"LongformerModel"}));
}

TEST_F(ToLongformerTest, OpensWhatItWrote) {
  json config = Config("longformer", "LongformerForMaskedLM", 5);
  config["type_vocab_size"] = 1;
  Put(config, {}, 5, 1, "longformer.");
  EXPECT_TRUE(Throws([&] { RewriteModel(dir_ / "in", dir_ / "out", ConvertOptions()); },
                     ErrorCode::kFormat,
                     "what was converted cannot be opened: " + (dir_ / "out").string()));
  EXPECT_EQ(Listing(dir_.path()), "in");
  EXPECT_TRUE(Throws([&] { RewriteModel(dir_ / "none", dir_ / "out", ConvertOptions()); },
                     ErrorCode::kIo, "none: there is no such folder or file; nothing is"));
}

TEST_F(ToLongformerTest, ATransformerInItsOwnFolderComesToTheTop) {
  PutBert();
  fs::create_directories(dir_ / "outer/1_Pooling");
  fs::rename(dir_ / "in", dir_ / "outer/0_BERT");
  PutFile(dir_ / "outer/0_BERT/sentence_bert_config.json", R"({"max_seq_length":5})");
  PutFile(dir_ / "outer/config.json", R"({"__version__":"0.2"})");
  PutFile(dir_ / "outer/1_Pooling/config.json", "{}");
  PutFile(dir_ / "outer/modules.json",
          R"([{"idx":0,"path":"0_BERT","type":"x"},{"idx":1,"path":"1_Pooling","type":"y"}])");
  ConvertTo("longformer", dir_ / "outer", dir_ / "out", {12, 3, kShardBytes});
  EXPECT_EQ(Listing(dir_ / "out"),
            "1_Pooling config.json model.safetensors modules.json sentence_bert_config.json");
  const json modules = io::ReadJsonFile(dir_ / "out/modules.json");
  EXPECT_EQ(modules[0]["path"], "");
  EXPECT_EQ(modules[1]["path"], "1_Pooling");
  EXPECT_EQ(io::ReadJsonFile(dir_ / "out/sentence_bert_config.json")["max_seq_length"], 12);
}

TEST_F(ToLongformerTest, RewritesTheSameModel) {
  const fs::path golden = test::kGolden;
  const auto shards = io::OpenModel(golden / "format-safetensors-sharded");
  for (const char* form : {"format-bin-zip", "format-bin-legacy", "format-safetensors-sharded"}) {
    const ConvertReport report = RewriteModel(golden / form, dir_ / form, {.most_bytes = 100'000});
    EXPECT_EQ(report.shards, 5u);
    EXPECT_EQ(report.to, "LongformerForMaskedLM");
    const auto out = io::OpenModel(dir_ / form);
    EXPECT_TRUE(out->warnings().empty());
    ASSERT_EQ(out->tensors().size(), shards->tensors().size());
    for (const auto& [name, info] : shards->tensors()) {
      const Tensor a = shards->Read(name), b = out->Read(name);
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
    }
    // Whatever the form was: the same files.
    for (const auto& file : fs::directory_iterator(dir_ / "format-bin-zip")) {
      EXPECT_EQ(GetFile(file.path()), GetFile(dir_ / form / file.path().filename()));
    }
  }
  // One file of weights, no folder.
  RewriteModel(golden / "format-bin-zip/pytorch_model.bin", dir_ / "one", ConvertOptions());
  EXPECT_EQ(Listing(dir_ / "one"), "model.safetensors");
}

TEST_F(ToLongformerTest, OldLongformersGetTodaysNames) {
  json config = Config("longformer", "LongformerForQuestionAnswering", 5);
  config["type_vocab_size"] = 1;
  const std::string layer = "roberta.encoder.layer.0.attention.self.";
  std::vector<std::pair<std::string, std::vector<idx_t>>> more = {
      {"roberta.embeddings.position_ids", {1}},
      {"roberta.pooler.dense.bias", {kWidth}},
      {"qa_outputs.weight", {2, kWidth}},
      {"qa_outputs.bias", {2}}};
  for (const char* projection : {"query", "key", "value"}) {
    more.push_back({layer + projection + "_global.weight", {kWidth, kWidth}});
    more.push_back({layer + projection + "_global.bias", {kWidth}});
  }
  Put(config, more, 5, 1, "roberta.");
  const ConvertReport report = RewriteModel(dir_ / "in", dir_ / "out", ConvertOptions());
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("pooler is left out"), std::string::npos);
  const auto out = io::OpenModel(dir_ / "out");
  EXPECT_EQ(out->tensors().size(), 29u);
  for (const auto& [name, info] : out->tensors()) {
    EXPECT_TRUE(name.starts_with("longformer.") || name.starts_with("qa_outputs.")) << name;
  }
  EXPECT_TRUE(out->Has("longformer.embeddings.LayerNorm.weight"));
  // Other models keep theirs.
  config["model_type"] = "other";
  PutFile(dir_ / "in/config.json", config.dump());
  RewriteModel(dir_ / "in", dir_ / "same", ConvertOptions());
  EXPECT_TRUE(io::OpenModel(dir_ / "same")->Has("roberta.embeddings.LayerNorm.gamma"));
}

TEST(ModelFolderTest, FindsTokens) {
  TempDir dir;
  EXPECT_EQ(TokenId(dir.path(), "[SEP]"), -1);
  PutFile(dir / "tokenizer.json", R"({"model":{"vocab":{"[SEP]":102}}})");
  EXPECT_EQ(TokenId(dir.path(), "[SEP]"), 102);
  EXPECT_EQ(TokenId(dir.path(), "[CLS]"), -1);
  PutFile(dir / "tokenizer.json", R"({"model":{"vocab":[["[SEP]",0.5]]}})");
  EXPECT_EQ(TokenId(dir.path(), "[SEP]"), -1);
  PutFile(dir / "vocab.txt", "a\n[SEP]");
  EXPECT_EQ(TokenId(dir.path(), "[SEP]"), 1);
}

}  // namespace
}  // namespace longspan
