// Folders of sentence-transformers of every age, and what their modules do, against plain loops.

#include "tasks/sentence_folder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "io/pytorch_test.h"
#include "io/safetensors.h"
#include "tests/support/entries.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::PutFile;
using test::Throws;
using Modes = std::vector<PoolingMode>;

class SentenceFolders : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((dir_ / name).parent_path());
    PutFile(dir_ / name, text);
  }
  // modules.json with these types and paths.
  void Modules(const std::vector<std::pair<std::string, std::string>>& modules) {
    std::string text;
    for (const auto& [type, path] : modules) {
      text += (text.empty() ? "" : ",") +
              fmt::format(R"({{"idx":0,"name":"0","path":"{}","type":"{}"}})", path, type);
    }
    Write("modules.json", "[" + text + "]");
  }
  void TransformerAndPooling() { Modules({{"x.Transformer", ""}, {"x.Pooling", "1_Pooling"}}); }
  Pooling PoolingOf(const std::string& config) {
    Write("1_Pooling/config.json", config);
    return ReadPooling(dir_ / "1_Pooling/config.json", 16);
  }
  bool Refuses(const char* what, ErrorCode code = ErrorCode::kFormat) {
    return Throws([&] { ReadSentenceFolder(dir_.path(), 16); }, code, what);
  }
  bool RefusesPooling(const std::string& config, const char* what) {
    return Throws([&] { PoolingOf(config); }, ErrorCode::kFormat, what);
  }
  test::TempDir dir_;
};

TEST_F(SentenceFolders, PoolingAsFlags) {
  EXPECT_EQ(PoolingOf(R"({"word_embedding_dimension":16,"pooling_mode_cls_token":true,
                          "pooling_mode_mean_tokens":false})")
                .modes,
            Modes{PoolingMode::kCls});
  // In the package's order, not the file's.
  EXPECT_EQ(
      PoolingOf(R"({"pooling_mode_lasttoken":true,"pooling_mode_weightedmean_tokens":true,
                          "pooling_mode_mean_sqrt_len_tokens":true,"pooling_mode_mean_tokens":true,
                          "pooling_mode_max_tokens":true,"pooling_mode_cls_token":true})")
          .modes,
      (Modes{PoolingMode::kCls, PoolingMode::kMax, PoolingMode::kMean, PoolingMode::kMeanSqrtLen,
             PoolingMode::kWeightedMean, PoolingMode::kLastToken}));
  EXPECT_EQ(PoolingOf(R"({"word_embedding_dimension":16})").modes, Modes{PoolingMode::kMean});
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode_mean_tokens":false})", "names no way of pooling"));
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode_cls_token":"yes"})", "pooling_mode_cls_token"));
}

TEST_F(SentenceFolders, PoolingAsTextAndAsList) {
  const std::pair<const char*, PoolingMode> names[] = {
      {"cls", PoolingMode::kCls},
      {"max", PoolingMode::kMax},
      {"mean", PoolingMode::kMean},
      {"mean_sqrt_len_tokens", PoolingMode::kMeanSqrtLen},
      {"weightedmean", PoolingMode::kWeightedMean},
      {"lasttoken", PoolingMode::kLastToken}};
  for (const auto& [name, mode] : names) {
    EXPECT_EQ(
        PoolingOf(fmt::format(R"({{"embedding_dimension":16,"pooling_mode":"{}"}})", name)).modes,
        Modes{mode});
  }
  // A list keeps its order.
  EXPECT_EQ(PoolingOf(R"({"pooling_mode":["cls","max"]})").modes,
            (Modes{PoolingMode::kCls, PoolingMode::kMax}));
  EXPECT_EQ(PoolingOf(R"({"pooling_mode":["mean","cls"]})").modes,
            (Modes{PoolingMode::kMean, PoolingMode::kCls}));
  // Flags beside it are the older form of the same.
  EXPECT_EQ(PoolingOf(R"({"pooling_mode":"cls","pooling_mode_mean_tokens":true})").modes,
            Modes{PoolingMode::kCls});
  EXPECT_TRUE(PoolingOf(R"({"pooling_mode":"cls"})").include_prompt);
  EXPECT_FALSE(PoolingOf(R"({"pooling_mode":"cls","include_prompt":false})").include_prompt);
}

TEST_F(SentenceFolders, PoolingThatCannotBe) {
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode":"median"})",
                             "must be one of cls, max, mean, mean_sqrt_len_tokens, weightedmean, "
                             "lasttoken"));
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode":"median"})", "median"));
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode":["cls",7]})", "pooling_mode is 7, must be one of"));
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode":["cls","cls"]})", "names cls twice"));
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode":[]})", "names no way of pooling"));
  EXPECT_TRUE(RefusesPooling(R"({"pooling_mode":true})", "pooling_mode is true, must be"));
  EXPECT_TRUE(RefusesPooling(R"({"word_embedding_dimension":768})",
                             "word_embedding_dimension 768 is not 16, the width of the model's"));
  EXPECT_TRUE(RefusesPooling(R"({"embedding_dimension":768,"pooling_mode":"mean"})",
                             "embedding_dimension 768 is not 16"));
  EXPECT_TRUE(RefusesPooling("[]", "a list instead of an object"));
}

TEST_F(SentenceFolders, NoFilesMeanTheMean) {
  const SentenceFolder folder = ReadSentenceFolder(dir_.path(), 16);
  EXPECT_EQ(folder.pooling.modes, Modes{PoolingMode::kMean});
  EXPECT_TRUE(folder.modules.empty());
  EXPECT_FALSE(folder.transformer.max_tokens.has_value());
  EXPECT_TRUE(folder.prompts.texts.empty());
}

TEST_F(SentenceFolders, TypesOfEveryAgeInFoldersOfAnyName) {
  const std::vector<std::vector<std::string>> ages = {
      {"sentence_transformers.models.RoBERTa", "sentence_transformers.models.Pooling",
       "sentence_transformers.models.Normalize"},
      {"sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling",
       "sentence_transformers.models.Normalize"},
      {"sentence_transformers.base.modules.transformer.Transformer",
       "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
       "sentence_transformers.base.modules.normalize.Normalize"},
      {"sentence_transformers.models.Transformer.Transformer",
       "sentence_transformers.models.Pooling.Pooling",
       "sentence_transformers.models.Normalize.Normalize"}};
  for (const auto& types : ages) {
    for (const std::string path : {"1_Pooling", "pool", "parts/pooling/", "my pooling"}) {
      Write(path + "/config.json", R"({"embedding_dimension":16,"pooling_mode":"cls"})");
      Modules({{types[0], ""}, {types[1], path}, {types[2], "2_Normalize"}});
      const SentenceFolder folder = ReadSentenceFolder(dir_.path(), 16);
      EXPECT_EQ(folder.pooling.modes, Modes{PoolingMode::kCls});
      ASSERT_EQ(folder.modules.size(), 1u);
      EXPECT_TRUE(folder.modules[0]->normalizes());
    }
  }
}

TEST_F(SentenceFolders, ModulesThatCannotBe) {
  Write("1_Pooling/config.json", "{}");
  Modules({{"x.Transformer", ""}, {"sentence_transformers.models.CNN", "1_CNN"}});
  EXPECT_TRUE(
      Refuses("module 'sentence_transformers.models.CNN' is not known; known are "
              "Transformer, Pooling, Dense"));
  Modules({{"Router", ""}});
  EXPECT_TRUE(Refuses("module 'Router' is not known"));
  Modules({{"x.Transformer", ""}, {"x.Normalize", ""}, {"x.Pooling", "1_Pooling"}});
  EXPECT_TRUE(Refuses("module 'x.Normalize' stands before the pooling"));
  Modules({{"x.Pooling", "1_Pooling"}});
  EXPECT_TRUE(Refuses("module 'x.Pooling' stands where a Transformer must"));
  Modules({{"x.Transformer", ""}, {"x.Transformer", "1"}});
  EXPECT_TRUE(Refuses("names two transformers"));
  Modules({{"x.Transformer", ""}, {"x.Pooling", "1_Pooling"}, {"x.Pooling", "1_Pooling"}});
  EXPECT_TRUE(Refuses("names two poolings"));
  Modules({{"x.Transformer", ""}});
  EXPECT_TRUE(Refuses("names no Pooling"));
  for (const char* path : {"../up", "/etc", "a/../../b"}) {
    Modules({{"x.Transformer", ""}, {"x.Pooling", path}});
    EXPECT_TRUE(Refuses("is no folder below this one"));
  }
  Modules({{"x.Transformer", ""}, {"x.Pooling", ""}});
  EXPECT_TRUE(Refuses("module 'x.Pooling' has no path"));
  Modules({{"x.Transformer", ""}, {"x.Pooling", "none"}});
  EXPECT_TRUE(Refuses("none/config.json", ErrorCode::kIo));
  Write("modules.json", "{}");
  EXPECT_TRUE(Refuses("is no list"));
  Write("modules.json", R"([{"path":""}])");
  EXPECT_TRUE(Refuses("type is missing"));
}

TEST_F(SentenceFolders, LengthsAndCaseOfEveryFamily) {
  Write("1_Pooling/config.json", "{}");
  TransformerAndPooling();
  EXPECT_FALSE(ReadSentenceFolder(dir_.path(), 16).transformer.max_tokens.has_value());
  Write("sentence_new_config.json", R"({"max_seq_length":64})");
  EXPECT_EQ(ReadSentenceFolder(dir_.path(), 16).transformer.max_tokens, idx_t{64});
  Write("sentence_roberta_config.json", R"({"max_seq_length":128,"do_lower_case":true})");
  EXPECT_EQ(ReadSentenceFolder(dir_.path(), 16).transformer.max_tokens, idx_t{128});
  EXPECT_TRUE(ReadSentenceFolder(dir_.path(), 16).transformer.lower_case);
  Write("sentence_bert_config.json", R"({"max_seq_length":null,"do_lower_case":false})");
  EXPECT_FALSE(ReadSentenceFolder(dir_.path(), 16).transformer.max_tokens.has_value());
  EXPECT_FALSE(ReadSentenceFolder(dir_.path(), 16).transformer.lower_case);
  // Beside a transformer in a folder of its own.
  Modules({{"x.Transformer", "0_Transformer"}, {"x.Pooling", "1_Pooling"}});
  Write("0_Transformer/sentence_bert_config.json", R"({"max_seq_length":32})");
  EXPECT_EQ(ReadSentenceFolder(dir_.path(), 16).transformer.max_tokens, idx_t{32});
  Write("0_Transformer/sentence_bert_config.json", R"({"max_seq_length":0})");
  EXPECT_TRUE(Refuses("max_seq_length"));
  Write("0_Transformer/sentence_bert_config.json", R"({"transformer_task":"fill-mask"})");
  EXPECT_TRUE(Refuses("must be one of feature-extraction"));
  // As versions from 5.4 on write it.
  const auto newest = [&](const char* states, const char* output) {
    Write("0_Transformer/sentence_bert_config.json",
          fmt::format(R"({{"transformer_task":"feature-extraction","modality_config":{{"text":{{
                          "method":"forward","method_output_name":"{}"}}}},
                          "module_output_name":"{}"}})",
                      states, output));
  };
  newest("last_hidden_state", "token_embeddings");
  EXPECT_FALSE(ReadSentenceFolder(dir_.path(), 16).transformer.max_tokens.has_value());
  newest("pooler_output", "token_embeddings");
  EXPECT_TRUE(Refuses("method_output_name"));
  newest("last_hidden_state", "sentence_embedding");
  EXPECT_TRUE(Refuses("module_output_name"));
  EXPECT_EQ(LowerCaseText("ANNE \xc3\x89T\xc3\x89 \xce\xa3"), "anne \xc3\xa9t\xc3\xa9 \xcf\x83");
}

TEST_F(SentenceFolders, Prompts) {
  const auto write = [&](const std::string& text) {
    Write("config_sentence_transformers.json", text);
  };
  write(R"({"prompts":{"passage":"passage: ","query":"query: ","none":null},
            "default_prompt_name":"passage","similarity_fn_name":"cosine"})");
  const longspan::Prompts prompts = ReadSentenceFolder(dir_.path(), 16).prompts;
  EXPECT_EQ(prompts.default_name, "passage");
  EXPECT_EQ(PromptNamed(prompts, "query"), "query: ");
  EXPECT_EQ(PromptNamed(prompts, "none"), "");
  EXPECT_TRUE(Throws([&] { PromptNamed(prompts, "title"); }, ErrorCode::kUsage,
                     "prompt-name: 'title' is unknown; this model has none, passage, query"));
  EXPECT_TRUE(Throws([] { PromptNamed({}, "query"); }, ErrorCode::kUsage, "has no prompts"));
  write(R"({"prompts":{},"default_prompt_name":null})");
  EXPECT_FALSE(ReadSentenceFolder(dir_.path(), 16).prompts.default_name.has_value());
  write(R"({"prompts":{"a":"A "},"default_prompt_name":"b"})");
  EXPECT_TRUE(Refuses("default_prompt_name 'b' is none of its prompts (a)"));
  write(R"({"prompts":{"a":7}})");
  EXPECT_TRUE(Refuses("prompt 'a' is no text"));
  write(R"({"prompts":["a"]})");
  EXPECT_TRUE(Refuses("prompts is no object"));
  write(R"({"prompts":{"a":")" + std::string(70000, 'x') + R"("}})");
  EXPECT_TRUE(Refuses("has 70000 bytes, more than 65536"));
}

// ---- modules behind the pooling -----------------------------------------------------------------

Tensor Numbers(std::vector<idx_t> shape, int seed) {
  Tensor tensor(std::move(shape));
  for (idx_t i = 0; i < tensor.size(); ++i) {
    tensor.data<float>()[i] = static_cast<float>(std::sin(1.7 * (seed + 1) * (i + 1)));
  }
  return tensor;
}

class DenseModules : public SentenceFolders {
 protected:
  void Save(const std::vector<std::pair<std::string, const Tensor*>>& tensors) {
    std::filesystem::create_directories(dir_ / "2_Dense");
    std::vector<io::TensorEntry> entries;
    for (const auto& [name, tensor] : tensors) entries.push_back(test::EntryOf(name, *tensor));
    io::WriteSafetensors(dir_ / "2_Dense/model.safetensors", entries);
  }
  void Config(const std::string& text) { Write("2_Dense/config.json", text); }
  std::shared_ptr<const VectorModule> Read() { return ReadDense(dir_ / "2_Dense"); }
  bool RefusesDense(const char* what) {
    return Throws([&] { Read(); }, ErrorCode::kFormat, what);
  }
  Tensor weight_ = Numbers({3, 5}, 1), bias_ = Numbers({3}, 2), x_ = Numbers({4, 5}, 3);
  Context context_{2};
};

TEST_F(DenseModules, AreALinearLayerAndItsActivation) {
  Save({{"linear.weight", &weight_}, {"linear.bias", &bias_}});
  const std::pair<const char*, std::function<double(double)>> activations[] = {
      {"torch.nn.modules.linear.Identity", [](double x) { return x; }},
      {"torch.nn.modules.activation.Tanh", [](double x) { return std::tanh(x); }},
      {"torch.nn.modules.activation.ReLU", [](double x) { return x > 0 ? x : 0; }},
      {"torch.nn.modules.activation.GELU",
       [](double x) { return x * std::erfc(-x / M_SQRT2) / 2; }},
      {"torch.nn.modules.activation.Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"torch.nn.modules.activation.SiLU", [](double x) { return x / (1 + std::exp(-x)); }},
      {"torch.nn.modules.activation.LeakyReLU", [](double x) { return x > 0 ? x : x / 100; }},
      {"torch.nn.modules.activation.ELU", [](double x) { return x > 0 ? x : std::exp(x) - 1; }},
      {"", [](double x) { return std::tanh(x); }}};
  for (const auto& [name, value] : activations) {
    const std::string field = *name == 0 ? "" : fmt::format(R"(,"activation_function":"{}")", name);
    Config(R"({"in_features":5,"out_features":3,"bias":true)" + field + "}");
    const auto dense = Read();
    EXPECT_EQ(dense->WidthOf(5), 3);
    const Tensor y = dense->Apply(context_, Numbers({4, 5}, 3));
    ASSERT_EQ(y.shape(), (std::vector<idx_t>{4, 3}));
    for (idx_t t = 0; t < 4; ++t) {
      for (idx_t n = 0; n < 3; ++n) {
        double sum = bias_.data<float>()[n];
        for (idx_t k = 0; k < 5; ++k) {
          sum += double{x_.data<float>()[t * 5 + k]} * weight_.data<float>()[n * 5 + k];
        }
        EXPECT_NEAR(y.data<float>()[t * 3 + n], value(sum), 1e-6) << name;
      }
    }
  }
}

TEST_F(DenseModules, MayHaveNoBiasAndAResidual) {
  const Tensor residual = Numbers({3, 5}, 4), square = Numbers({5, 5}, 5);
  Save({{"linear.weight", &weight_}, {"residual.weight", &residual}});
  Config(R"({"in_features":5,"out_features":3,"bias":false,"use_residual":true,
             "activation_function":"torch.nn.modules.activation.ReLU"})");
  const Tensor y = Read()->Apply(context_, Numbers({4, 5}, 3));
  Save({{"linear.weight", &square}});
  Config(R"({"in_features":5,"out_features":5,"bias":false,"use_residual":true,
             "activation_function":"torch.nn.modules.activation.ReLU"})");
  const Tensor same = Read()->Apply(context_, Numbers({4, 5}, 3));
  for (idx_t t = 0; t < 4; ++t) {
    const float* x = x_.data<float>() + t * 5;
    for (idx_t n = 0; n < 5; ++n) {
      double sum = 0, own = 0, more = 0;
      for (idx_t k = 0; k < 5; ++k) {
        sum += double{x[k]} * square.data<float>()[n * 5 + k];
        if (n >= 3) continue;
        own += double{x[k]} * weight_.data<float>()[n * 5 + k];
        more += double{x[k]} * residual.data<float>()[n * 5 + k];
      }
      EXPECT_NEAR(same.data<float>()[t * 5 + n], std::max(sum, 0.0) + x[n], 1e-6);
      if (n >= 3) continue;
      EXPECT_NEAR(y.data<float>()[t * 3 + n], std::max(own, 0.0) + more, 1e-6);
    }
  }
}

TEST_F(DenseModules, ComeFromPyTorchFilesToo) {
  using namespace io::pieces;  // NOLINT: pieces of a pickle
  const std::string table =
      PTable({{"linear.weight", PTensor(PStorage("FloatStorage", "0", 2), 0, {1, 2}, {2, 1})},
              {"linear.bias", PTensor(PStorage("FloatStorage", "1", 1), 0, {1}, {1})}});
  Write("2_Dense/pytorch_model.bin", Zip({{"archive/data.pkl", table},
                                          {"archive/data/0", Floats({2, 3})},
                                          {"archive/data/1", Floats({0.5})}}));
  Config(R"({"in_features":2,"out_features":1,"bias":true,
             "activation_function":"torch.nn.modules.linear.Identity"})");
  Tensor x({1, 2});
  x.data<float>()[0] = 10;
  x.data<float>()[1] = 100;
  EXPECT_EQ(Read()->Apply(context_, std::move(x)).data<float>()[0], 320.5f);
}

TEST_F(DenseModules, ThatCannotBe) {
  Save({{"linear.weight", &weight_}, {"linear.bias", &bias_}});
  Config(R"({"in_features":5,"out_features":4})");
  EXPECT_TRUE(RefusesDense("linear.weight has the shape [3, 5], but config.json says [4, 5]"));
  Config(R"({"in_features":5,"out_features":3,"bias":false})");
  EXPECT_TRUE(RefusesDense("has a tensor 'linear.bias', which a module"));
  Config(R"({"in_features":5,"out_features":3,"activation_function":"torch.nn.Softplus"})");
  EXPECT_TRUE(RefusesDense("activation_function 'torch.nn.Softplus' is unknown; known are "));
  Config(R"({"in_features":5,"out_features":3,"activation_function":"os.Tanh"})");
  EXPECT_TRUE(RefusesDense("activation_function 'os.Tanh' is unknown"));
  Config(R"({"in_features":5})");
  EXPECT_TRUE(RefusesDense("out_features is missing"));
  Config(R"({"in_features":5,"out_features":1099511627776})");
  EXPECT_TRUE(RefusesDense("out_features"));
  Config(R"({"in_features":5,"out_features":3,"module_input_name":"token_embeddings"})");
  EXPECT_TRUE(RefusesDense("module_input_name 'token_embeddings'"));
  Save({{"linear.weight", &weight_}});
  Config(R"({"in_features":5,"out_features":3})");
  EXPECT_TRUE(RefusesDense("linear.bias"));
  std::filesystem::remove(dir_ / "2_Dense/model.safetensors");
  EXPECT_TRUE(Throws([&] { Read(); }, ErrorCode::kIo, "2_Dense"));
}

TEST_F(SentenceFolders, VectorsMayBeCut) {
  EXPECT_FALSE(ReadSentenceFolder(dir_.path(), 16).truncate_dim.has_value());
  Write("config_sentence_transformers.json", R"({"truncate_dim":null})");
  EXPECT_FALSE(ReadSentenceFolder(dir_.path(), 16).truncate_dim.has_value());
  Write("config_sentence_transformers.json", R"({"truncate_dim":8})");
  EXPECT_EQ(ReadSentenceFolder(dir_.path(), 16).truncate_dim, 8);
  for (const char* wrong : {"0", "-1", "\"8\"", "1.5", "true"}) {
    Write("config_sentence_transformers.json", fmt::format(R"({{"truncate_dim":{}}})", wrong));
    EXPECT_TRUE(Refuses("truncate_dim")) << wrong;  // a long path is shortened
  }
  Context context(1);
  Tensor vectors({2, 3});
  for (idx_t i = 0; i < 6; ++i) vectors.data<float>()[i] = static_cast<float>(i);
  const auto truncate = MakeTruncate(2);
  EXPECT_EQ(truncate->WidthOf(3), 2);
  EXPECT_EQ(truncate->WidthOf(1), 1);
  const Tensor cut = truncate->Apply(context, std::move(vectors));
  EXPECT_EQ(cut.shape(), (std::vector<idx_t>{2, 2}));
  const float expected[] = {0, 1, 3, 4};
  EXPECT_TRUE(std::equal(expected, expected + 4, cut.data<float>()));
}

TEST_F(DenseModules, RunInTheOrderOfTheFile) {
  const Tensor scale = Numbers({3}, 6), shift = Numbers({3}, 7);
  Save({{"linear.weight", &weight_}, {"linear.bias", &bias_}});
  Config(R"({"in_features":5,"out_features":3,
             "activation_function":"torch.nn.modules.linear.Identity"})");
  Write("3_LayerNorm/config.json", R"({"dimension":3})");
  const io::TensorEntry entries[] = {test::EntryOf("norm.weight", scale),
                                     test::EntryOf("norm.bias", shift)};
  io::WriteSafetensors(dir_ / "3_LayerNorm/model.safetensors", entries);
  Write("4_Dropout/config.json", R"({"dropout":0.5})");
  Write("1_Pooling/config.json", R"({"word_embedding_dimension":5})");
  Modules({{"x.Transformer", ""},
           {"x.Pooling", "1_Pooling"},
           {"x.Dense", "2_Dense"},
           {"x.LayerNorm", "3_LayerNorm"},
           {"x.Dropout", "4_Dropout"},
           {"x.Normalize", "5_Normalize"}});
  const SentenceFolder folder = ReadSentenceFolder(dir_.path(), 5);
  ASSERT_EQ(folder.modules.size(), 3u);
  EXPECT_EQ(VectorWidth(folder.pooling, folder.modules, 5), 3);
  Tensor vectors = Numbers({4, 5}, 3);
  for (const auto& module : folder.modules) vectors = module->Apply(context_, std::move(vectors));
  for (idx_t t = 0; t < 4; ++t) {
    double y[3], mean = 0, variance = 0, squares = 0;
    for (idx_t n = 0; n < 3; ++n) {
      y[n] = bias_.data<float>()[n];
      for (idx_t k = 0; k < 5; ++k) {
        y[n] += double{x_.data<float>()[t * 5 + k]} * weight_.data<float>()[n * 5 + k];
      }
      mean += y[n] / 3;
    }
    for (const double value : y) variance += (value - mean) * (value - mean) / 3;
    for (idx_t n = 0; n < 3; ++n) {
      y[n] = (y[n] - mean) / std::sqrt(variance + 1e-5) * scale.data<float>()[n] +
             shift.data<float>()[n];
      squares += y[n] * y[n];
    }
    for (idx_t n = 0; n < 3; ++n) {
      EXPECT_NEAR(vectors.data<float>()[t * 3 + n], y[n] / std::sqrt(squares), 1e-5);
    }
  }
  // Widths that do not meet.
  Write("3_LayerNorm/config.json", R"({"dimension":4})");
  EXPECT_TRUE(Throws([&] { ReadSentenceFolder(dir_.path(), 5); }, ErrorCode::kFormat,
                     "norm.weight has the shape [3], but config.json says [4]"));
  Write("3_LayerNorm/config.json", R"({"dimension":3})");
  Write("1_Pooling/config.json", R"({"pooling_mode":["cls","max"]})");
  EXPECT_TRUE(Throws([&] { ReadSentenceFolder(dir_.path(), 5); }, ErrorCode::kFormat,
                     "in_features 5 is not 10, the width of the vectors that come to it"));
}

TEST_F(SentenceFolders, NormalizeOfTokensIsRefused) {
  Write("1_Pooling/config.json", "{}");
  Write("2_Normalize/config.json", R"({"module_input_name":"sentence_embedding"})");
  Modules({{"x.Transformer", ""}, {"x.Pooling", "1_Pooling"}, {"x.Normalize", "2_Normalize"}});
  EXPECT_EQ(ReadSentenceFolder(dir_.path(), 16).modules.size(), 1u);
  Write("2_Normalize/config.json", R"({"module_input_name":"token_embeddings"})");
  EXPECT_TRUE(Refuses("module_input_name 'token_embeddings'"));
}

}  // namespace
}  // namespace longspan
