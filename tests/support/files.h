// For tests: a folder that goes away, whole files, and errors with their code and text.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/error.h"

namespace longspan::test {

// The project's folder, and the recorded cases of the original implementations.
inline const std::filesystem::path kRoot = LONGSPAN_SOURCE_DIR;
inline const std::filesystem::path kGolden = kRoot / "golden";

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "longspan-test-XXXXXX").native();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::filesystem::path PutFile(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

inline std::string GetFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// Names in a folder, sorted, joined by spaces.
inline std::string Listing(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().native());
  }
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

// Succeeds when `action` throws an Error of this code, in one printable line with `fragment` in it.
inline testing::AssertionResult Throws(const std::function<void()>& action, ErrorCode code,
                                       std::string_view fragment) {
  try {
    action();
  } catch (const Error& error) {
    const std::string text = error.what();
    if (error.code() != code) {
      return testing::AssertionFailure()
             << "code " << static_cast<int>(error.code()) << ": " << text;
    }
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        return testing::AssertionFailure() << "control character in: " << text;
      }
    }
    if (text.find(fragment) == text.npos) {
      return testing::AssertionFailure() << "no \"" << fragment << "\" in: " << text;
    }
    return testing::AssertionSuccess();
  } catch (const std::exception& error) {
    return testing::AssertionFailure() << "a foreign exception: " << error.what();
  }
  return testing::AssertionFailure() << "nothing was thrown";
}

}  // namespace longspan::test
