// Models against recorded cases of the original implementations (golden/), for the tests of every
// family.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <string>

#include "families/families.h"
#include "io/safetensors.h"
#include "longspan/folders.h"
#include "tests/support/files.h"

namespace longspan {

struct RecordedCase {
  std::string name;
  std::size_t tensors;    // that it compares
  std::size_t holed = 0;  // of these, with values that the original recorded as NaN
};

// Every tensor of the case is there and within its bound.
inline void ExpectCaseHolds(const RecordedCase& recorded) {
  Context context(2);
  const std::filesystem::path folder = test::kGolden / recorded.name;
  const ParityReport report = VerifyCase(context, folder, folder / "case.safetensors");
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.tensors.size(), recorded.tensors);
  std::size_t holed = 0;
  for (const TensorParity& t : report.tensors) {
    EXPECT_TRUE(t.ok) << t.name << " max|diff| " << t.max_abs << " rel L2 " << t.rel_l2;
    holed += t.skipped > 0 ? 1 : 0;
  }
  EXPECT_EQ(holed, recorded.holed);
}

// "bert-mlm" is the test .../bert_mlm.
inline std::string TestName(const testing::TestParamInfo<RecordedCase>& recorded) {
  std::string name = recorded.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Each weight that has a gradient in these cases, one percent off, is noticed. Returns how many
// were tried. load(folder) is a family's model, save(model, folder) writes it. matters(name): false
// for weights that change nothing.
template <class Load, class Save, class Matters>
int ExpectOnePercentIsNoticed(std::initializer_list<const char*> cases, const Load& load,
                              const Save& save, const Matters& matters) {
  Context context(2);
  const test::TempDir directory;
  int tried = 0;
  for (const char* name : cases) {
    const std::filesystem::path folder = test::kGolden / name;
    const auto recorded = io::SafetensorsFile::Open(folder / "case.safetensors");
    for (const auto& [tensor, info] : recorded.tensors()) {
      if (tensor.rfind("grad.", 0) != 0 || !matters(tensor)) continue;
      ++tried;
      auto model = load(OpenModelFolder(folder));
      const View<float, 1> weights = model.parameters().Write().vector(tensor.substr(5));
      for (idx_t i = 0; i < weights.size(); ++i) weights(i) *= 1.01f;
      save(model, directory.path());
      EXPECT_FALSE(VerifyCase(context, directory.path(), folder / "case.safetensors").ok)
          << name << ": " << tensor;
    }
  }
  return tried;
}

}  // namespace longspan
