// A fixture that trains small models of letters: masked words, packed or not, and classes, in the
// tests of several families.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "families/families.h"
#include "tests/support/files.h"
#include "train/classify_task.h"
#include "train/mlm_task.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/training_test.h"

namespace longspan {

class LetterTraining : public testing::Test {
 protected:
  // Of a training, unless a test changes it.
  struct Lengths {
    idx_t steps, accumulate, tokens;
    idx_t save_every;  // evaluations too
  };

  // save(folder) writes the model, one of masked words, that trainings start from.
  LetterTraining(const Lengths& lengths,
                 const std::function<void(const std::filesystem::path& folder)>& save)
      : lengths_(lengths) {
    save(d_.path() / "start");
    WriteLetters(d_.path() / "text");
  }

  TrainOptions Options(const std::string& run) const {
    TrainOptions o = FineTuneOptions();
    o.model = d_.path() / "start";
    o.data.train = {d_.path() / "text"};
    o.output = d_.path() / run;
    o.steps = lengths_.steps;
    o.batch = 2;
    o.accumulate = lengths_.accumulate;
    o.tokens = lengths_.tokens;
    o.optimizer.learning_rate = 3e-3;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = o.checkpoints.save_every = lengths_.save_every;
    ResolveWarmup(&o);
    return o;
  }

  MaskedLmOptions MaskOptions(bool packed) const {
    MaskedLmOptions task;
    task.documents = Documents::kBlankLine;
    task.packed = packed;
    task.global = global_;
    return task;
  }

  ClassifyRows Rows(const LabelledTexts& texts, const ClassifyTarget& target) const {
    Context context(2);
    return TokenizeRows(context, Words(), texts, target, ReadTextModelInfo(d_.path() / "start"),
                        {.tokens = 24});
  }

  // kind: mlm, packed, classes, sets or regression.
  std::unique_ptr<TrainTask> Make(const std::string& kind, const TrainOptions& o) const {
    const TextModelInfo info = ReadTextModelInfo(o.model);
    if (kind == "mlm" || kind == "packed") {
      Context context(2);
      return std::make_unique<MaskedLmTask>(context, o, MaskOptions(kind == "packed"), Words(),
                                            info);
    }
    const LabelledTexts train = Letters(1), held = Letters(2);
    ClassifyTarget target = ChooseTarget(train, ProblemType::kInferred, info);
    if (kind == "regression") target = {{"LABEL_0"}, ProblemType::kRegression};
    if (kind == "sets") target.problem = ProblemType::kMultiLabel;
    return std::make_unique<ClassifyTask>(o, ClassifyOptions{}, Words(), info, target,
                                          Rows(train, target), Rows(held, target));
  }

  // stop_after: the update after which the run is asked to stop; 0: it is not.
  TrainResult Train(const std::string& kind, const TrainOptions& o, int threads = 2,
                    idx_t stop_after = 0, std::vector<std::string>* notes = nullptr) const {
    Context context(threads);
    idx_t step = 0;
    TrainHooks hooks;
    hooks.on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) step = event.step;
      if (event.kind == TrainEvent::Kind::kNote && notes != nullptr) notes->push_back(event.text);
    };
    hooks.should_stop = [&] { return stop_after > 0 && step >= stop_after; };
    const auto task = Make(kind, o);
    return RunTraining(context, o, *task, hooks);
  }

  std::string Weights(const std::string& run) const {
    return test::GetFile(d_.path() / run / "model.safetensors");
  }

  // Sums over all micro-batches of updates [first, last], without dropout.
  struct Sums {
    double loss = 0.0;            // mean of what counts in one update
    std::vector<float> gradient;  // of that
  };
  Sums SumsOf(const std::string& kind, TrainOptions o, idx_t first, idx_t last) const {
    o.compute.dropout = 0.0;
    const auto task = Make(kind, o);
    std::vector<std::string> notes;
    task->Load(o.model, TrainTask::Origin::kStart, &notes);
    task->parameters().AllocateGradients();
    Context context(2);
    Sums sums;
    for (idx_t step = first; step <= last; ++step) {
      const StepSize size = task->Draw(step);
      const auto counted = static_cast<double>(size.counted);
      for (idx_t m = 0; m < o.accumulate; ++m) {
        sums.loss +=
            task->Accumulate(context, m, static_cast<float>(1.0 / counted), {}).sum / counted;
      }
    }
    const View<float, 1> flat = task->parameters().gradients();
    sums.gradient.assign(flat.data, flat.data + flat.size());
    return sums;
  }
  // The same but for rounding.
  static void ExpectNear(const Sums& sums, const Sums& expected) {
    EXPECT_NEAR(sums.loss, expected.loss, 1e-5 * std::abs(expected.loss));
    ASSERT_EQ(sums.gradient.size(), expected.gradient.size());
    double difference = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < expected.gradient.size(); ++i) {
      const auto a = static_cast<double>(expected.gradient[i]);
      difference += std::pow(static_cast<double>(sums.gradient[i]) - a, 2);
      norm += a * a;
    }
    EXPECT_GT(norm, 1e-6);
    EXPECT_LT(std::sqrt(difference / norm), 1e-5);
  }

  // Nine texts that are classified together get what each gets alone.
  void ExpectPredictionsApart(TextModel& model, const ClassifyTarget& target,
                              const GlobalPolicy& global) const {
    Context context(2);
    const LabelledTexts all = Letters(4, 9);
    const ClassifierEval together = EvaluateRows(context, model, target, global, Rows(all, target));
    double sum = 0.0;
    for (std::size_t r = 0; r < all.rows.size(); ++r) {
      const LabelledTexts one{all.source, {all.rows[r]}, false, 0, "one"};
      const ClassifierEval alone = EvaluateRows(context, model, target, global, Rows(one, target));
      EXPECT_EQ(alone.right[0], together.right[r]);
      sum += alone.loss;
    }
    EXPECT_NEAR(together.loss, sum / 9.0, 1e-6);
  }

  test::TempDir d_;
  GlobalRule global_;  // of masked words
  const Lengths lengths_;
};

}  // namespace longspan
