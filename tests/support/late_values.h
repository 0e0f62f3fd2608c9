// Values of a model that are not there before somebody asks the table for them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <thread>
#include <vector>

#include "model/parameters.h"

namespace longspan::test {

// While it lives, all values of a table are NaN but those that somebody has asked for, exactly: who
// reads others, or has read them too early, computes NaN. What ParallelFor's threads ask for is a
// failure: messages are asked about by one thread. With `one_stage` they are NaN again when values
// of another layer are asked for, so that a pass is known to ask for a layer's when it runs it, and
// not for all at its beginning; for tables of which nothing is frozen.
class LateValues final : public ValuesToCome {
 public:
  explicit LateValues(ParameterTable& table, bool one_stage = false)
      : table_(table), one_stage_(one_stage) {
    const View<float, 1> values = table.Write().values();
    now_ = values.data;
    values_.assign(values.data, values.data + values.size());
    Hide(0, values.size());
    table.Expect(this);
  }
  ~LateValues() override {
    table_.Expect(nullptr);
    std::copy(values_.begin(), values_.end(), now_);
  }
  LateValues(const LateValues&) = delete;
  LateValues& operator=(const LateValues&) = delete;

  void Await(idx_t begin, idx_t end) override {
    EXPECT_EQ(std::this_thread::get_id(), thread_);
    if (one_stage_) EnterStageOf(begin);
    std::copy(values_.begin() + begin, values_.begin() + end, now_ + begin);
  }
  void AwaitAll() override { ADD_FAILURE() << "values are written in the midst of a step"; }

  // With `one_stage`: how often values of another layer were asked for than those before. A pass
  // that runs the layers in their order, or back, does that once a layer.
  int turns() const { return turns_; }
  int layers() const {
    int count = 0;
    while (table_.StageBegin(static_cast<std::size_t>(count) + 2) < table_.gradient_extent())
      ++count;
    return count;
  }

 private:
  void Hide(idx_t begin, idx_t end) {
    std::fill(now_ + begin, now_ + end, std::numeric_limits<float>::quiet_NaN());
  }
  // Embeddings and the head may be read at any time: heads of language models share the former.
  void EnterStageOf(idx_t begin) {
    std::size_t stage = 0;
    while (table_.StageBegin(stage + 1) <= begin && table_.StageBegin(stage + 1) < table_.extent())
      ++stage;
    const bool layer = stage > 0 && table_.StageBegin(stage + 1) < table_.extent();
    if (!layer || stage == stage_) return;
    if (stage_ > 0) Hide(table_.StageBegin(stage_), table_.StageBegin(stage_ + 1));
    stage_ = stage;
    ++turns_;
  }

  ParameterTable& table_;
  const bool one_stage_;
  const std::thread::id thread_ = std::this_thread::get_id();
  std::vector<float> values_;
  float* now_ = nullptr;
  std::size_t stage_ = 0;  // the layer whose values are there; 0: none
  int turns_ = 0;
};

}  // namespace longspan::test
