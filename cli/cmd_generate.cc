// longspan generate: a model goes on with texts.

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/shown_bytes.h"
#include "cli/text_inputs.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "cli/waiting.h"
#include "longspan/data.h"
#include "longspan/files.h"
#include "longspan/generate.h"
#include "longspan/model.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

struct GenerateCommand {
  std::string model;
  std::vector<std::string> files, prompts;
  DataOptions data;
  GenerateOptions options;
  BeamOptions beam;
  std::string attention;
  ModelOptions loading;
  bool lines = false, search = false, no_cache = false, json = false, no_stream = false;
  bool no_lm_bias = false;
};

// What to go on from: texts that have a token. `refusals` gets what cannot be used.
std::vector<std::string> PromptsOf(const GenerateCommand& c, const text::Tokenizer& tokenizer,
                                   Refusals* refusals) {
  Check(!c.files.empty() || !c.prompts.empty(), ErrorCode::kUsage,
        "generate: no prompt; give -p TEXT (more than once for several) or --file FILE");
  TextRules rules;
  rules.options = c.data;
  rules.fields = {{c.data.text_field, true}};
  rules.lines = c.lines;
  rules.any_bytes = tokenizer.kind() == "bytes";
  std::vector<std::string> prompts;
  const auto take = [&](TextRow& row) {
    Check(row.has_fields || !row.text.empty(), ErrorCode::kUsage, "generate: the prompt is empty");
    std::string text = row.has_fields ? row.Text(c.data.text_field) : row.text;
    try {
      EncodePrompt(tokenizer, text);
    } catch (const Error& error) {
      throw Error(error.code(), io::EscapeName(row.name) + ": " + error.what());
    }
    prompts.push_back(std::move(text));
  };
  ForEachRow(TextSource(c.files, c.prompts, rules), take, refusals);
  return prompts;
}

bool OnTerminal() { return isatty(STDOUT_FILENO) == 1; }

ModelOptions LoadingOf(const GenerateCommand& c, std::vector<std::string>* warnings) {
  ModelOptions loading = c.loading;
  loading.head = HeadKind::kCausalLm;
  loading.reformer.attention = ParseAttention(c.attention);
  loading.reformer.lm_bias = !c.no_lm_bias;
  loading.on_warning = [warnings](const std::string& line) { warnings->push_back(line); };
  return loading;
}

Model Load(const GenerateCommand& c) {
  std::vector<std::string> warnings;
  Waiting waiting("loading " + c.model);
  Model model = Model::Load(c.model, LoadingOf(c, &warnings));
  waiting.End();
  TellNotes(warnings);
  return model;
}

// That the folder holds a language model is said before anything of its tokenizer.
std::unique_ptr<text::Tokenizer> OpenTokenizerOf(const std::string& model) {
  CheckModelHead(model, HeadKind::kCausalLm);
  return OpenModelTokenizer(model);
}

class Generation {
 public:
  Generation(GenerateCommand c, int threads)
      : c_(std::move(c)),
        context_(threads),
        refusals_(c_.data.skip_bad, TellNote),
        prompts_(PromptsOf(c_, *OpenTokenizerOf(c_.model), &refusals_)),
        model_(Load(c_)) {
    c_.options.cache = !c_.no_cache;
    for (const std::string& prompt : prompts_) CheckPrompt(EncodePrompt(tokenizer(), prompt));
  }

  int Run() {
    // What streams is seen itself.
    Waiting writing("writing", streams());
    if (c_.search) {
      for (const std::string& prompt : prompts_) {
        texts_.push_back(SearchBeams(context_, model_, prompt, c_.options, c_.beam));
      }
    } else {
      Write();
    }
    writing.End();
    Print();
    return refusals_.Finish();
  }

 private:
  const text::Tokenizer& tokenizer() const { return model_.tokenizer(); }

  void CheckPrompt(const std::vector<std::int32_t>& ids) const {
    CheckGenerates(model_, ids, c_.options);
    const idx_t context = c_.options.context;
    if (context > 0 && static_cast<idx_t>(ids.size()) > context) {
      TellNote(fmt::format("a prompt has {} tokens, the model goes on from the last {}", ids.size(),
                           context));
    }
  }

  bool streams() const { return !c_.json && !c_.no_stream && !c_.search && prompts_.size() == 1; }

  void Write() {
    ShownBytes screen(OnTerminal());
    OnText show;
    if (streams()) {
      PrintResult(screen.Add(prompts_[0]));
      show = [&](std::size_t, std::string_view piece) {
        PrintResult(screen.Add(piece));
        return true;
      };
    }
    for (GeneratedText& text : Generate(context_, model_, prompts_, c_.options, show)) {
      texts_.emplace_back().push_back(std::move(text));
    }
    if (streams()) PrintResult(screen.Finish() + "\n");
  }

  ordered_json Report(std::size_t i) const {
    const GeneratedText& best = texts_[i].front();
    ordered_json j = {{"prompt", prompts_[i]},
                      {"text", best.text},
                      {"tokens", best.tokens.size()},
                      {"prompt_tokens", best.prompt_tokens},
                      {"finish", EndingName(best.ending)}};
    if (!c_.search) return j;
    j["score"] = best.score;
    j["beams"] = ordered_json::array();
    for (const GeneratedText& text : texts_[i]) {
      j["beams"].push_back({{"text", text.text},
                            {"tokens", text.tokens.size()},
                            {"finish", EndingName(text.ending)},
                            {"score", text.score}});
    }
    return j;
  }

  void Print() const {
    if (streams()) return;
    if (!c_.json) {
      for (std::size_t i = 0; i < prompts_.size(); ++i) {
        ShownBytes screen(OnTerminal());
        const std::string text = screen.Add(prompts_[i] + texts_[i].front().text);
        PrintResult((i > 0 ? "\n" : "") + text + screen.Finish() + "\n");
      }
      return;
    }
    ordered_json j;
    if (prompts_.size() == 1) {
      j = Report(0);
    } else {
      j["texts"] = ordered_json::array();
      for (std::size_t i = 0; i < prompts_.size(); ++i) j["texts"].push_back(Report(i));
    }
    if (!c_.search) j["seed"] = c_.options.sampling.seed;
    j.update(refusals_.Members());
    // A model of bytes may stop inside a character.
    PrintResult(DumpJson(j));
  }

  GenerateCommand c_;
  Context context_;
  Refusals refusals_;
  std::vector<std::string> prompts_;
  Model model_;
  std::vector<std::vector<GeneratedText>> texts_;  // of each prompt, best first
};

void AddPromptOptions(CLI::App* command, GenerateCommand* c) {
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of a Reformer language model")->required();
  BeginGroup(command, heading::kTexts);
  auto* prompt = command
                     ->add_option("-p,--prompt", c->prompts,
                                  "Text to continue; give it again for several, side by side")
                     ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
                     ->allow_extra_args(false);
  command
      ->add_option(
          "-f,--file", c->files,
          "File of prompts: a text, a table, JSON or a folder; - is stdin; may be given again")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false)
      ->excludes(prompt);
  AddReadOptions(command, &c->data);
  command->add_flag("--lines", c->lines, "Take each line of the file as a prompt");
  command->add_option("--batch", c->options.batch, "Number of prompts that run side by side")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  BeginGroup(command, "Writing");
  command
      ->add_option("-n,--tokens", c->options.tokens,
                   "Number of tokens to write: bytes, or the tokenizer's")
      ->capture_default_str();
  command
      ->add_option("--stop", c->options.stops,
                   "String before which a text ends; may be given again")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

void AddChoiceOptions(CLI::App* command, GenerateCommand* c) {
  SamplingOptions& s = c->options.sampling;
  auto* temperature =
      command
          ->add_option("--temperature,--temp", s.temperature,
                       "Temperature of the draws; 0 always takes the most likely token")
          ->capture_default_str();
  auto* top_k =
      command
          ->add_option("--top-k", s.top_k, "Draw from the k most likely tokens only; 0 takes all")
          ->capture_default_str();
  auto* top_p =
      command
          ->add_option("--top-p", s.top_p, "Draw from the most likely tokens that together reach p")
          ->capture_default_str();
  auto* seed = command->add_option("--seed", s.seed, "Seed of the draws")->capture_default_str();
  command
      ->add_option("--repetition-penalty", s.repetition_penalty,
                   "Penalty above 1 makes what the text already has less likely")
      ->capture_default_str();
  auto* beams = command->add_option("--beams", c->beam.beams,
                                    "Number of beams of a beam search, instead of drawing");
  beams->excludes(temperature)->excludes(top_k)->excludes(top_p)->excludes(seed);
  beams->excludes(command->get_option("--batch"));  // prompts are searched one after another
  beams->each([c](const std::string&) { c->search = true; });
  command
      ->add_option("--length-penalty", c->beam.length_penalty,
                   "Exponent of the length by which the score of a beam is divided; above 0 "
                   "favours long ones")
      ->needs(beams)
      ->capture_default_str();
}

}  // namespace

void RegisterGenerate(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<GenerateCommand>();
  AddPromptOptions(command, c.get());
  AddChoiceOptions(command, c.get());
  BeginGroup(command, heading::kComputing);
  command
      ->add_option("--context", c->options.context,
                   "Tokens that are looked back on; 0 takes all positions")
      ->capture_default_str();
  command->add_flag("--no-cache", c->no_cache, "Run the whole text for every token");
  command
      ->add_option("--num-hashes", c->loading.reformer.num_hashes,
                   "Hash rounds of LSH layers (default: the config's)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--no-lm-bias", c->no_lm_bias,
                    "Leave out the head's bias, as transformers 5.0 to 5.23 do");
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  BeginGroup(command, heading::kOutput);
  command->add_flag("--no-stream", c->no_stream, "Print the text at the end, not token by token");
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Examples:\n  longspan generate -m run -p 'She had been' --tokens 100 --temp 0.7\n"
      "  longspan generate -m run -p 'Anne' -p 'Mary' --tokens 40 --beams 4 --stop '.'\n"
      "  longspan generate -m run -f chapter.txt --tokens 40 --top-p 0.95 --json");
  command->callback([c, &globals, &action] {
    action = [c, &globals] {
      CheckLinesOf(c->lines, c->data.format, c->files);
      ParseAttention(c->attention);
      CheckGenerateOptions(c->options);
      if (c->search) CheckBeamOptions(c->beam);
      return Generation(*c, globals.threads).Run();
    };
  });
}

}  // namespace longspan::cli
