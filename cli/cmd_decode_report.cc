// longspan decode-report: what generation with a cache thinks of a text, beside the forward pass.

#include <nlohmann/json.hpp>
#include <numbers>

#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "cli/waiting.h"
#include "longspan/counted.h"
#include "longspan/inspect.h"

namespace longspan::cli {
namespace {

struct DecodeReportCommand {
  std::string model, text, attention;
  ReformerOptions reformer;
  WindowOptions windows;
  idx_t prompt = 0;
  bool json = false;
};

std::string TextReport(const DecodeReport& report) {
  const DecodeAgreement& a = report.agreement;
  const auto n = static_cast<double>(a.tokens);
  const auto bits = [n](double loss) { return loss / n / std::numbers::ln2; };
  return fmt::format(
      "{} behind prompts of {}, {} of {}\n"
      "{:>26} {:>14} {:>14}\n{:>26} {:>14.4f} {:>14.4f}\n{:>26} {:>14.4f} {:>14.4f}\n"
      "{:>26} {:>14.2f} {:>14.2f}\n"
      "the same token is the likeliest: {:.2f} %\nlogits differ by {:.4g} in the mean, {:.4g} at "
      "most\n",
      Counted(a.tokens, "token"), report.prompt, Counted(report.windows, "window"), report.tokens,
      "", "forward", "cached", "loss, nats a token", a.full_loss / n, a.cached_loss / n,
      "bits a token", bits(a.full_loss), bits(a.cached_loss), "top-1 accuracy, %",
      100.0 * static_cast<double>(a.full_correct) / n,
      100.0 * static_cast<double>(a.cached_correct) / n,
      100.0 * static_cast<double>(a.same_first) / n, a.mean_difference(), a.most_difference);
}

std::string JsonReport(const DecodeReport& report) {
  const DecodeAgreement& a = report.agreement;
  const auto n = static_cast<double>(a.tokens);
  nlohmann::ordered_json j;
  j["tokens"] = a.tokens;
  j["window"] = report.tokens;
  j["windows"] = report.windows;
  j["prompt"] = report.prompt;
  j["forward"] = {{"loss", a.full_loss / n}, {"accuracy", static_cast<double>(a.full_correct) / n}};
  j["cached"] = {{"loss", a.cached_loss / n},
                 {"accuracy", static_cast<double>(a.cached_correct) / n}};
  j["same_first"] = static_cast<double>(a.same_first) / n;
  j["mean_difference"] = a.mean_difference();
  j["most_difference"] = a.most_difference;
  return DumpJson(j);
}

int RunDecodeReport(const DecodeReportCommand& c, int threads) {
  Context context(threads);
  ReformerOptions reformer = c.reformer;
  reformer.attention = ParseAttention(c.attention);
  WindowOptions windows = c.windows;
  windows.text = c.text;
  Waiting comparing("comparing " + c.model);
  const DecodeReport report = ReportDecoding(context, c.model, windows, c.prompt, reformer);
  comparing.End();
  TellNotes(report.notes);
  PrintResult(c.json ? JsonReport(report) : TextReport(report));
  return 0;
}

}  // namespace

void RegisterDecodeReport(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<DecodeReportCommand>();
  c->windows.tokens = 1024;
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of a Reformer language model")->required();
  command->add_option("FILE", c->text, "Text, table, JSON or folder of them")->required();
  AddReadOptions(command, &c->windows.data);
  BeginGroup(command, "Measurement");
  command->add_option("--tokens", c->windows.tokens, "Length of a window in tokens")
      ->capture_default_str();
  command->add_option(
      "--prompt", c->prompt,
      "Tokens of a window that are the prompt; the others are decoded one by one (default: half)");
  command->add_option("--windows", c->windows.windows, "Number of windows, spread over the text")
      ->capture_default_str();
  command->add_option("--held-out", c->windows.held_out, "Share of the text's end that is measured")
      ->capture_default_str();
  command
      ->add_option("--num-hashes", c->reformer.num_hashes,
                   "Hash rounds of LSH layers (default: the config's)")
      ->check(CLI::Range(1, 1024));
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  BeginGroup(command, heading::kOutput);
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Examples:\n  longspan decode-report -m run book.txt --held-out 0.1 --tokens 256\n"
      "  longspan decode-report -m run book.txt --tokens 128 --windows 1 --num-hashes 4 --json");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunDecodeReport(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
