#include "tasks/embed.h"

#include <algorithm>
#include <utility>

#include "tasks/window_states.h"

namespace longspan {

namespace {

// Runs all rows. As soon as every row of a text has run, use(text, states) is given their hidden
// states (tokens, channels), which are gone afterwards. `use` sees each text once.
template <class Use>
void RunTexts(Context& context, const TaskModel& model, const TaskRows& rows, const Use& use) {
  CheckRows(rows);
  WindowStates states(rows.first);
  RunRows(context, model, rows.rows, [&](const TaskBatch& batch) {
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      const idx_t tokens = rows.rows[static_cast<std::size_t>(batch.rows[b])].size();
      states.Add(batch.rows[b], batch.hidden.Rows(batch.begins[b], tokens), use);
    }
  });
}

}  // namespace

Tensor EmbedRows(Context& context, const TaskModel& model, const TaskRows& rows,
                 const VectorPlan& plan) {
  const Pooling& pooling = plan.pooling;
  const PromptTokens prompt = pooling.include_prompt ? PromptTokens() : plan.prompt;
  const idx_t channels = model.info().width;
  const auto modes = static_cast<idx_t>(pooling.modes.size());
  CheckRows(rows);
  Tensor vectors({rows.texts(), modes * channels});
  RunTexts(context, model, rows, [&](idx_t text, std::span<const View<const float, 2>> states) {
    const std::vector<RowTokens> tokens = TokensOfWindows(rows.of(text), prompt);
    float* out = vectors.data<float>() + text * modes * channels;
    for (idx_t m = 0; m < modes; ++m) {
      PoolText(pooling.modes[static_cast<std::size_t>(m)], tokens, states, out + m * channels);
    }
  });
  for (const auto& module : plan.modules) vectors = module->Apply(context, std::move(vectors));
  CheckNumbers(model, vectors, "its vectors");
  return vectors;
}

std::vector<Tensor> EmbedTokensOfRows(Context& context, const TaskModel& model,
                                      const TaskRows& rows) {
  CheckRows(rows);
  std::vector<Tensor> vectors(static_cast<std::size_t>(rows.texts()));
  RunTexts(context, model, rows, [&](idx_t text, std::span<const View<const float, 2>> states) {
    const std::vector<RowTokens> tokens = TokensOfWindows(rows.of(text), {});
    idx_t own = 0;
    for (const RowTokens& row : tokens) own += std::count(row.own.begin(), row.own.end(), 1);
    const idx_t channels = model.info().width;
    Tensor& made = vectors[static_cast<std::size_t>(text)];
    made = Tensor({own, channels});
    float* out = made.data<float>();
    for (std::size_t w = 0; w < tokens.size(); ++w) {
      for (std::size_t t = 0; t < tokens[w].own.size(); ++t) {
        if (tokens[w].own[t] == 0) continue;
        out = std::copy_n(&states[w](static_cast<idx_t>(t), 0), channels, out);
      }
    }
    CheckNumbers(model, made, "its vectors");
  });
  return vectors;
}

}  // namespace longspan
