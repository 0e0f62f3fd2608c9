// What paths are that people give as models, and what they are told.
#include "families/what_is.h"

#include <array>

#include "families/families.h"
#include "families/longformer/longformer_files.h"
#include "families/reformer/reformer_files.h"
#include "io/transformer_folder.h"
#include "model/text_model.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using test::PutFile;
using test::TempDir;
using test::Throws;

class WhatIsTest : public testing::Test {
 protected:
  fs::path Folder(const std::string& name) {
    fs::create_directories(dir_ / name);
    return dir_ / name;
  }
  fs::path WithConfig(const std::string& name, std::string_view config) {
    const fs::path folder = Folder(name);
    PutFile(folder / "config.json", config);
    return folder;
  }
  // What every command that opens a model says of the path.
  testing::AssertionResult Says(const fs::path& path, ErrorCode code, std::string_view text) {
    for (const std::function<void()>& open : std::vector<std::function<void()>>{
             [&] { ReadTextModelInfo(path); }, [&] { LoadTextModel(path, {}); },
             [&] { LoadReformerConfig(OpenModelFolder(path)); },
             [&] { LoadLongformerConfig(OpenModelFolder(path)); },
             [&] { LoadReformer(OpenModelFolder(path)); },
             [&] { LoadLongformer(OpenModelFolder(path)); }}) {
      auto result = Throws(open, code, text);
      if (!result) return result;
    }
    return testing::AssertionSuccess();
  }

  TempDir dir_;
};

TEST_F(WhatIsTest, WhereNothingIs) {
  EXPECT_EQ(LookAt(dir_ / "none").kind, PathKind::kMissing);
  EXPECT_TRUE(Says(dir_ / "none", ErrorCode::kIo,
                   "none: there is no such folder or file; nothing "
                   "is downloaded: download the model's files"));
  EXPECT_TRUE(Says(Folder("empty"), ErrorCode::kIo, "empty: is an empty folder; nothing is"));
  PutFile(Folder("photos") / "a.jpg", "x");
  EXPECT_TRUE(Says(dir_ / "photos", ErrorCode::kIo, "is a folder without a config.json"));
  // Around a model: an unpacked archive, a download cache.
  for (const std::string inner : {"zip/model", "models--a--b/snapshots/0f"}) {
    WithConfig(inner, "{}");
    EXPECT_TRUE(Says(dir_ / inner.substr(0, inner.find('/')), ErrorCode::kIo,
                     "is a folder around a model's; give that one: " + (dir_ / inner).string()));
  }
}

TEST_F(WhatIsTest, OtherModels) {
  EXPECT_TRUE(
      Says(WithConfig("g", R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})"),
           ErrorCode::kFormat, "is a gpt2 (GPT2LMHeadModel); longspan cannot run it"));
  EXPECT_TRUE(Says(WithConfig("e", R"({"model_type": "electra"})"), ErrorCode::kFormat,
                   "is an electra; longspan cannot"));
  EXPECT_TRUE(Says(WithConfig("x", R"({"n_embd": 4})"), ErrorCode::kFormat,
                   "its config.json names no model_type, and none of its fields does"));
  for (const auto& [folder, config, what] :
       {std::array{"b", R"({"model_type": "bert", "architectures": ["BertForMaskedLM"]})",
                   "a BERT (BertForMaskedLM)"},
        std::array{"r", R"({"architectures": ["RobertaModel"]})", "a RoBERTa (RobertaModel)"},
        std::array{"m", R"({"model_type": "xlm-roberta"})", "an XLM-RoBERTa"},
        std::array{"c", R"({"model_type": "camembert"})", "a CamemBERT"}}) {
    WithConfig(folder, config);
    const WhatIs found = LookAt(dir_ / folder);
    EXPECT_EQ(found.kind, PathKind::kModel);
    EXPECT_EQ(found.what, what);
  }
  EXPECT_EQ(LookAt(dir_ / "g").kind, PathKind::kForeign);
  // One of the two where the other is wanted.
  WithConfig("l", R"({"model_type": "longformer", "architectures": ["LongformerModel"]})");
  EXPECT_TRUE(Throws([&] { LoadReformer(OpenModelFolder(dir_ / "l")); }, ErrorCode::kFormat,
                     "is a Longformer (LongformerModel); this needs a Reformer"));
}

TEST_F(WhatIsTest, TypesThatAreNotNamed) {
  const auto type = [](const char* text) { return ModelTypeIn(nlohmann::json::parse(text), "x"); };
  EXPECT_EQ(type(R"({"architectures": ["ReformerModelWithLMHead"]})"), "reformer");
  EXPECT_EQ(type(R"({"architectures": ["LongformerForMaskedLM"]})"), "longformer");
  EXPECT_EQ(type(R"({"architectures": ["GPT2LMHeadModel"]})"), "gpt2");
  EXPECT_EQ(type(R"({"attention_window": 8})"), "longformer");
  EXPECT_EQ(type(R"({"attn_layers": ["lsh"]})"), "reformer");
  EXPECT_EQ(type("{}"), "");
}

TEST_F(WhatIsTest, ARunBeforeItsEnd) {
  const fs::path run = Folder("run");
  PutFile(run / "metrics.jsonl", "");
  EXPECT_TRUE(Says(run, ErrorCode::kIo, "a training that has not saved a checkpoint yet"));
  for (const char* name : {"checkpoint-1", "checkpoint-3"}) {
    Folder(std::string("run/") + name);
    PutFile(run / name / "manifest.json", "{}");
  }
  EXPECT_TRUE(Says(run, ErrorCode::kIo,
                   "run: has not finished; newest checkpoint: " + (run / "checkpoint-3").string() +
                       "; go on with --resume or use the checkpoint as a model"));
  PutFile(run / "checkpoint-3" / "trainer_state.json", R"({"step": 3, "options": {"steps": 12}})");
  EXPECT_TRUE(
      Says(run, ErrorCode::kIo, "run: has not finished: step 3 of 12; newest checkpoint: "));
  for (const char* damaged :
       {"{", "[]", R"({"step": 3})", R"({"step": "3", "options": {"steps": 12}})"}) {
    PutFile(run / "checkpoint-3" / "trainer_state.json", damaged);
    EXPECT_TRUE(Says(run, ErrorCode::kIo, "run: has not finished; newest")) << damaged;
  }
  // The run removes its older checkpoints: no reason to download anything.
  EXPECT_TRUE(Says(run / "checkpoint-2", ErrorCode::kIo,
                   "there is no such checkpoint; " + run.string() +
                       " has checkpoint-1, checkpoint-3; a run keeps its newest ones (--keep)"));
}

TEST_F(WhatIsTest, PartsOfModels) {
  PutFile(Folder("t") / "tokenizer.json", "{}");
  EXPECT_TRUE(Says(dir_ / "t", ErrorCode::kIo, "is a tokenizer without a model"));
  PutFile(Folder("w") / "pytorch_model.bin", "x");
  EXPECT_TRUE(Says(dir_ / "w", ErrorCode::kIo, "has pytorch_model.bin but no config.json"));
  const auto kind = [&](const char* name, std::string_view bytes) {
    return LookAt(PutFile(dir_ / name, bytes)).kind;
  };
  EXPECT_EQ(kind("a.safetensors", "x"), PathKind::kWeights);
  EXPECT_EQ(kind("a.bin", "PK\x03\x04"), PathKind::kWeights);
  EXPECT_EQ(kind("a.csv", "text,label\n"), PathKind::kTable);
  EXPECT_EQ(kind("A.JSONL", "{}\n"), PathKind::kTable);
  EXPECT_EQ(kind("a.txt", "words"), PathKind::kText);
  EXPECT_EQ(kind("a.jpg", std::string_view("\xff\0x", 3)), PathKind::kFile);
  EXPECT_EQ(kind("tokenizer.json", "{}"), PathKind::kFile);
  EXPECT_EQ(kind("packed", "\x1f\x8b\x08"), PathKind::kText);
  const auto says = [&](const char* name, std::string_view bytes) {
    const WhatIs found = LookAt(PutFile(dir_ / name, bytes));
    return found.what + "; " + found.next;
  };
  EXPECT_EQ(says("a.txt", ""), "an empty file; give a model's folder");
  EXPECT_EQ(says("a.txt.gz", ""), "an empty file; give a model's folder");
  EXPECT_EQ(says("a.png", "\x89PNG\r\n\x1a\n"), "a picture (PNG); give a model's folder");
  EXPECT_EQ(says("a.pdf", "%PDF-1.7\n"), "a PDF; take its text out first (pdftotext)");
  EXPECT_EQ(says("a.docx", "PK\x03\x04..[Content_Types].xml"),
            "a zip archive (as .docx, .xlsx, .npz and PyTorch's files are); unpack it first");
  EXPECT_EQ(kind("model", "PK\x03\x04..archive/data.pkl"), PathKind::kWeights);
  EXPECT_EQ(
      says("w.txt", std::string_view("\xff\xfe"
                                     "a\0",
                                     4)),
      "a text in UTF-16; longspan data stats " + (dir_ / "w.txt").string() + " --encoding utf-16");
  EXPECT_EQ(says("w.csv", std::string_view("a\0b\0", 4)),
            "a table in UTF-16; longspan data stats " + (dir_ / "w.csv").string() +
                " --encoding utf-16le");
  EXPECT_EQ(kind("b.safetensors", "version https://git-lfs.github.com/spec/v1\n"), PathKind::kFile);
  EXPECT_EQ(LookAt(dir_ / "b.safetensors").next,
            "this is a git-LFS pointer, fetch the file that it stands for (git lfs pull)");
  EXPECT_EQ(LookAt(dir_ / "a.csv").next, "longspan data stats " + (dir_ / "a.csv").string());
}

TEST_F(WhatIsTest, DownloadsThatAreNoConfig) {
  EXPECT_TRUE(Says(WithConfig("p", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
                   ErrorCode::kFormat, "this is a git-LFS pointer"));
  EXPECT_TRUE(Says(WithConfig("h", "\n<!doctype html><html>"), ErrorCode::kFormat, "a web page"));
  EXPECT_TRUE(Says(WithConfig("n", "Entry not found"), ErrorCode::kFormat, "a server's refusal"));
  EXPECT_TRUE(Says(WithConfig("l", "[]"), ErrorCode::kFormat, "a list instead of an object"));
}

// The outer folder of sentence-transformers is the inner one's model.
TEST_F(WhatIsTest, TheTransformersFolder) {
  LongformerConfig config = LongformerPreset("tiny");
  config.vocab_size = 40;
  Longformer model(config);
  model.Initialise(3);
  const fs::path old = Folder("old"), named = Folder("named"), flat = Folder("flat");
  SaveLongformer(model, old / "0_Transformer");
  SaveLongformer(model, named / "0_Longformer");
  SaveLongformer(model, flat);
  PutFile(named / "config.json", R"({"__version__": "1.0"})");
  PutFile(named / "modules.json", R"([{"idx": 0, "path": "0_Longformer"}, {"path": "1_Pooling"}])");
  PutFile(flat / "modules.json", R"([{"idx": 0, "path": ""}])");
  EXPECT_EQ(io::TransformerFolder(old), old / "0_Transformer");
  EXPECT_EQ(io::TransformerFolder(named), named / "0_Longformer");
  EXPECT_EQ(io::TransformerFolder(flat), flat);
  EXPECT_EQ(io::TransformerFolder(dir_ / "none"), dir_ / "none");
  for (const fs::path& folder : {old, named, flat}) {
    EXPECT_EQ(LoadTextModel(folder, {})->info().class_name, "LongformerForMaskedLM");
    EXPECT_NO_THROW(LongformerConfigOf(OpenModelFolder(folder)));
  }
  // No way out of the folder.
  fs::create_directories(dir_ / "linked");
  fs::create_directory_symlink(old / "0_Transformer", dir_ / "linked/0_Transformer");
  EXPECT_EQ(io::TransformerFolder(dir_ / "linked"), dir_ / "linked");
  PutFile(named / "modules.json", R"([{"path": "../old/0_Transformer"}])");
  EXPECT_EQ(io::TransformerFolder(named), named);
}

}  // namespace
}  // namespace longspan
