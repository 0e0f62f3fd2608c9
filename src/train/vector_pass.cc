#include "train/vector_pass.h"

#include <algorithm>
#include <utility>

#include "families/model_inside.h"
#include "model/rows.h"
#include "tasks/batches.h"
#include "train/evaluate.h"

namespace longspan {

idx_t VectorTexts::tokens_of(idx_t text) const {
  return begins[static_cast<std::size_t>(rows_end(text))] -
         begins[static_cast<std::size_t>(rows_begin(text))];
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
    const idx_t row = runs_[static_cast<std::size_t>(run)].row;
    const auto begin = static_cast<std::size_t>(texts_.begins[static_cast<std::size_t>(row)]);
    const auto length = static_cast<std::size_t>(texts_.length(row));
    rows.push_back({std::span(texts_.ids).subspan(begin, length), {}});
    if (!texts_.types.empty()) rows.back().types = std::span(texts_.types).subspan(begin, length);
  }
  std::vector<idx_t> begins = PlaceRows(info, rows, batch);
  global_.Mark(info, batch);
  return begins;
}

// Pools a text whose rows all have hidden states.
void VectorPass::Pool(idx_t text, std::span<const Tensor> hidden) {
  const idx_t channels = model_.info().width;
  const std::span<const RowTokens> windows =
      texts_.windows(numbers_[static_cast<std::size_t>(text)]);
  std::vector<View<const float, 2>> states;
  for (const Tensor& window : hidden) states.push_back(window.view<2>());
  const std::size_t modes = head_.modes.size();
  Tensor& pooled = stages_.front();
  for (std::size_t m = 0; m < modes; ++m) {
    float* out = pooled.data<float>() + text * pooled.shape()[1] + static_cast<idx_t>(m) * channels;
    PoolText(head_.modes[m], windows, states, out,
             &largest_[static_cast<std::size_t>(text) * modes + m]);
  }
}

Tensor VectorPass::Forward(Context& context, std::span<const idx_t> numbers,
                           const StepDropout& dropout, const EvalHooks& hooks) {
  const TextModelInfo& info = model_.info();
  dropout_ = dropout;
  numbers_.assign(numbers.begin(), numbers.end());
  runs_.clear();
  std::vector<idx_t> lengths, first{0};  // of runs_: where each text's begin
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    for (idx_t row = texts_.rows_begin(numbers[i]); row < texts_.rows_end(numbers[i]); ++row) {
      runs_.push_back({static_cast<idx_t>(i), row});
      lengths.push_back(texts_.length(row));
    }
    first.push_back(static_cast<idx_t>(runs_.size()));
  }
  groups_ = PlanRows(info, lengths, batch_tokens_);
  largest_.assign(numbers.size() * head_.modes.size(), {});
  stages_.clear();
  stages_.emplace_back(std::vector<idx_t>{static_cast<idx_t>(numbers.size()),
                                          static_cast<idx_t>(head_.modes.size()) * info.width});
  std::vector<Tensor> states(runs_.size());  // of texts that are not whole yet
  std::vector<idx_t> missing;
  for (std::size_t i = 0; i < numbers.size(); ++i) missing.push_back(first[i + 1] - first[i]);
  Batch batch;
  idx_t done = 0;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    context.CheckCancelled();
    const std::vector<idx_t> begins = Fill(groups_[g], &batch);
    const BatchView view = batch.view();
    const Tensor hidden = WithinLimit(context, "embed", [&](Context& c) {
      Tensor out({view.rows * view.tokens, info.width});
      if (dropout.active) {
        model_.EncodeInStep(c, view, DropoutOf(g), out.view<2>());
      } else {
        model_.Encode(c, view, out.view<2>());
      }
      return out;
    });
    for (std::size_t b = 0; b < groups_[g].size(); ++b) {
      const auto run = static_cast<std::size_t>(groups_[g][b]);
      const auto text = static_cast<std::size_t>(runs_[run].text);
      states[run] = Tensor({lengths[run], info.width});
      std::copy_n(hidden.data<float>() + begins[b] * info.width, states[run].size(),
                  states[run].data<float>());
      if (--missing[text] > 0) continue;
      const auto begin = static_cast<std::size_t>(first[text]);
      const auto count = static_cast<std::size_t>(first[text + 1]) - begin;
      Pool(runs_[run].text, std::span(states).subspan(begin, count));
      for (std::size_t i = begin; i < begin + count; ++i) states[i] = Tensor();
      ++done;
    }
    Tell(hooks, done, static_cast<idx_t>(numbers.size()));
  }
  for (const auto& module : head_.modules) {
    stages_.push_back(
        module->Apply(context, CopyOf(context, std::as_const(stages_.back()).view<2>())));
  }
  return CopyOf(context, std::as_const(stages_.back()).view<2>());
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
    const std::vector<idx_t> begins = Fill(groups_[g], &batch);
    const BatchView view = batch.view();
    Tensor dhidden({view.rows * view.tokens, info.width});
    for (std::size_t b = 0; b < groups_[g].size(); ++b) {
      const Run& run = runs_[static_cast<std::size_t>(groups_[g][b])];
      const idx_t number = numbers_[static_cast<std::size_t>(run.text)];
      const View<float, 2> own = dhidden.view<2>().Rows(begins[b], texts_.length(run.row));
      for (std::size_t m = 0; m < head_.modes.size(); ++m) {
        PoolTextBackward(
            head_.modes[m], texts_.windows(number),
            static_cast<std::size_t>(run.row - texts_.rows_begin(number)),
            largest_[static_cast<std::size_t>(run.text) * head_.modes.size() + m],
            d.data<float>() + run.text * d.shape()[1] + static_cast<idx_t>(m) * info.width, own);
      }
    }
    model_.EncodeGradients(context, view, std::as_const(dhidden).view<2>(), DropoutOf(g));
  }
}

}  // namespace longspan
