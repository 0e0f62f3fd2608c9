// A task that is four numbers and a parabola, and a fixture that trains it.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "longspan/world.h"
#include "tests/support/files.h"
#include "train/eval_batches.h"
#include "train/trainer.h"

namespace longspan {

namespace fs = std::filesystem;
using test::TempDir;
using test::Throws;

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr idx_t kNumbers = 4;

// Loss of row r of update s: the squared distance of the numbers to (s + r) / 10.
class Parabola final : public TrainTask {
 public:
  explicit Parabola(const TrainOptions& options) : options_(options) {
    table_.Add("numbers", {kNumbers}, ParameterKind::kBias);
    table_.Allocate();
  }

  std::set<idx_t> bad_loss, bad_gradient;  // updates that give no finite number
  std::function<void()> on_save;           // before a checkpoint takes the config
  std::function<void(idx_t step)> on_draw, on_batch, on_accumulate;
  std::function<void()> on_evaluate;
  idx_t evaluation_batches = 4;
  double worse = 0.0;  // added to the loss of evaluations
  // What an evaluation reports beside the loss, of the first number.
  std::function<std::vector<TrainMetric>(double)> measure;

  void Load(const fs::path& directory, Origin, std::vector<std::string>*) override {
    const auto file = io::SafetensorsFile::Open(directory / "model.safetensors");
    file.ReadFloatInto("numbers", {table_.Write().values().data, kNumbers});
  }
  ParameterTable& parameters() override { return table_; }
  std::string DataFingerprint() const override { return "parabola"; }
  nlohmann::json DecidingOptions() const override { return nlohmann::json::object(); }
  StepSize Draw(idx_t step) override {
    step_ = step;
    if (on_draw) on_draw(step_);
    return {kNumbers * options_.accumulate, 1};
  }
  TaskLoss Accumulate(Context&, idx_t micro, float scale, const StepDropout&) override {
    if (on_batch) {
      TimedBatch([&] {
        on_batch(step_);
        return 0;
      });
    }
    if (on_accumulate) on_accumulate(step_);
    const float aim = static_cast<float>(step_ + micro) / 10.0f;
    double sum = 0.0;
    for (idx_t i = 0; i < kNumbers; ++i) {
      const float away = table_.values().data[i] - aim;
      sum += away * away;
      table_.gradients().data[i] += bad_gradient.contains(step_) ? kNan : scale * 2.0f * away;
    }
    return {bad_loss.contains(step_) && micro == 1 ? kNan : sum};
  }
  std::vector<std::string> RowsOf(idx_t micro) const override {
    return {fmt::format("rows.csv:{}", 10 * step_ + micro)};
  }
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override {
    if (on_evaluate) on_evaluate();
    ForEachBatch<float>(
        context, hooks, {evaluation_batches, evaluation_batches},
        [](idx_t) { return std::vector<float>(); },
        [](idx_t batch, std::span<const float>) { return batch + 1; });
    const auto first = static_cast<double>(table_.values().data[0]);
    return {std::abs(first - 1.0) + worse, measure ? measure(first) : std::vector<TrainMetric>()};
  }
  std::string ConfigText() override {
    if (on_save) on_save();
    return "{}\n";
  }
  void Save(const fs::path& directory) override {
    std::ofstream(directory / "config.json") << "{}\n";
    fs::create_directories(directory / "1_Pooling");
    std::ofstream(directory / "1_Pooling" / "config.json") << "{}\n";
    std::ofstream(directory / "numbers.txt") << Numbers();
  }
  std::string Numbers() {
    std::string text;
    for (idx_t i = 0; i < kNumbers; ++i) text += fmt::format("{:a} ", table_.values().data[i]);
    return text;
  }

 private:
  const TrainOptions options_;
  ParameterTable table_;
  idx_t step_ = 0;
};

// Hooks of a run of several ranks, of which the last one wants to stop after an update; 0: none
// does.
inline TrainHooks StopOfLastRank(const World& world, idx_t after) {
  const auto step = std::make_shared<idx_t>(0);
  TrainHooks hooks;
  hooks.on_event = [step](const TrainEvent& event) {
    if (event.kind == TrainEvent::Kind::kStep) *step = event.step;
  };
  hooks.should_stop = [&world, step, after] {
    return after > 0 && *step >= after && world.rank() == world.size() - 1;
  };
  return hooks;
}

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    o.model = d.path() / "start";
    o.output = d.path() / "run";
    WriteStart(o.model, 0.0f);
    o.steps = 12;
    o.schedule.warmup = 0;
    o.batch = 1;
    o.accumulate = 2;
    o.optimizer.learning_rate = 0.1;
    o.schedule.kind = ScheduleKind::kConstant;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = 4;
    o.checkpoints.save_every = 3;
  }

  static void WriteStart(const fs::path& folder, float first) {
    fs::create_directories(folder);
    std::ofstream(folder / "config.json") << "{}\n";
    const std::vector<float> numbers = {first, 1.0f, 2.0f, 3.0f};
    const std::vector<io::TensorEntry> entries = {
        {"numbers", DType::kF32, {kNumbers}, numbers.data()}};
    io::WriteSafetensors(folder / "model.safetensors", entries, {});
  }

  // Runs a fresh task that `prepare` may change first.
  TrainResult Run(const std::function<void(Parabola&)>& prepare = {}) {
    Context context(1);
    Parabola task(o);
    if (prepare) prepare(task);
    TrainHooks hooks;
    notes.clear();
    hooks.on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kNote) notes += event.text + "\n";
      if (event.kind == TrainEvent::Kind::kSave) saves.push_back(event.step);
      if (on_event) on_event(event);
    };
    hooks.should_stop = should_stop;
    hooks.should_save = should_save;
    const TrainResult result = RunTraining(context, o, task, hooks);
    numbers = task.Numbers();
    return result;
  }
  std::string Read(const fs::path& path) const { return io::ReadWholeFile(path, 1 << 20); }
  idx_t Newest() const { return io::ListCheckpoints(o.output).back().step; }
  // Lines of metrics.jsonl of this kind.
  std::vector<nlohmann::json> Lines(const std::string& kind) const {
    std::vector<nlohmann::json> found;
    std::ifstream file(o.output / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      found.push_back(nlohmann::json::parse(line));
      if (found.back()["kind"] != kind) found.pop_back();
    }
    return found;
  }

  TempDir d;
  TrainOptions o;
  std::string notes, numbers;
  std::vector<idx_t> saves;
  std::function<void(const TrainEvent&)> on_event;
  std::function<bool()> should_stop, should_save;
};

}  // namespace longspan
