// One training step of each loss beside sentence-transformers' (tests/vectors, in double there).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "io/safetensors.h"
#include "longspan/train.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using nlohmann::json;
using test::TempDir;

TEST(RecordedVectors, OneStepOfEachLossIsThatOfSentenceTransformers) {
  const std::filesystem::path folder = test::kRoot / "tests" / "vectors";
  const json cases = io::ReadJsonFile(folder / "cases.json")["cases"];
  ASSERT_EQ(cases.size(), 7u);
  const TempDir directory;
  for (const json& one : cases) {
    const auto name = one["name"].get<std::string>();
    SCOPED_TRACE(name);
    const json given = one.value("options", json::object());
    const std::filesystem::path data = folder / (one["data"].get<std::string>() + ".jsonl");
    TrainOptions o = FineTuneOptions();
    o.model = folder / "start";
    o.data.train = {data};
    o.data.eval = data;
    o.output = directory / name;
    o.steps = 1;
    o.accumulate = 1;
    o.optimizer.learning_rate = 0.01;
    o.optimizer.beta1 = 0.9;
    o.optimizer.beta2 = 0.999;
    o.optimizer.epsilon = 1.0;
    o.optimizer.weight_decay = o.optimizer.clip = 0.0;
    o.schedule = {ScheduleKind::kConstant, 0, 1.0};
    EmbedTrainingOptions task;
    task.epochs = 0.0;
    task.loss = ParseEmbedLoss(given.value("loss", std::string("auto")));
    task.pooling = ParsePooling(one["pooling"].get<std::string>());
    task.cosine_distance = given.value("cosine_distance", false);
    task.matryoshka = given.value("matryoshka", std::vector<idx_t>());
    TrainEvent step;
    TrainHooks hooks;
    hooks.on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) step = event;
    };
    Context context(2);
    TrainEmbedder(context, o, task, hooks);
    // Three times the error of torch's own fp32, and a rounding of what is compared.
    const auto bound = [&](const char* of, double value) {
      return 3.0 * one["f32_error"][of].get<double>() + std::ldexp(std::abs(value), -22);
    };
    const double loss = one["loss"], norm = one["gradient_norm"];
    EXPECT_NEAR(step.loss, loss, bound("loss", loss));
    EXPECT_NEAR(step.gradient_norm, norm, bound("gradient_norm", norm));
    const io::SafetensorsFile wanted = io::SafetensorsFile::Open(folder / (name + ".safetensors"));
    const io::SafetensorsFile start =
        io::SafetensorsFile::Open(folder / "start" / "model.safetensors");
    const io::SafetensorsFile found = io::SafetensorsFile::Open(o.output / "model.safetensors");
    double moved = 0.0;
    for (const auto& [tensor, info] : wanted.tensors()) {
      const Tensor a = found.ReadFloat(tensor), b = wanted.ReadFloat(tensor);
      const Tensor before = start.ReadFloat(tensor);
      ASSERT_EQ(a.shape(), b.shape());
      for (idx_t i = 0; i < a.size(); ++i) {
        const double own = a.data<float>()[i], other = b.data<float>()[i];
        ASSERT_NEAR(own, other, bound("weights", other)) << tensor << " " << i;
        moved = std::max(moved, std::abs(other - double{before.data<float>()[i]}));
      }
    }
    // A step that is wrong by a hundredth would be found.
    EXPECT_GT(0.01 * moved, 10.0 * bound("weights", 0.0));
  }
}

}  // namespace
}  // namespace longspan
