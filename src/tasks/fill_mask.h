// Which words may stand where a text has a mask.
#pragma once

#include <string>
#include <vector>

#include "tasks/task_model.h"

namespace longspan {

struct MaskGuess {
  std::int32_t id = 0;
  std::string token;   // as the tokenizer spells it: "Ġwalk"
  std::string text;    // what it reads as: " walk"
  double score = 0.0;  // probability
};

struct FilledMask {
  text::Span chars, bytes;         // of the text
  std::vector<MaskGuess> guesses;  // the most likely first
};

struct FilledText {
  std::vector<FilledMask> masks;  // in the text's order
};

// kFormat, with the text's name, when none of its rows has the tokenizer's mask; kUsage when the
// tokenizer has none.
void CheckHasMask(const TaskModel& model, std::span<const text::Encoding> rows,
                  const std::string& name);

// The `most` best tokens for each mask of each text, all masks at once (each is guessed with the
// others in place). Logits are made for the masks only. Where windows overlap, the one that sees
// more around a mask decides. kUsage: the tokenizer has no mask, or text `i` has none.
std::vector<FilledText> FillMasks(Context& context, TaskModel& model,
                                  std::span<const TaskText> texts, const TaskRows& rows, idx_t most,
                                  std::span<const std::string> names = {});

}  // namespace longspan
