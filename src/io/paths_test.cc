#include "io/paths.h"

#include <gmock/gmock.h>

#include "io/file.h"
#include "io/json.h"
#include "io/policy.h"
#include "io/safetensors.h"
#include "longspan/files.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::PutFile;
using test::TempDir;
using test::Throws;

// The policy holds for the whole process: put back after a test.
class PathsTest : public testing::Test {
 protected:
  ~PathsTest() override { SetPolicy({}); }
  TempDir dir_;
};

TEST_F(PathsTest, AnswersAndErrorsAreOurs) {
  PutFile(dir_ / "file", "1234");
  fs::create_directory(dir_ / "folder");
  fs::create_symlink("file", dir_ / "link");
  fs::create_symlink("gone", dir_ / "nowhere");
  fs::create_symlink("loop", dir_ / "loop");
  EXPECT_TRUE(Exists(dir_ / "file") && Exists(dir_ / "folder") && Exists(dir_ / "link"));
  EXPECT_FALSE(Exists(dir_ / "nowhere") || Exists(dir_ / "none") || Exists(dir_ / "file/below"));
  EXPECT_TRUE(IsDirectory(dir_ / "folder") && !IsDirectory(dir_ / "file"));
  EXPECT_TRUE(IsRegularFile(dir_ / "link") && !IsRegularFile(dir_ / "folder"));
  EXPECT_EQ(FileBytes(dir_ / "link"), 4u);
  EXPECT_THAT(ListFolder(dir_.path()),
              testing::ElementsAre("file", "folder", "link", "loop", "nowhere"));
  EXPECT_TRUE(IsEmptyFolder(dir_ / "folder"));
  MakeDirectories(dir_ / "a/b");
  PutFile(dir_ / "a/b/c", "");
  EXPECT_THAT(FilesBelow(dir_ / "a"), testing::ElementsAre(dir_ / "a/b/c"));
  RemoveAll(dir_ / "a");
  EXPECT_FALSE(Exists(dir_ / "a"));
  // The path is escaped, and the words are not the standard library's.
  const fs::path strange = dir_.path() / ("\x1b[31m" + std::string(300, 'x'));
  EXPECT_TRUE(Throws([&] { Exists(strange); }, ErrorCode::kIo, "\\x1b[31m"));
  EXPECT_TRUE(
      Throws([&] { Exists(dir_ / "loop"); }, ErrorCode::kIo, "loop: cannot open: Too many"));
  EXPECT_TRUE(Throws([&] { ListFolder(dir_ / "none"); }, ErrorCode::kIo, "none: cannot list: No"));
  EXPECT_TRUE(Throws([&] { FileBytes(dir_ / "none"); }, ErrorCode::kIo, "cannot tell its size"));
  EXPECT_TRUE(Throws([&] { MakeDirectories(dir_ / "file/x"); }, ErrorCode::kIo, "Not a directory"));
}

TEST_F(PathsTest, LinksResolveInside) {
  fs::create_directories(dir_ / "model/sub");
  fs::create_directories(dir_ / "model/.git");
  PutFile(dir_ / "model/real", "r");
  PutFile(dir_ / "model/.git/config", "token");
  PutFile(dir_ / "secret", "s");
  const fs::path model = dir_ / "model";
  const auto resolved = [&](const char* target) {
    fs::remove(model / "link");
    fs::create_symlink(target, model / "link");
    return ResolveInside(model, model / "link");
  };
  EXPECT_EQ(ResolveInside(model, model / "real"), fs::canonical(model / "real"));
  EXPECT_EQ(resolved("real"), fs::canonical(model / "real"));
  EXPECT_EQ(resolved("sub"), fs::canonical(model / "sub"));
  EXPECT_EQ(resolved("sub/../real"), fs::canonical(model / "real"));
  EXPECT_EQ(resolved((model / "real").c_str()), fs::canonical(model / "real"));
  for (const char* out : {"../secret", ".", "..", "/etc/passwd", "gone", "link", ".git/config"}) {
    EXPECT_EQ(resolved(out), fs::path()) << out;
  }
  EXPECT_EQ(resolved((dir_ / "secret").c_str()), fs::path());
  // Folders that only begin alike.
  fs::create_directory(dir_ / "model2");
  PutFile(dir_ / "model2/file", "x");
  EXPECT_EQ(resolved("../model2/file"), fs::path());
}

TEST_F(PathsTest, LinksResolveToBlobsOfTheCache) {
  const fs::path cache = dir_ / "models--a--b", snapshot = cache / "snapshots/0123";
  fs::create_directories(snapshot / "1_Pooling");
  fs::create_directories(cache / "blobs");
  PutFile(cache / "blobs/abc", "x");
  PutFile(cache / "refs", "x");
  PutFile(dir_ / "secret", "s");
  fs::create_symlink("../../blobs/abc", snapshot / "vocab.txt");
  fs::create_symlink("../../../blobs/abc", snapshot / "1_Pooling/config.json");
  fs::create_symlink("../../refs", snapshot / "other.txt");
  fs::create_symlink("../../blobs", snapshot / "all");
  fs::create_symlink(dir_ / "secret", cache / "blobs/evil");
  fs::create_symlink("../../blobs/evil", snapshot / "evil.txt");
  EXPECT_EQ(ResolveInside(snapshot, snapshot / "vocab.txt"), fs::canonical(cache / "blobs/abc"));
  EXPECT_EQ(ResolveInside(snapshot, snapshot / "1_Pooling/config.json"),
            fs::canonical(cache / "blobs/abc"));
  for (const char* out : {"other.txt", "all", "evil.txt"}) {
    EXPECT_EQ(ResolveInside(snapshot, snapshot / out), fs::path()) << out;
  }
  // Blobs of another model, and a folder that is no snapshot.
  fs::create_directories(dir_ / "models--c/blobs");
  PutFile(dir_ / "models--c/blobs/abc", "x");
  fs::create_symlink("../../../models--c/blobs/abc", snapshot / "foreign.txt");
  EXPECT_EQ(ResolveInside(snapshot, snapshot / "foreign.txt"), fs::path());
  fs::create_directories(dir_ / "plain");
  fs::create_symlink("../models--a--b/blobs/abc", dir_ / "plain/vocab.txt");
  EXPECT_EQ(ResolveInside(dir_ / "plain", dir_ / "plain/vocab.txt"), fs::path());
}

TEST_F(PathsTest, StrictPathsRefuseLinksThatLeadOut) {
  fs::create_directories(dir_ / "model");
  fs::create_directories(dir_ / "outside");
  PutFile(dir_ / "model/real.json", "{}");
  PutFile(dir_ / "outside/config.json", "{}");
  fs::create_symlink("real.json", dir_ / "model/inside.json");
  fs::create_symlink("../outside/config.json", dir_ / "model/config.json");
  fs::create_symlink("../outside", dir_ / "model/1_Pooling");
  const auto refused = [&](const fs::path& path) {
    return Throws([&] { File::OpenRegular(path); }, ErrorCode::kFormat,
                  "a link leads out of " + (dir_ / "model").native());
  };
  Confine(dir_ / "model");  // without the policy it does nothing
  EXPECT_NO_THROW(File::OpenRegular(dir_ / "model/config.json"));
  SetPolicy({.strict_paths = true});
  EXPECT_NO_THROW(File::OpenRegular(dir_ / "model/config.json"));
  Confine(dir_.path() / "model/");
  EXPECT_TRUE(refused(dir_ / "model/config.json"));
  EXPECT_TRUE(refused(dir_ / "model/1_Pooling/config.json"));
  EXPECT_TRUE(refused(dir_ / "model/./config.json"));
  EXPECT_NO_THROW(File::OpenRegular(dir_ / "model/inside.json"));
  EXPECT_NO_THROW(File::OpenRegular(dir_ / "model/real.json"));
  EXPECT_NO_THROW(File::OpenRegular(dir_ / "outside/config.json"));
  // The folder itself may be reached by links: who names it knows.
  fs::create_symlink("model", dir_ / "alias");
  Confine(dir_ / "alias");
  EXPECT_NO_THROW(File::OpenRegular(dir_ / "alias/real.json"));
  EXPECT_TRUE(Throws([&] { File::OpenRegular(dir_ / "alias/config.json"); }, ErrorCode::kFormat,
                     "a link leads out"));
  // Weights and their shards.
  static constexpr float kValues[2] = {1.0f, 2.0f};
  const TensorEntry entry{"a", DType::kF32, {2}, kValues};
  WriteSafetensors(dir_ / "outside/w.safetensors", {&entry, 1});
  fs::create_directory(dir_ / "weights");
  fs::create_symlink("../outside/w.safetensors", dir_ / "weights/model.safetensors");
  EXPECT_TRUE(Throws([&] { OpenModel(dir_ / "weights"); }, ErrorCode::kFormat, "a link leads out"));
  fs::rename(dir_ / "weights/model.safetensors", dir_ / "weights/one.safetensors");
  PutFile(dir_ / "weights/model.safetensors.index.json",
          "{\"weight_map\":{\"a\":\"one.safetensors\"}}");
  EXPECT_TRUE(Throws([&] { OpenModel(dir_ / "weights"); }, ErrorCode::kFormat, "a link leads out"));
  SetPolicy({});
  EXPECT_TRUE(OpenModel(dir_ / "weights")->Has("a"));
}

TEST_F(PathsTest, RelativeFoldersAreConfinedToo) {
  const fs::path before = fs::current_path();
  fs::create_directories(dir_ / "model");
  PutFile(dir_ / "secret", "{}");
  fs::create_symlink("../secret", dir_ / "model/config.json");
  PutFile(dir_ / "model/real.json", "{}");
  fs::current_path(dir_ / "model");
  SetPolicy({.strict_paths = true});
  Confine(".");
  EXPECT_TRUE(Throws([&] { File::OpenRegular("./config.json"); }, ErrorCode::kFormat, "leads out"));
  EXPECT_TRUE(Throws([&] { File::OpenRegular("config.json"); }, ErrorCode::kFormat, "leads out"));
  EXPECT_NO_THROW(File::OpenRegular("real.json"));
  EXPECT_NO_THROW(File::OpenRegular("../secret"));
  fs::current_path(before);
}

TEST(EscapeTest, KnowsUtf8) {
  for (const char* text :
       {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\x01\xe2\x80\xae"}) {
    EXPECT_TRUE(IsUtf8(text)) << Escape(text);
  }
  for (const char* text :
       {"a\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xe2\x82"}) {
    EXPECT_FALSE(IsUtf8(text)) << Escape(text);
  }
}

TEST(DumpJsonTest, AlwaysWrites) {
  const nlohmann::json document = {{"name", "a\377b"}};
  EXPECT_EQ(DumpJson(document, -1),
            "{\"name\":\"a\xef\xbf\xbd"
            "b\"}\n");
  EXPECT_EQ(DumpJson(nlohmann::ordered_json{{"b", 1}, {"a", 2}}),
            "{\n  \"b\": 1,\n  \"a\": 2\n}\n");
}

}  // namespace
}  // namespace longspan::io
