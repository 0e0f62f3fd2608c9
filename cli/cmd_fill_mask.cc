// longspan fill-mask: which words may stand where a text has a mask.

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/tasks.h"

namespace longspan::cli {
namespace {

struct FillMaskCommand {
  TaskCommand task;
  idx_t top = 5;
};

nlohmann::ordered_json Json(const TaskText& text, const FilledText& filled) {
  auto masks = nlohmann::ordered_json::array();
  for (const FilledMask& mask : filled.masks) {
    auto guesses = nlohmann::ordered_json::array();
    for (const MaskGuess& guess : mask.guesses) {
      guesses.push_back({{"score", guess.score},
                         {"token", guess.id},
                         {"token_str", guess.text},
                         {"sequence", TextWithGuesses(text.text, {&mask, 1}, {&guess, 1})}});
    }
    masks.push_back({{"chars", SpanJson(mask.chars)}, {"guesses", guesses}});
  }
  return masks;
}

std::string Show(const std::string& name, const FilledText& filled) {
  std::string shown;
  for (const FilledMask& mask : filled.masks) {
    shown +=
        fmt::format("{}, characters {} to {}\n", ShownName(name), mask.chars.begin, mask.chars.end);
    for (const MaskGuess& guess : mask.guesses) {
      shown += fmt::format("  {:.4f}  {}\n", guess.score, Printable(guess.text));
    }
  }
  return shown;
}

// A line for each guess; masks are counted from 1 in each text.
AnswerTable GuessTable() {
  return {{"mask", "start", "end", "score", "token", "token_str", "sequence"},
          [](const nlohmann::ordered_json& fields) {
            std::vector<std::vector<std::string>> lines;
            std::size_t number = 0;
            for (const nlohmann::ordered_json& mask : fields.at("masks")) {
              ++number;
              const nlohmann::ordered_json& chars = mask.at("chars");
              for (auto& line :
                   LinesOf(mask.at("guesses"), {"score", "token", "token_str", "sequence"})) {
                line.insert(line.begin(), {std::to_string(number), CellOf(chars.at("begin")),
                                           CellOf(chars.at("end"))});
                lines.push_back(std::move(line));
              }
            }
            return lines;
          }};
}

int RunFillMask(const FillMaskCommand& c, int threads) {
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, "fill-mask", HeadKind::kMaskedLm, threads);
  run.table = GuessTable();
  run.check = [&](const std::string& name, std::span<const text::Encoding> rows) {
    CheckHasMask(run.model(), rows, name);
  };
  return AnswerTexts(
      run, inputs, run.PlainText(), [&](const TaskChunk& chunk, const AddAnswer& add) {
        const auto filled =
            FillMasks(run.context(), run.model(), chunk.texts, chunk.rows, c.top, chunk.places);
        for (std::size_t i = 0; i < filled.size(); ++i) {
          add({{{"masks", Json(chunk.texts[i], filled[i])}}, Show(chunk.names[i], filled[i])});
        }
      });
}

}  // namespace

void RegisterFillMask(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<FillMaskCommand>();
  AddTaskOptions(*command, c->task);
  AddAnswerOutput(*command, c->task);
  command->add_option("--top", c->top, "Number of guesses for each mask")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--no-lm-bias", c->task.no_lm_bias,
                    "Leave out the head's bias of a Reformer, as transformers 5.0 to 5.23 do");
  command->footer(
      "The mask is the tokenizer's own: <mask> or [MASK].\n"
      "Examples:\n"
      "  longspan fill-mask -m long --text 'She had a very <mask> father.'\n"
      "  longspan fill-mask -m long masked/ --top 3 --json\n"
      "  longspan fill-mask -m long masked/ -o guesses.tsv\n"
      "  echo 'A <mask> ship.' | longspan fill-mask -m long -");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunFillMask(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
