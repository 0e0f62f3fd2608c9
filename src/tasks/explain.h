// Which sentences of a text decided: each one is left out, and the model is asked again.
#pragma once

#include <functional>
#include <vector>

#include "tasks/classify.h"
#include "tasks/sentences.h"

namespace longspan {

// A sentence of a text, and what the model says without it.
struct LeftOut {
  int sequence = 0;  // 0: of the text, 1: of the second text of a pair
  Sentence place;
  std::vector<double> scores;  // one for each of info().labels
};

struct ExplainedText {
  std::vector<double> scores;  // of the whole text, one for each of info().labels
  // In the order of the text. Empty where there are not two sentences: nothing can be left out.
  std::vector<LeftOut> sentences;

  // How much the sentence adds to a label's score: the score of the whole text less the score
  // without the sentence. Above 0: the sentence speaks for the label.
  double Influence(idx_t sentence, idx_t label) const;
  // Places of the `most` sentences that change a label's score most, the largest change of either
  // sign first.
  std::vector<idx_t> MostInfluential(idx_t label, idx_t most) const;
  // Whether leaving some sentence out changes the label's score by kDecides or more.
  bool Decided(idx_t label, ScoreKind kind) const;
};

// The least change of a score that is worth telling: of probabilities as it is, of values as a
// share of the score. Less than that is what any change of a text does.
inline constexpr double kDecides = 0.01;

// Parts of a text that are left out at most: of more sentences neighbours are put together, so that
// the work grows with the length of a text and not with its square.
inline constexpr idx_t kMostLeftOut = 512;

// Called for each text, in their order, as soon as it is explained.
using TakeExplained = std::function<void(std::size_t text, const ExplainedText& explained)>;

// Texts as Encode takes them, with `whole` the scores of Classify over the same texts. The texts
// without a sentence are encoded as options().overflow says, or in windows, and run together in
// batches of like length: those of some texts, until they have the tokens of a batch. Errors as
// Encode and Classify.
void Explain(Context& context, TaskModel& model, std::span<const TaskText> texts,
             std::span<const ClassifiedText> whole, const TakeExplained& take);
std::vector<ExplainedText> Explain(Context& context, TaskModel& model,
                                   std::span<const TaskText> texts,
                                   std::span<const ClassifiedText> whole);

}  // namespace longspan
