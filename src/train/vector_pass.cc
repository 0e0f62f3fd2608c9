#include "train/vector_pass.h"

#include <algorithm>
#include <utility>

#include "base/arena.h"
#include "families/model_inside.h"
#include "model/rows.h"
#include "tasks/batches.h"
#include "tasks/window_states.h"
#include "train/eval_batches.h"

namespace longspan {

std::vector<RowTokens> VectorTexts::windows(idx_t text) const {
  std::vector<RowTokens> own;
  for (idx_t row = rows_begin(text); row < rows_end(text); ++row) {
    own.push_back(taking_part[static_cast<std::size_t>(row)]);
  }
  return own;
}

idx_t VectorHead::width(idx_t channels) const {
  idx_t width = static_cast<idx_t>(modes.size()) * channels;
  for (const auto& module : modules) width = module->WidthOf(width);
  return width;
}

StepDropout VectorPass::DropoutOf(std::size_t group) const {
  if (!dropout_.active) return dropout_;
  return {true, DeriveKey(dropout_.key, static_cast<std::uint64_t>(group))};
}

std::vector<idx_t> VectorPass::Fill(std::span<const idx_t> group, Batch* batch) const {
  const TextModelInfo& info = model_.info();
  std::vector<RowIds> rows;
  for (const idx_t run : group) {
    rows.push_back(texts_.rows.row(runs_[static_cast<std::size_t>(run)].row));
  }
  std::vector<idx_t> begins = PlaceRows(info, rows, batch);
  global_.Mark(info, batch);
  return begins;
}

float* VectorPass::Pooled(idx_t text) {
  Tensor& pooled = stages_.front();
  return pooled.data<float>() + text * pooled.shape()[1];
}

void VectorPass::Pool(idx_t text, std::span<const View<const float, 2>> states, float* vector) {
  const idx_t channels = model_.info().width;
  const std::vector<RowTokens> windows = texts_.windows(numbers_[static_cast<std::size_t>(text)]);
  const std::size_t modes = head_.modes.size();
  for (std::size_t m = 0; m < modes; ++m) {
    PoolText(head_.modes[m], windows, states, vector + static_cast<idx_t>(m) * channels,
             &largest_[static_cast<std::size_t>(text) * modes + m]);
  }
}

std::vector<idx_t> VectorPass::Begin(std::span<const idx_t> numbers, const StepDropout& dropout) {
  const TextModelInfo& info = model_.info();
  dropout_ = dropout;
  numbers_.assign(numbers.begin(), numbers.end());
  runs_.clear();
  std::vector<idx_t> lengths, first{0};  // of runs_: where each text's begin
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    for (idx_t row = texts_.rows_begin(numbers[i]); row < texts_.rows_end(numbers[i]); ++row) {
      runs_.push_back({static_cast<idx_t>(i), row});
      lengths.push_back(texts_.rows.length(row));
    }
    first.push_back(static_cast<idx_t>(runs_.size()));
  }
  groups_ = PlanRows(info, lengths, batch_tokens_);
  largest_.assign(numbers.size() * head_.modes.size(), {});
  stages_.clear();
  stages_.emplace_back(std::vector<idx_t>{static_cast<idx_t>(numbers.size()),
                                          static_cast<idx_t>(head_.modes.size()) * info.width});
  return first;
}

template <class Use>
void VectorPass::Encode(Context& context, std::size_t group, const Use& use) const {
  const idx_t channels = model_.info().width;
  Batch batch;
  const std::vector<idx_t> begins = Fill(groups_[group], &batch);
  const BatchView view = batch.view();
  WithinLimit(context, "embed", [&](Context& c) {
    const idx_t n = view.rows * view.tokens;
    Arena::Frame frame(c.arena(), Arena::Bytes<float>(n * channels));
    const View<float, 2> hidden = TakeRows(frame, n, channels);
    if (dropout_.active) {
      model_.EncodeInStep(c, view, DropoutOf(group), hidden);
    } else {
      model_.Encode(c, view, hidden);
    }
    for (std::size_t b = 0; !c.rehearsal() && b < groups_[group].size(); ++b) {
      const idx_t run = groups_[group][b];
      use(run, hidden.Rows(begins[b], LengthOf(run)));
    }
  });
}

Tensor VectorPass::Modules(Context& context) {
  for (const auto& module : head_.modules) {
    stages_.push_back(
        module->Apply(context, CopyOf(context, std::as_const(stages_.back()).view<2>())));
  }
  return CopyOf(context, std::as_const(stages_.back()).view<2>());
}

Tensor VectorPass::Forward(Context& context, std::span<const idx_t> numbers,
                           const StepDropout& dropout) {
  WindowStates states(Begin(numbers, dropout));
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    context.CheckCancelled();
    Encode(context, g, [&](idx_t run, const View<const float, 2>& hidden) {
      states.Add(run, hidden, [&](idx_t text, const auto& all) { Pool(text, all, Pooled(text)); });
    });
  }
  return Modules(context);
}

// Of a text in one row ranks exchange its vector, of windows their hidden states: a sum over all
// windows of a text has the bits of one process only where one rank adds it.
Tensor VectorPass::Evaluate(Context& context, std::span<const idx_t> numbers,
                            const EvalHooks& hooks) {
  const std::vector<idx_t> first = Begin(numbers, {});
  const idx_t channels = model_.info().width, width = stages_.front().shape()[1];
  const auto is_one_row = [&](idx_t text) {
    const auto t = static_cast<std::size_t>(text);
    return first[t + 1] - first[t] == 1;
  };
  WindowStates states(first);
  idx_t done = 0;
  ForEachBatch<float>(
      context, hooks, {std::ssize(groups_), std::ssize(numbers)},
      [&](idx_t group) {
        context.CheckCancelled();
        std::vector<float> found;
        Encode(context, static_cast<std::size_t>(group),
               [&](idx_t run, const View<const float, 2>& hidden) {
                 const idx_t text = runs_[static_cast<std::size_t>(run)].text;
                 const std::size_t at = found.size();
                 if (is_one_row(text)) {
                   found.resize(at + static_cast<std::size_t>(width));
                   Pool(text, {&hidden, 1}, found.data() + at);
                 } else {
                   found.insert(found.end(), hidden.data, hidden.data + hidden.size());
                 }
               });
        return found;
      },
      [&](idx_t group, std::span<const float> found) {
        const float* next = found.data();
        for (const idx_t run : groups_[static_cast<std::size_t>(group)]) {
          const idx_t text = runs_[static_cast<std::size_t>(run)].text, length = LengthOf(run);
          if (is_one_row(text)) {
            std::copy_n(next, width, Pooled(text));
            next += width;
            ++done;
            continue;
          }
          states.Add(run, {next, {length, channels}}, [&](idx_t whole, const auto& all) {
            Pool(whole, all, Pooled(whole));
            ++done;
          });
          next += length * channels;
        }
        return done;
      });
  return Modules(context);
}

void VectorPass::Backward(Context& context, const Tensor& dvectors) {
  const TextModelInfo& info = model_.info();
  Tensor d = CopyOf(context, dvectors.view<2>());
  for (std::size_t m = head_.modules.size(); m-- > 0;) {
    d = head_.modules[m]->Backward(stages_[m], std::move(d));
  }
  Batch batch;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    context.CheckCancelled();
    const PassesToCome passes(model_.parameters(), g + 1 < groups_.size());
    const std::vector<idx_t> begins = Fill(groups_[g], &batch);
    const BatchView view = batch.view();
    const idx_t n = view.rows * view.tokens;
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * info.width));
    const View<float, 2> dhidden = TakeRows(frame, n, info.width);
    ZeroRows(context, dhidden);
    for (std::size_t b = 0; b < groups_[g].size(); ++b) {
      const Run& run = runs_[static_cast<std::size_t>(groups_[g][b])];
      const idx_t number = numbers_[static_cast<std::size_t>(run.text)];
      const View<float, 2> own = dhidden.Rows(begins[b], texts_.rows.length(run.row));
      const std::vector<RowTokens> windows = texts_.windows(number);
      for (std::size_t m = 0; m < head_.modes.size(); ++m) {
        PoolTextBackward(
            head_.modes[m], windows, static_cast<std::size_t>(run.row - texts_.rows_begin(number)),
            largest_[static_cast<std::size_t>(run.text) * head_.modes.size() + m],
            d.data<float>() + run.text * d.shape()[1] + static_cast<idx_t>(m) * info.width, own);
      }
    }
    model_.EncodeGradients(context, view, dhidden, DropoutOf(g));
  }
}

}  // namespace longspan
