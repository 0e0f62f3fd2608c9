// longspan decode-report: what generation with a cache thinks of a text, beside the forward pass.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/counted.h"
#include "cli/data_options.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "data/mapped_file.h"
#include "families/families.h"
#include "families/reformer/reformer_files.h"
#include "inspect/decode_agreement.h"
#include "io/json.h"
#include "text/bytes_tokenizer.h"
#include "text/open_tokenizer.h"
#include "train/text_data.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kMostTextBytes = std::size_t{16} << 20;  // that a subword tokenizer reads

struct DecodeReportCommand {
  std::string model, text;
  std::string attention;
  idx_t num_hashes = 0;
  DataOptions data;
  double held_out = 1.0;
  idx_t tokens = 1024, prompt = 0, windows = 4;
  bool json = false;
};

std::vector<std::int32_t> IdsOf(const text::Tokenizer& tokenizer, std::string_view bytes) {
  if (tokenizer.kind() == "bytes") return text::BytesTokenizer::Encode(bytes);
  Check(bytes.size() <= kMostTextBytes, ErrorCode::kLimit,
        "text: {} bytes are more than {}; take less of it with --held-out", bytes.size(),
        kMostTextBytes);
  text::EncodeOptions options;
  options.special_tokens = false;
  return tokenizer.Encode(bytes, options).front().ids;
}

std::string TextReport(const DecodeReportCommand& c, idx_t prompt, idx_t windows,
                       const DecodeAgreement& a) {
  const auto n = static_cast<double>(a.tokens);
  const auto bits = [n](double loss) { return loss / n / std::numbers::ln2; };
  return fmt::format(
      "{} behind prompts of {}, {} of {}\n"
      "{:>26} {:>14} {:>14}\n{:>26} {:>14.4f} {:>14.4f}\n{:>26} {:>14.4f} {:>14.4f}\n"
      "{:>26} {:>14.2f} {:>14.2f}\n"
      "the same token is the likeliest: {:.2f} %\nlogits differ by {:.4g} in the mean, {:.4g} at "
      "most\n",
      Counted(a.tokens, "token"), prompt, Counted(windows, "window"), c.tokens, "", "forward",
      "cached", "loss, nats a token", a.full_loss / n, a.cached_loss / n, "bits a token",
      bits(a.full_loss), bits(a.cached_loss), "foreseen, %",
      100.0 * static_cast<double>(a.full_correct) / n,
      100.0 * static_cast<double>(a.cached_correct) / n,
      100.0 * static_cast<double>(a.same_first) / n, a.mean_difference(), a.most_difference);
}

std::string JsonReport(const DecodeReportCommand& c, idx_t prompt, idx_t windows,
                       const DecodeAgreement& a) {
  const auto n = static_cast<double>(a.tokens);
  nlohmann::ordered_json j;
  j["tokens"] = a.tokens;
  j["window"] = c.tokens;
  j["windows"] = windows;
  j["prompt"] = prompt;
  j["forward"] = {{"loss", a.full_loss / n}, {"accuracy", static_cast<double>(a.full_correct) / n}};
  j["cached"] = {{"loss", a.cached_loss / n},
                 {"accuracy", static_cast<double>(a.cached_correct) / n}};
  j["same_first"] = static_cast<double>(a.same_first) / n;
  j["mean_difference"] = a.mean_difference();
  j["most_difference"] = a.most_difference;
  return io::DumpJson(j);
}

int RunDecodeReport(const DecodeReportCommand& c, int threads) {
  Context context(threads);
  Check(c.windows >= 1, ErrorCode::kUsage, "windows: {} is not at least 1", c.windows);
  Waiting loading("loading " + c.model);
  LoadOptions load;
  if (!c.attention.empty()) load.family.Set("attention", c.attention);
  if (c.num_hashes > 0) load.family.Set("num-hashes", c.num_hashes);
  Reformer model = LoadReformer(OpenModelFolder(c.model), load);
  loading.End();
  const auto tokenizer = OpenModelTokenizer(c.model);
  const LastText last(c.text, c.data, tokenizer->kind() == "bytes", c.held_out);
  TellNotes(last.corpus.notes);
  const std::vector<std::int32_t> ids = IdsOf(*tokenizer, last.text);
  const auto size = static_cast<idx_t>(ids.size());
  Check(c.tokens >= 3 && c.tokens <= size, ErrorCode::kUsage,
        "tokens: a window of {} is not from 3 to the text's {} tokens", c.tokens, size);
  const idx_t prompt = c.prompt > 0 ? c.prompt : c.tokens / 2;
  const idx_t windows = std::min(c.windows, size / c.tokens);
  DecodeAgreement total;
  Waiting comparing("comparing");
  for (idx_t w = 0; w < windows; ++w) {  // spread over the whole text
    const idx_t begin = w * (size - c.tokens) / std::max<idx_t>(1, windows - 1);
    total.Add(CompareDecoding(
        context, model,
        std::span(ids).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(c.tokens)),
        prompt));
  }
  comparing.End();
  PrintResult(c.json ? JsonReport(c, prompt, windows, total)
                     : TextReport(c, prompt, windows, total));
  return 0;
}

}  // namespace

void RegisterDecodeReport(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<DecodeReportCommand>();
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of a Reformer language model")->required();
  command->add_option("FILE", c->text, "Text, table, JSON or folder of them")->required();
  AddReadOptions(command, &c->data);
  BeginGroup(command, "Measurement");
  command->add_option("--tokens", c->tokens, "Length of a window in tokens")->capture_default_str();
  command->add_option(
      "--prompt", c->prompt,
      "Tokens of a window that are the prompt; the others are decoded one by one (default: half)");
  command->add_option("--windows", c->windows, "Number of windows, spread over the text")
      ->capture_default_str();
  command->add_option("--held-out", c->held_out, "Share of the text's end that is measured")
      ->capture_default_str();
  command
      ->add_option("--num-hashes", c->num_hashes,
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
