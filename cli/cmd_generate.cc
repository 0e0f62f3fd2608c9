// longspan generate: a model goes on with texts.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/shown_bytes.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "data/inputs.h"
#include "families/families.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_files.h"
#include "generate/generated_text.h"
#include "generate/generation.h"
#include "generate/token_rules.h"
#include "io/escape.h"
#include "io/json.h"
#include "text/bytes_tokenizer.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

struct GenerateCommand {
  std::string model;
  std::vector<std::string> files, prompts, stops;
  DataOptions data;
  GenerateOptions options;
  BeamOptions beam;
  std::string attention;
  idx_t num_hashes = 0;
  std::size_t batch = 8;
  bool lines = false, search = false, no_cache = false, json = false, no_stream = false;
  bool no_lm_bias = false;
};

// What was written behind a prompt.
struct Written {
  std::string text;
  std::size_t tokens = 0;
  std::string finish;  // why it ended
  double score = 0.0;  // beam search
};

std::vector<std::int32_t> EncodePrompt(const text::Tokenizer& tokenizer,
                                       const std::string& prompt) {
  if (tokenizer.kind() == "bytes") return text::BytesTokenizer::Encode(std::string_view(prompt));
  text::EncodeOptions options;
  options.special_tokens = false;
  return tokenizer.Encode(prompt, options).front().ids;
}

// What to go on from.
struct Prompts {
  std::vector<std::string> texts;
  std::vector<std::vector<std::int32_t>> ids;
};

// `refusals` gets what cannot be used.
Prompts PromptsOf(const GenerateCommand& c, const text::Tokenizer& tokenizer, Refusals* refusals) {
  Check(!c.lines || !c.files.empty(), ErrorCode::kUsage, "generate: --lines needs --file");
  Check(!c.files.empty() || !c.prompts.empty(), ErrorCode::kUsage,
        "generate: no prompt; give -p TEXT (more than once for several) or --file FILE");
  data::RowRules rules;
  rules.options = c.data;
  rules.fields = {{c.data.text_field, true}};
  rules.lines = c.lines;
  rules.any_bytes = tokenizer.kind() == "bytes";
  data::Texts texts(c.files, c.prompts, rules);
  Prompts prompts;
  const auto take = [&](data::Row& row) {
    Check(row.has_fields() || !row.text.empty(), ErrorCode::kUsage,
          "generate: the prompt is empty");
    std::string text = row.has_fields() ? row.Text(c.data.text_field) : row.text;
    std::vector<std::int32_t> ids = EncodePrompt(tokenizer, text);
    Check(!ids.empty(), ErrorCode::kFormat, "{}: has no token to go on from",
          io::EscapeName(row.name));
    prompts.texts.push_back(std::move(text));
    prompts.ids.push_back(std::move(ids));
  };
  texts.ForEach(
      take, [&](const data::Row& row, const Error& why) { refusals->Add(row, why); }, TellNote);
  return prompts;
}

bool OnTerminal() { return isatty(STDOUT_FILENO) == 1; }

// That the folder holds a Reformer is said before anything of its tokenizer.
std::unique_ptr<text::Tokenizer> OpenTokenizerOf(const std::string& model) {
  LoadReformerConfig(OpenModelFolder(model));
  return OpenModelTokenizer(model);
}

LoadOptions LoadOptionsOf(const GenerateCommand& c) {
  LoadOptions load;
  if (!c.attention.empty()) load.family.Set("attention", c.attention);
  if (c.num_hashes > 0) load.family.Set("num-hashes", c.num_hashes);
  if (c.no_lm_bias) load.family.Set("lm-bias", false);
  return load;
}

Reformer Load(const GenerateCommand& c, std::vector<std::string>* warnings) {
  const Waiting waiting("loading " + c.model);
  return LoadReformer(OpenModelFolder(c.model), LoadOptionsOf(c), warnings);
}

class Generation {
 public:
  Generation(GenerateCommand c, int threads)
      : c_(std::move(c)),
        context_(threads),
        refusals_(c_.data.skip_bad, TellNote),
        tokenizer_(OpenTokenizerOf(c_.model)),
        prompts_(PromptsOf(c_, *tokenizer_, &refusals_)),
        model_(Load(c_, &warnings_)) {
    TellNotes(warnings_);
    c_.options.cache = !c_.no_cache;
    model_.MakeDecoder(c_.options.cache);  // says what cannot be decoded before anything is written
    Check(tokenizer_->vocabulary() <= model_.config().vocab_size, ErrorCode::kFormat,
          "tokenizer: it has {} ids, the model's word table {} (vocab_size)",
          tokenizer_->vocabulary(), model_.config().vocab_size);
    FollowTokenizer(*tokenizer_, model_.config().vocab_size, &c_.options);
    for (const auto& ids : prompts_.ids) CheckPrompt(ids.size());
  }

  int Run() {
    // What streams is seen itself.
    Waiting writing("writing", streams());
    if (c_.search) {
      for (const auto& ids : prompts_.ids) texts_.push_back(Search(ids));
    } else {
      for (std::size_t begin = 0; begin < prompts_.ids.size(); begin += c_.batch) Write(begin);
    }
    writing.End();
    Print();
    return refusals_.Finish();
  }

 private:
  void CheckPrompt(std::size_t tokens) const {
    CheckGeneration(model_, tokens, c_.options);
    const idx_t context = c_.options.context;
    if (context > 0 && static_cast<idx_t>(tokens) > context) {
      std::fprintf(stderr,
                   "longspan: a prompt has %zu tokens, the model goes on from the last %lld\n",
                   tokens, static_cast<long long>(context));
    }
  }

  bool streams() const {
    return !c_.json && !c_.no_stream && !c_.search && prompts_.texts.size() == 1;
  }

  // Prompts [begin, begin + batch) side by side.
  void Write(std::size_t begin) {
    const std::size_t count = std::min(c_.batch, prompts_.ids.size() - begin);
    std::vector<GeneratedText> texts;
    for (std::size_t i = 0; i < count; ++i) {
      texts.emplace_back(*tokenizer_, prompts_.ids[begin + i], c_.stops);
    }
    c_.options.first_text = begin;
    ShownBytes screen(OnTerminal());
    if (streams()) PrintResult(screen.Add(prompts_.texts[0]));
    const auto results =
        GenerateTexts(context_, model_, std::span(prompts_.ids).subspan(begin, count), c_.options,
                      [&](std::size_t i, std::int32_t id) {
                        const std::string shown = texts[i].Add(id);
                        if (streams() && !shown.empty()) PrintResult(screen.Add(shown));
                        return !texts[i].stopped();
                      });
    for (std::size_t i = 0; i < count; ++i) {
      const std::string rest = texts[i].Finish();
      if (streams()) PrintResult(screen.Add(rest) + screen.Finish() + "\n");
      const Ending ending = texts[i].stopped() ? Ending::kStopRule : results[i].ending;
      texts_.push_back({{texts[i].text(), results[i].tokens.size(), EndingName(ending), 0.0}});
    }
  }

  // All that a beam search finds, best first.
  std::vector<Written> Search(const std::vector<std::int32_t>& prompt) {
    GenerateOptions options = c_.options;
    if (!c_.stops.empty()) {
      options.stop = [this](std::span<const std::int32_t> written) {
        return EndsInStop(*tokenizer_, written, c_.stops);
      };
    }
    std::vector<Written> found;
    for (const Continuation& beam : BeamSearch(context_, model_, prompt, options, c_.beam)) {
      GeneratedText text(*tokenizer_, prompt, c_.stops);
      for (const std::int32_t id : beam.tokens) text.Add(id);
      text.Finish();
      found.push_back({text.text(), beam.tokens.size(), EndingName(beam.ending), beam.score});
    }
    if (found.empty()) found.push_back({"", 0, EndingName(Ending::kTokens), 0.0});
    return found;
  }

  ordered_json Report(std::size_t i) const {
    const Written& best = texts_[i].front();
    ordered_json j = {{"prompt", prompts_.texts[i]},
                      {"text", best.text},
                      {"tokens", best.tokens},
                      {"prompt_tokens", prompts_.ids[i].size()},
                      {"finish", best.finish}};
    if (!c_.search) return j;
    j["score"] = best.score;
    j["beams"] = ordered_json::array();
    for (const Written& text : texts_[i]) {
      j["beams"].push_back({{"text", text.text},
                            {"tokens", text.tokens},
                            {"finish", text.finish},
                            {"score", text.score}});
    }
    return j;
  }

  void Print() const {
    if (streams()) return;
    if (!c_.json) {
      for (std::size_t i = 0; i < prompts_.texts.size(); ++i) {
        ShownBytes screen(OnTerminal());
        const std::string text = screen.Add(prompts_.texts[i] + texts_[i].front().text);
        PrintResult((i > 0 ? "\n" : "") + text + screen.Finish() + "\n");
      }
      return;
    }
    ordered_json j;
    if (prompts_.texts.size() == 1) {
      j = Report(0);
    } else {
      j["texts"] = ordered_json::array();
      for (std::size_t i = 0; i < prompts_.texts.size(); ++i) j["texts"].push_back(Report(i));
    }
    if (!c_.search) j["seed"] = c_.options.sampling.seed;
    j.update(refusals_.Members());
    // A model of bytes may stop inside a character.
    PrintResult(io::DumpJson(j));
  }

  GenerateCommand c_;
  Context context_;
  Refusals refusals_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  Prompts prompts_;
  std::vector<std::string> warnings_;
  Reformer model_;
  std::vector<std::vector<Written>> texts_;  // of each prompt, best first
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
  command->add_option("--batch", c->batch, "Number of prompts that run side by side")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  BeginGroup(command, "Writing");
  command
      ->add_option("-n,--tokens", c->options.tokens,
                   "Number of tokens to write: bytes, or the tokenizer's")
      ->capture_default_str();
  command->add_option("--stop", c->stops, "String before which a text ends; may be given again")
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
      ->add_option("--num-hashes", c->num_hashes,
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
    action = [c, &globals] { return Generation(*c, globals.threads).Run(); };
  });
}

}  // namespace longspan::cli
