#include "model/model_folder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/memory_limit.h"
#include "families/families.h"
#include "families/family_step_test.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/longformer_test.h"
#include "families/reformer/reformer_files.h"
#include "io/json.h"
#include "io/policy.h"
#include "io/safetensors.h"
#include "model/text_model.h"
#include "tests/support/entries.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;
using testing::ElementsAre;
using testing::HasSubstr;

// What holds for the whole process is put back.
class FolderTest : public testing::Test {
 protected:
  ~FolderTest() override {
    io::SetPolicy({});
    SetMemoryLimit(0);
  }
  TempDir dir_;
};

// A folder that somebody else made: `ssh` stands for what is none of its business.
class CompanionsTest : public FolderTest {
 protected:
  CompanionsTest() {
    for (const char* name : {"ssh", "model", "model/2_Dense", "out"}) {
      fs::create_directory(dir_ / name);
    }
    PutFile(dir_ / "ssh/id_rsa", "secret");
    PutFile(dir_ / "ssh/known_hosts", "hosts");
    PutFile(model() / "config.json", "{}");
    PutFile(model() / "model.safetensors", "w");
    PutFile(model() / "README.md", "r");
    PutFile(model() / "2_Dense/config.json", "{}");
    PutFile(
        model() / "modules.json",
        "[{\"path\":\"\"},{\"path\":\"1_Pooling\"},{\"path\":\"2_Dense\"},{\"path\":\"3_None\"}]");
  }
  fs::path model() const { return dir_ / "model"; }
  fs::path out() const { return dir_ / "out"; }
};

TEST_F(CompanionsTest, LinksDoNotCarryFilesOut) {
  fs::create_symlink("../ssh", model() / "1_Pooling");
  fs::create_symlink(dir_ / "ssh/id_rsa", model() / "LICENSE.txt");
  fs::create_symlink("../../ssh/id_rsa", model() / "2_Dense/notes.txt");
  fs::create_symlink("README.md", model() / "NOTES.md");
  fs::create_symlink("gone", model() / "nowhere.txt");
  EXPECT_THAT(CopyCompanions(model(), out()), ElementsAre("NOTES.md", "README.md", "config.json",
                                                          "modules.json", "2_Dense/config.json"));
  EXPECT_EQ(Listing(out()), "2_Dense NOTES.md README.md config.json modules.json");
  EXPECT_EQ(Listing(out() / "2_Dense"), "config.json");
  EXPECT_FALSE(fs::is_symlink(out() / "NOTES.md"));
  EXPECT_EQ(GetFile(out() / "NOTES.md"), "r");
  const std::string line = LinksLeftOut(model());
  EXPECT_THAT(line, HasSubstr("model: 3 of its links lead out of the folder: LICENSE.txt, "
                              "1_Pooling, 2_Dense/notes.txt; not copied"));
  EXPECT_THAT(LinksLeftOut(model(), {"LICENSE.txt"}), HasSubstr("2 of its links lead out"));
  io::SetPolicy({.strict_paths = true});
  EXPECT_TRUE(Throws([&] { CopyCompanions(model(), out()); }, ErrorCode::kFormat,
                     "--strict-paths refuses that"));
}

TEST_F(CompanionsTest, FoldersThatAreAsTheySayAreCopiedWhole) {
  fs::create_directory(model() / "1_Pooling");
  PutFile(model() / "1_Pooling/config.json", "{\"a\":1}");
  EXPECT_EQ(LinksLeftOut(model()), "");
  EXPECT_EQ(CopyCompanions(model(), out(), {"config.json"}).size(), 4u);
  EXPECT_EQ(GetFile(out() / "1_Pooling/config.json"), "{\"a\":1}");
}

// What a folder of the hub has for other programs, and what somebody has put there.
TEST_F(CompanionsTest, WeightsOfOtherFormatsArchivesAndLargeFilesStayBehind) {
  for (const char* name :
       {"tf_model.h5", "rust_model.ot", "flax_model.msgpack", "model.onnx", "openvino_model.bin",
        "dist.whl", "old.tar.gz", "data.txt", "pytorch_model.bin", "tokenizer.json", "spiece.model",
        "notes.txt", "modeling.py", ".hidden.zip"}) {
    PutFile(model() / name, "x");
  }
  PutFile(model() / "2_Dense/model.safetensors", "w");  // a module's weights are its own
  PutFile(model() / "2_Dense/pytorch_model.bin", "w");
  fs::resize_file(model() / "data.txt", (std::uint64_t{64} << 20) + 1);
  fs::resize_file(model() / "dist.whl", 83'000'000);
  EXPECT_THAT(CopyCompanions(model(), out()),
              ElementsAre("README.md", "config.json", "modeling.py", "modules.json", "notes.txt",
                          "spiece.model", "tokenizer.json", "2_Dense/config.json",
                          "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"));
  EXPECT_THAT(
      FilesLeftOut(model(), {"model.onnx"}),
      HasSubstr("model: not copied, as weights of other formats, archives and files above 67 MB "
                "are not: data.txt (67 MB), dist.whl (83 MB), flax_model.msgpack (1 kB), "
                "old.tar.gz (1 kB), openvino_model.bin (1 kB), rust_model.ot (1 kB), "
                "tf_model.h5 (1 kB)"));
  EXPECT_EQ(FilesLeftOut(out()), "");
}

TEST_F(CompanionsTest, SnapshotsOfTheCacheAreCopied) {
  const fs::path cache = dir_ / "models--org--name", snapshot = cache / "snapshots/abcdef";
  fs::create_directories(snapshot / "1_Pooling");
  fs::create_directories(cache / "blobs");
  PutFile(cache / "blobs/11", "words");
  PutFile(cache / "blobs/22", "{}");
  fs::create_symlink("../../blobs/11", snapshot / "vocab.txt");
  fs::create_symlink("../../blobs/22", snapshot / "config.json");
  fs::create_symlink("../../../blobs/22", snapshot / "1_Pooling/config.json");
  fs::create_symlink("../../../../ssh/id_rsa", snapshot / "1_Pooling/key");
  PutFile(snapshot / "modules.json", "[{\"path\":\"1_Pooling\"}]");
  EXPECT_THAT(CopyCompanions(snapshot, out()),
              ElementsAre("config.json", "modules.json", "vocab.txt", "1_Pooling/config.json"));
  EXPECT_EQ(GetFile(out() / "vocab.txt"), "words");
  EXPECT_THAT(LinksLeftOut(snapshot), HasSubstr("1 of its links leads out of the folder: "
                                                "1_Pooling/key"));
  EXPECT_THAT(TokenizerFiles(snapshot), ElementsAre("vocab.txt"));
}

TEST_F(CompanionsTest, TokenizersLikewise) {
  PutFile(model() / "tokenizer_config.json", "{}");
  fs::create_symlink("../ssh/id_rsa", model() / "vocab.txt");
  EXPECT_THAT(TokenizerFiles(model()), ElementsAre("tokenizer_config.json"));
  CopyTokenizer(model(), out());
  EXPECT_EQ(Listing(out()), "tokenizer_config.json");
  EXPECT_THAT(TokenizerLinksLeftOut(model()), HasSubstr("leads out of the folder: vocab.txt"));
  io::SetPolicy({.strict_paths = true});
  EXPECT_TRUE(Throws([&] { CopyTokenizer(model(), out()); }, ErrorCode::kFormat, "--strict-paths"));
}

// ---- what a folder says -------------------------------------------------------------------------

ReformerConfig SmallReformer() {
  ReformerConfig c = ReformerPreset("tiny");
  c.hidden_size = 8;
  c.heads = 2;
  c.head_size = 4;
  c.feed_forward_size = 8;
  c.axial_dims = {4, 4};
  return c;
}

class LoadingTest : public FolderTest {
 protected:
  // Adds tensors that no model has a place for.
  void AddTensors(int count) {
    const auto source = io::OpenModel(dir_.path());
    std::vector<Tensor> tensors;
    std::vector<io::TensorEntry> entries;
    for (const auto& [name, info] : source->tensors()) {
      tensors.push_back(source->Read(name));
      entries.push_back(test::EntryOf(name, tensors.back()));
    }
    static constexpr float kOne = 1.0f;
    for (int i = 0; i < count; ++i) {
      entries.push_back({fmt::format("extra.{:02}", i), DType::kF32, {1}, &kOne});
    }
    io::WriteSafetensors(dir_ / "model.safetensors", entries);
  }
  void Change(const char* field, const nlohmann::json& value) {
    nlohmann::json config = io::ReadJsonFile(dir_ / "config.json");
    config[field] = value;
    PutFile(dir_ / "config.json", config.dump());
  }
  void PutLongformer() {
    Longformer model(SmallLongformer(HeadKind::kMaskedLm));
    SaveLongformer(model, dir_.path());
  }
  void PutReformer() {
    Reformer model(SmallReformer());
    SaveReformer(model, dir_.path());
  }
  testing::AssertionResult Refused(const std::function<void()>& load) {
    return Throws(load, ErrorCode::kFormat,
                  "12 tensors are not part of the model, which --strict refuses: extra.00, "
                  "extra.01, extra.02, extra.03, extra.04, extra.05, extra.06, extra.07, extra.08, "
                  "extra.09, ... (12 in all)");
  }
};

TEST_F(LoadingTest, ExtraTensorsAreAFewLinesOrAnError) {
  PutLongformer();
  AddTensors(12);
  std::vector<std::string> warnings;
  LoadLongformer(OpenModelFolder(dir_.path()), {}, &warnings);
  ASSERT_EQ(warnings.size(), 11u);
  EXPECT_THAT(warnings[0], HasSubstr("'extra.00' is not part of the model"));
  EXPECT_THAT(warnings[10], HasSubstr("2 more tensors are not part of the model"));
  io::SetPolicy({.strict_weights = true});
  EXPECT_TRUE(Refused([&] { LoadLongformer(OpenModelFolder(dir_.path())); }));
  EXPECT_TRUE(Refused([&] { CheckTensors(OpenModelFolder(dir_.path())); }));
  // What another head leaves out is no mistake.
  LoadOptions other;
  other.head = WantedHead{HeadKind::kQuestion, {}, ProblemType::kInferred, 1};
  EXPECT_TRUE(Refused([&] { LoadLongformer(OpenModelFolder(dir_.path()), other); }));
  PutLongformer();
  EXPECT_NO_THROW(LoadLongformer(OpenModelFolder(dir_.path())));
  EXPECT_NO_THROW(LoadLongformer(OpenModelFolder(dir_.path()), other));
  EXPECT_NO_THROW(CheckTensors(OpenModelFolder(dir_.path())));
}

TEST_F(LoadingTest, ExtraTensorsOfReformers) {
  PutReformer();
  AddTensors(12);
  std::vector<std::string> warnings;
  LoadReformer(OpenModelFolder(dir_.path()), {}, &warnings);
  EXPECT_EQ(warnings.size(), 11u);
  io::SetPolicy({.strict_weights = true});
  EXPECT_TRUE(Refused([&] { LoadReformer(OpenModelFolder(dir_.path())); }));
  EXPECT_TRUE(Refused([&] { CheckTensors(OpenModelFolder(dir_.path())); }));
  LoadOptions other;
  other.head = WantedHead{HeadKind::kQuestion, {}, ProblemType::kInferred, 1};
  EXPECT_TRUE(Refused([&] { LoadReformer(OpenModelFolder(dir_.path()), other); }));
  PutReformer();
  EXPECT_NO_THROW(LoadReformer(OpenModelFolder(dir_.path()), other));
  EXPECT_NO_THROW(CheckTensors(OpenModelFolder(dir_.path())));
}

TEST_F(LoadingTest, CodeOfTheModelsOwnIsOneWarning) {
  PutLongformer();
  Change("auto_map", {{"AutoModel", "evil.Model"}});
  std::vector<std::string> warnings;
  LoadLongformer(OpenModelFolder(dir_.path()), {}, &warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("config.json: auto_map names Python code"));
  PutReformer();
  Change("auto_map", {{"AutoModel", "evil.Model"}});
  warnings.clear();
  LoadReformer(OpenModelFolder(dir_.path()), {}, &warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("which is never run"));
}

// Sizes are estimated before anything is allocated.
TEST_F(LoadingTest, ModelsThatDoNotFitAreRefusedWithBothNumbers) {
  ReformerConfig large = SmallReformer();
  large.vocab_size = 1 << 24;
  large.hidden_size = 1 << 20;
  large.axial_dims = {1 << 19, 1 << 19};
  large.feed_forward_size = 1 << 20;
  large.layers.assign(4096, LayerKind::kLocal);
  EXPECT_TRUE(Throws([&] { Reformer model(large); }, ErrorCode::kLimit, " PB, limit "));
  LongformerConfig wide = SmallLongformer(HeadKind::kMaskedLm);
  wide.hidden_size = wide.feed_forward_size = 1 << 20;
  wide.heads = 1;
  wide.attention_window.assign(4096, 2);
  EXPECT_TRUE(Throws([&] { Longformer model(wide); }, ErrorCode::kLimit, " PB, limit "));
  PutReformer();
  SetMemoryLimit(1000);
  EXPECT_TRUE(
      Throws([&] { LoadReformer(OpenModelFolder(dir_.path())); }, ErrorCode::kLimit, "limit 1 kB"));
  SetMemoryLimit(1 << 30);
  EXPECT_NO_THROW(LoadReformer(OpenModelFolder(dir_.path())));
}

// ---- weights that do not fit --------------------------------------------------------------------

// Special tokens of a preset, whose vocabulary is larger than a small model's.
void PutTokensIntoVocabulary(const fs::path& folder) {
  nlohmann::json config = io::ReadJsonFile(folder / "config.json");
  for (const auto& [name, value] : config.items()) {
    if (name.ends_with("_token_id") && value.is_number_integer() && value >= 300) value = 0;
  }
  PutFile(folder / "config.json", config.dump());
}

// A small masked LM of one family, its weights zeros of one type.
class UnfitFolder {
 public:
  UnfitFolder(const ModelConfig& config, const fs::path& folder, DType dtype) : folder_(folder) {
    const auto model = config.Make(ParameterMemory::kOwn);
    model->Save(folder);
    PutTokensIntoVocabulary(folder);
    title_ = config.info().title;
    entries_ = model->Weights();
    for (io::TensorEntry& entry : entries_) entry.dtype = dtype;
  }

  // The name of a tensor with this end.
  std::string Name(std::string_view end) const {
    for (const io::TensorEntry& entry : entries_) {
      if (entry.name.ends_with(end)) return entry.name;
    }
    return {};
  }
  // Loading is refused with these words, if `change` has changed the tensors first.
  testing::AssertionResult Refused(
      std::string_view says, const std::function<void(std::vector<io::TensorEntry>&)>& change) {
    std::vector<io::TensorEntry> changed = entries_;
    change(changed);
    const std::vector<std::uint8_t> zeros(std::size_t{1} << 24);
    for (io::TensorEntry& entry : changed) entry.data = zeros.data();
    EXPECT_LE(io::SafetensorsBytes(changed), zeros.size());
    io::WriteSafetensors(folder_ / "model.safetensors", changed);
    return Throws([&] { LoadTextModel(folder_, {}); }, ErrorCode::kFormat, says);
  }
  const std::string& title() const { return title_; }

 private:
  fs::path folder_;
  std::string title_;
  std::vector<io::TensorEntry> entries_;
};

io::TensorEntry& EntryOf(std::vector<io::TensorEntry>& entries, const std::string& name) {
  return *std::find_if(entries.begin(), entries.end(),
                       [&](const io::TensorEntry& entry) { return entry.name == name; });
}

// Whether the numbers would suffice or not, the message names the tensor.
TEST_F(FolderTest, UnfitWeightsAreNamedInEveryFamily) {
  for (const auto& config : Models(HeadKind::kMaskedLm, 16)) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      UnfitFolder folder(*config, dir_.path(), dtype);
      SCOPED_TRACE(folder.title());
      const std::string norm =
          folder.Name("orm.bias").empty() ? folder.Name("orm.weight") : folder.Name("orm.bias");
      const std::string words = folder.Name("embeddings.weight");
      ASSERT_FALSE(norm.empty() || words.empty());
      EXPECT_TRUE(folder.Refused(
          "model.safetensors: 1 tensor does not fit config.json: " + norm + " is missing",
          [&](auto& entries) {
            std::erase_if(entries, [&](const auto& e) { return e.name == norm; });
          }));
      EXPECT_TRUE(folder.Refused(norm + " is missing; the model has no place for odd.name",
                                 [&](auto& entries) { EntryOf(entries, norm).name = "odd.name"; }));
      EXPECT_TRUE(folder.Refused(words + " has shape (299, 16), the config needs (300, 16)",
                                 [&](auto& entries) { EntryOf(entries, words).shape[0] = 299; }));
      EXPECT_TRUE(folder.Refused(words + " has shape (301, 16), the config needs (300, 16)",
                                 [&](auto& entries) { EntryOf(entries, words).shape[0] = 301; }));
    }
  }
}

// A wanted head may be drawn: what the encoder lacks is named.
TEST_F(FolderTest, UnfitEncodersAreNamedUnderAnotherHead) {
  const auto configs = Models(HeadKind::kMaskedLm, 16);
  for (const auto& config : configs) {
    const auto model = config->Make(ParameterMemory::kOwn);
    model->Save(dir_.path());
    PutTokensIntoVocabulary(dir_.path());
    std::vector<io::TensorEntry> entries = model->Weights();
    const std::string lost = entries[0].name;  // the words: the numbers do not suffice
    entries.erase(entries.begin());
    io::WriteSafetensors(dir_ / "model.safetensors", entries);
    LoadOptions other;
    other.head = WantedHead{HeadKind::kSequence, {"a", "b"}, ProblemType::kSingleLabel, 1};
    EXPECT_TRUE(Throws([&] { LoadTextModel(dir_.path(), other); }, ErrorCode::kFormat,
                       "1 tensor does not fit config.json: " + lost + " is missing"))
        << config->info().title;
  }
}

}  // namespace
}  // namespace longspan
