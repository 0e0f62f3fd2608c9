#include "cli/commands.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <string_view>

#include "cli/help.h"
#include "cli/option_checks.h"
#include "cli/visual/cmd_pattern.h"
#include "cli/visual/cmd_plot.h"

namespace longspan::cli {
namespace {

constexpr const char* kStartGroup = "Start";
constexpr const char* kAskGroup = "Ask a model";
constexpr const char* kTrainGroup = "Train";
constexpr const char* kUnderstandGroup = "Understand";
constexpr const char* kCheckGroup = "Check";
constexpr const char* kExpertsGroup = "Tools for experts";

constexpr Command kCommands[] = {
    {kStartGroup, "demo", RegisterDemo,
     "Train on a novel, draw the curves and write, within minutes"},
    {kStartGroup, "init", RegisterInit, "Create a model with random weights"},
    {kStartGroup, "info", RegisterInfo, "Tell what a folder or file holds and what to do with it",
     UnderMpirun::kFirst},
    {kStartGroup, "convert", RegisterConvert,
     "Make a Longformer of a BERT or RoBERTa, or safetensors"},
    {kStartGroup, "help", RegisterHelp, "Print the page of a command", UnderMpirun::kFirst},

    {kAskGroup, "classify", RegisterClassify, "Give whole texts a class, labels or a number",
     UnderMpirun::kShare},
    {kAskGroup, "embed", RegisterEmbed, "Turn texts of any length into vectors",
     UnderMpirun::kShare},
    {kAskGroup, "similar", RegisterSimilar, "Find the vectors or texts that are near to others"},
    {kAskGroup, "rerank", RegisterRerank, "Order texts by how well they fit a query"},
    {kAskGroup, "qa", RegisterQa, "Find the part of a text that answers a question",
     UnderMpirun::kShare},
    {kAskGroup, "fill-mask", RegisterFillMask, "Guess the words that a text leaves open",
     UnderMpirun::kShare},
    {kAskGroup, "token-classify", RegisterTokenClassify, "Find names and other classes of words",
     UnderMpirun::kShare},
    {kAskGroup, "multiple-choice", RegisterMultipleChoice, "Choose the answer that fits a text",
     UnderMpirun::kShare},
    {kAskGroup, "generate", RegisterGenerate, "Continue a text"},

    {kTrainGroup, "train", RegisterTrain,
     "Train a model: lm, mlm, classify, token-classify, qa, multiple-choice, embed or rerank",
     UnderMpirun::kShare},
    {kTrainGroup, "eval", RegisterEval, "Measure a model on texts or rows it has not seen",
     UnderMpirun::kShare},
    {kTrainGroup, "plan", RegisterPlan, "Predict the memory and time of a training step",
     UnderMpirun::kFirst},
    {kTrainGroup, "tokenize", RegisterTokenize, "Show a text as tokens, or train a tokenizer"},
    {kTrainGroup, "data", RegisterData, "Look at texts before training"},

    {kUnderstandGroup, "pattern", RegisterPattern, "Draw which query sees which key"},
    {kUnderstandGroup, "plot", RegisterPlot, "Draw the curves of training runs"},
    {kUnderstandGroup, "report", RegisterReport, "Put a training run on one page of HTML"},
    {kUnderstandGroup, "lsh-report", RegisterLshReport,
     "Measure whether LSH finds the keys that matter"},
    {kUnderstandGroup, "compare", RegisterCompare, "Compare full, local and LSH attention"},
    {kUnderstandGroup, "puzzle", RegisterPuzzle,
     "Train on tasks that need attention over a distance"},
    {kUnderstandGroup, "long-evidence", RegisterLongEvidence,
     "Train on two facts that stand far apart"},

    {kCheckGroup, "env", RegisterEnv, "Show version, machine and settings, for a report of a fault",
     UnderMpirun::kShare},
    {kCheckGroup, "verify", RegisterVerify, "Compare a model with a recorded case of the original"},
    {kCheckGroup, "bench", RegisterBench, "Time steps and mechanisms beside the machine's peak",
     UnderMpirun::kShare},

    {kExpertsGroup, "decode-report", RegisterDecodeReport,
     "Compare cached generation with full passes"},
    {kExpertsGroup, "completion", RegisterCompletion,
     "Print a script that completes commands in bash", UnderMpirun::kFirst},
};

constexpr const char* kRootFooter =
    "Examples:\n"
    "  longspan demo --minutes 0.05 -o demo            train on a novel, draw, write\n"
    "  longspan init --arch reformer --preset tiny -o start\n"
    "  longspan train lm -m start --train book.txt -o run --steps 20 --tokens 128\n"
    "  longspan generate -m run -p 'It was' --tokens 100\n\n"
    "'longspan help COMMAND' prints the page of a command.\n"
    "Exit codes: 0 ok, 2 usage, 3 bad model or data, 4 I/O, 5 memory or limit, 6 numeric,\n"
    "7 locked; 129, 130, 143 stopped by a signal (a training has saved).";

void AddGlobals(CLI::App& root, Globals& globals) {
  BeginGroup(&root, kEveryCommand);
  root.add_option("-t,--threads", globals.threads,
                  "Number of threads (default: all CPUs that the process may use)")
      ->check(CLI::Range(1, 1024));
  root.add_option(
      "--memory", globals.memory,
      "Memory the work may use, for example 512M or 4G; M is 1,048,576 bytes (default: what "
      "there is)");
  root.add_flag("--strict-weights,--strict", globals.strict_weights,
                "Refuse weights that have no place in the model");
  root.add_flag("--strict-paths", globals.strict_paths,
                "Refuse links that lead out of a model's folder");
}

}  // namespace

std::span<const Command> Commands() { return kCommands; }

UnderMpirun RanksOf(const CLI::App& app) {
  // Benchmarks that time what ranks do together; the others time one process.
  constexpr std::string_view kSharedBenches[] = {"train", "world"};
  for (const CLI::App* parsed : app.get_subcommands()) {
    const std::string name = parsed->get_name();
    for (const CLI::App* part : parsed->get_subcommands()) {
      const bool shares = std::find(std::begin(kSharedBenches), std::end(kSharedBenches),
                                    part->get_name()) != std::end(kSharedBenches);
      if (name == "bench" && !shares) return UnderMpirun::kRefuse;
    }
    for (const Command& command : Commands()) {
      if (name == command.name) return command.ranks;
    }
  }
  return UnderMpirun::kFirst;
}

void AddCommands(CLI::App& root, Globals& globals, Action& action) {
  root.formatter(std::make_shared<PageFormatter>());
  root.require_subcommand(1);
  root.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  root.fallthrough();
  root.set_help_flag("-h,--help", "Print this page")->group(kEveryCommand);
  for (const Command& command : Commands()) {
    CLI::App* added = root.add_subcommand(command.name, command.description);
    added->group(command.group);
    command.add(added, globals, action);
  }
  AddGlobals(root, globals);
  root.footer(kRootFooter);  // last: a command takes over what its parent has
  RefuseUnfitValues(root);
}

}  // namespace longspan::cli
