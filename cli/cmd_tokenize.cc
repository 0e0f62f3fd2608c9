// longspan tokenize: what a model's tokenizer makes of a text, and the reverse.

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/json_list.h"
#include "cli/option_checks.h"
#include "cli/text_inputs.h"
#include "cli/tokenize_train.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/counted.h"
#include "longspan/data.h"
#include "longspan/files.h"
#include "longspan/model.h"

namespace longspan::cli {
namespace {

using text::Encoding;
using text::Overflow;
using text::Tokenizer;

struct TokenizeCommand {
  std::string model, pair;
  std::vector<std::string> texts, files;
  DataOptions data;
  text::EncodeOptions options;
  bool has_pair = false, lines = false, no_special = false;
  bool show = false, ids = false, decode = false, json = false;
};

// The texts to work on: arguments ("-" is stdin), and files.
TextSource TextsOf(const TokenizeCommand& c, bool any_bytes) {
  std::vector<std::string> paths = c.files, given;
  for (const std::string& text : c.texts) (text == "-" ? paths : given).push_back(text);
  Check(!paths.empty() || !given.empty(), ErrorCode::kUsage,
        "tokenize: give a text, or -f FILE (- for stdin)");
  CheckLinesOf(c.lines, c.data.format, paths);
  TextRules rules;
  rules.options = c.data;
  rules.fields = {{c.data.text_field, true}};
  rules.lines = c.lines;
  rules.any_bytes = any_bytes;
  return TextSource(paths, given, rules);
}

// Calls use(name, text) for each; names what cannot be used, which it returns.
Refusals ForEachText(const TokenizeCommand& c, bool any_bytes,
                     const std::function<void(const std::string&, const std::string&)>& use) {
  Refusals refusals(c.data.skip_bad, TellNote);
  const bool only = c.files.empty() && c.texts.size() == 1;
  const auto take = [&](TextRow& row) {
    if (only) row.name = "text";
    if (c.decode) row.given = false;  // ids are data, wherever they stand
    use(row.name, row.has_fields ? row.Text(c.data.text_field) : row.text);
  };
  ForEachRow(TextsOf(c, any_bytes), take, &refusals);
  return refusals;
}

// Ids between spaces, commas, line breaks or brackets.
std::vector<std::int32_t> ParseIds(std::string_view text) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<std::int32_t> ids;
  for (std::size_t at = text.find_first_not_of(kBetween); at != text.npos;
       at = text.find_first_not_of(kBetween, at)) {
    const std::size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    std::int32_t id = 0;
    const char* last = text.data() + end;
    const auto [stop, error] = std::from_chars(text.data() + at, last, id);
    Check(error == std::errc() && stop == last, ErrorCode::kFormat,
          "tokenize: \"{}\" at position {} is no id", io::Escape(text.substr(at, end - at)),
          ids.size());
    ids.push_back(id);
    at = end;
  }
  return ids;
}

// A document whose list is printed as it grows: memory holds one item.
class ListPrinter {
 public:
  ListPrinter(nlohmann::ordered_json head, std::string list)
      : head_(std::move(head)), list_(std::move(list)) {}
  void Add(const nlohmann::ordered_json& item) {
    Begin();
    PrintResult(std::string(count_++ > 0 ? ",\n  " : "\n  ") + JsonText(item));
  }
  void Finish(const nlohmann::ordered_json& members) {
    Begin();
    PrintResult(JsonListEnd(count_ > 0, members, 1));
  }

 private:
  void Begin() {
    if (begun_) return;
    begun_ = true;
    PrintResult(JsonListHead(head_, list_, 1));
  }

  nlohmann::ordered_json head_;
  std::string list_;
  std::size_t count_ = 0;
  bool begun_ = false;
};

int Decode(const TokenizeCommand& c, const Tokenizer& tokenizer) {
  ListPrinter document({}, "texts");
  const Refusals refusals = ForEachText(c, true, [&](const std::string&, const std::string& ids) {
    const std::string text = tokenizer.Decode(ParseIds(ids), c.no_special);
    if (c.json) {
      document.Add(text);
    } else {
      PrintResult(text + "\n");
    }
  });
  if (c.json) document.Finish(refusals.Members());
  return refusals.Finish();
}

// One text's rows.
struct Result {
  std::string name, text;
  std::vector<Encoding> rows;
};

// What the rows of a text do not hold, on stderr.
void TellCut(const TokenizeCommand& c, const Result& result) {
  for (const Encoding& row : result.rows) {
    for (int part = 0; part < 2; ++part) {
      if (row.dropped[part] == 0) continue;
      const auto kept = std::count(row.sequence.begin(), row.sequence.end(), part);
      TellNotes(
          {fmt::format("{}: cut {} of the {} tokens{}, longest row {}", io::EscapeName(result.name),
                       row.dropped[part], row.dropped[part] + kept,
                       !c.has_pair ? ""
                       : part == 0 ? " of the first text"
                                   : " of the second text",
                       c.options.max_length)});
    }
  }
}

// That a model would not take the longest row.
void TellLongest(const Tokenizer& tokenizer, idx_t longest) {
  const auto most = tokenizer.longest();
  if (!most || longest <= *most) return;
  TellNotes(
      {fmt::format("a row of {} tokens, the model takes {} (model_max_length); "
                   "--tokens {} with --overflow truncate or window makes it fit",
                   longest, *most, *most)});
}

nlohmann::ordered_json Head(const Tokenizer& tokenizer) {
  nlohmann::ordered_json j;
  j["tokenizer"] = tokenizer.kind();
  j["vocabulary"] = tokenizer.vocabulary();
  j["model_max_length"] = tokenizer.longest() ? nlohmann::ordered_json(*tokenizer.longest())
                                              : nlohmann::ordered_json(nullptr);
  return j;
}

nlohmann::ordered_json RowJson(const TokenizeCommand& c, const Tokenizer& tokenizer,
                               std::size_t text, const Encoding& row) {
  const auto spans = [](const std::vector<text::Span>& list) {
    auto j = nlohmann::ordered_json::array();
    for (const text::Span& s : list) j.push_back({s.begin, s.end});
    return j;
  };
  nlohmann::ordered_json r;
  r["text"] = text;
  r["ids"] = row.ids;
  for (const std::int32_t id : row.ids) r["tokens"].push_back(tokenizer.TokenOf(id));
  if (row.ids.empty()) r["tokens"] = nlohmann::ordered_json::array();
  r["offsets"] = {{"characters", spans(row.chars)}, {"bytes", spans(row.bytes)}};
  r["type_ids"] = row.type_ids;
  r["special"] = row.special;
  r["sequence"] = row.sequence;
  r["first_token"] = row.first_token[c.has_pair ? 1 : 0];
  r["dropped"] = {row.dropped[0], row.dropped[1]};
  return r;
}

std::string IdLine(const Encoding& row) { return fmt::format("{}\n", fmt::join(row.ids, " ")); }

// Columns that a piece of text takes: its characters, as most terminals draw them.
std::size_t Width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char b) {
    return (static_cast<unsigned char>(b) & 0xC0) != 0x80;
  }));
}

std::string Padded(std::string text, std::size_t width) {
  text.append(width - std::min(width, Width(text)), ' ');
  return text;
}

// What stands at a token's place, or the token where it stands for no text.
std::string PieceOf(const Tokenizer& tokenizer, const TokenizeCommand& c, const Result& result,
                    const Encoding& row, std::size_t i) {
  if (row.special[i] != 0) return io::Escape(tokenizer.TokenOf(row.ids[i]));
  const std::string_view text = row.sequence[i] == 1 ? c.pair : result.text;
  const auto [begin, end] = row.bytes[i];
  return io::Escape(
      text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
}

// The pieces side by side: in turn on two backgrounds on a terminal, otherwise with bars between.
std::string Pieces(const Tokenizer& tokenizer, const TokenizeCommand& c, const Result& result,
                   const Encoding& row, bool color) {
  constexpr const char* kBackgrounds[] = {"\x1b[30;48;5;153m", "\x1b[30;48;5;223m"};
  std::string line;
  for (std::size_t i = 0; i < row.ids.size(); ++i) {
    const std::string piece = PieceOf(tokenizer, c, result, row, i);
    if (color) {
      line += kBackgrounds[i % 2] + piece + "\x1b[0m";
    } else {
      line += (i > 0 ? "|" : "") + piece;
    }
  }
  return line + "\n";
}

std::string Show(const Tokenizer& tokenizer, const TokenizeCommand& c, const Result& result,
                 const Encoding& row, bool color) {
  const auto special = std::count(row.special.begin(), row.special.end(), 1);
  std::string text = fmt::format("{}, {} of them around the text ({}, {} ids)\n",
                                 Counted(static_cast<idx_t>(row.size()), "token"), special,
                                 tokenizer.kind(), tokenizer.vocabulary());
  if (c.options.overflow == Overflow::kWindow && result.rows.size() > 1) {
    text +=
        fmt::format("a window from token {} of the text\n", row.first_token[c.has_pair ? 1 : 0]);
  }
  text += Pieces(tokenizer, c, result, row, color);
  std::size_t widest = 5;
  std::vector<std::string> tokens;
  for (const std::int32_t id : row.ids) {
    tokens.push_back(io::Escape(tokenizer.TokenOf(id), 40));
    widest = std::max(widest, Width(tokens.back()));
  }
  text += fmt::format("{:>8}  {}  {:>13}  {:>13}  {}\n", "id", Padded("token", widest),
                      "characters", "bytes", c.has_pair ? "text" : "");
  while (text.ends_with(" \n")) text.erase(text.size() - 2, 1);
  for (std::size_t i = 0; i < row.ids.size(); ++i) {
    const auto place = [&](const text::Span& s) {
      return row.special[i] != 0 ? std::string("-") : fmt::format("{}-{}", s.begin, s.end);
    };
    text += fmt::format("{:>8}  {}  {:>13}  {:>13}", row.ids[i], Padded(tokens[i], widest),
                        place(row.chars[i]), place(row.bytes[i]));
    if (c.has_pair && row.special[i] == 0) text += fmt::format("  {}", row.sequence[i] + 1);
    text += "\n";
  }
  return text;
}

int RunTokenize(TokenizeCommand c) {
  Check(!c.model.empty(), ErrorCode::kUsage,
        "tokenize: --model is required ('longspan help tokenize' explains it)");
  const auto tokenizer =
      c.model == "bytes" ? text::MakeBytesTokenizer() : OpenModelTokenizer(c.model);
  if (c.decode) return Decode(c, *tokenizer);
  if (tokenizer->kind() != "bytes") CheckGivenText("--pair", c.pair);
  c.options.special_tokens = !c.no_special;
  const bool color = isatty(STDOUT_FILENO) != 0;
  ListPrinter document(Head(*tokenizer), "rows");
  idx_t longest = 0;
  std::size_t texts = 0;
  bool first = true;
  const auto use = [&](const std::string& name, const std::string& text) {
    Result result{name, text, {}};
    result.rows = c.has_pair ? tokenizer->EncodePair(text, c.pair, c.options)
                             : tokenizer->Encode(text, c.options);
    TellCut(c, result);
    for (const Encoding& row : result.rows) {
      longest = std::max(longest, row.size());
      if (c.json) {
        document.Add(RowJson(c, *tokenizer, texts, row));
        continue;
      }
      if (!c.ids && !first) PrintResult("\n");
      PrintResult(c.ids ? IdLine(row) : Show(*tokenizer, c, result, row, color));
      first = false;
    }
    ++texts;
  };
  const Refusals refusals = ForEachText(c, tokenizer->kind() == "bytes", use);
  TellLongest(*tokenizer, longest);
  if (c.json) document.Finish(refusals.Members());
  return refusals.Finish();
}

}  // namespace

void RegisterTokenize(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto c = std::make_shared<TokenizeCommand>();
  std::map<std::string, Overflow> kinds;
  for (const Overflow kind : text::kAllOverflows) kinds.emplace(text::OverflowName(kind), kind);
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model,
                      "Folder of a model or tokenizer, or bytes for the built-in one");
  command->add_option("TEXT", c->texts, "Texts, or ids with --decode; - is stdin")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  BeginGroup(command, heading::kTexts);
  command
      ->add_option(
          "-f,--file", c->files,
          "File to read: a text, a table, JSON or a folder; - is stdin; may be given again")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  AddReadOptions(command, &c->data);
  command->add_flag("--lines", c->lines, "Take each line of a file as a text of its own");
  auto* pair = command->add_option("--pair", c->pair, "Second text of each row");
  BeginGroup(command, heading::kOutput);
  auto* show =
      command->add_flag("--show", c->show, "Show the tokens and a table of their places (default)");
  auto* ids =
      command->add_flag("--ids", c->ids, "Print only ids, a line for each row")->excludes(show);
  auto* decode = command->add_flag("--decode", c->decode, "Turn ids into text")
                     ->excludes(show)
                     ->excludes(ids)
                     ->excludes(pair);
  command->add_flag("--json", c->json, "Print one JSON document")->excludes(show)->excludes(ids);
  command->add_flag("--no-special", c->no_special, "Leave out the model's special tokens");
  BeginGroup(command, heading::kRows);
  auto* most = command
                   ->add_option("--tokens", c->options.max_length,
                                "Longest row in tokens, special ones included; 0 takes any")
                   ->check(AtLeast(0))
                   ->capture_default_str()
                   ->excludes(decode);
  command
      ->add_option("--overflow", c->options.overflow,
                   "What is done with a longer row: error, truncate, truncate-first (only the "
                   "first text of a pair) or window")
      ->transform(
          CLI::CheckedTransformer(kinds).description("error|truncate|truncate-first|window"))
      ->default_str("error")
      ->needs(most);
  command->add_option("--stride", c->options.stride, "Tokens that neighbouring windows share")
      ->capture_default_str()
      ->needs(most);
  command->footer(
      "Reads tokenizer.json, vocab.json with merges.txt, vocab.txt or spiece.model; ids are those\n"
      "of the `tokenizers` and `sentencepiece` packages. What a row loses is told on "
      "stderr.\nExamples:\n"
      "  longspan tokenize -m roberta-base 'She had been forced'\n"
      "  longspan tokenize -m roberta-base --ids 'a text' 'another one'\n"
      "  longspan tokenize -m roberta-base --decode '0 515 56 57 2'\n"
      "  longspan tokenize -m bert --pair 'the second text' 'the first' --json\n"
      "  longspan tokenize -m long -f book.txt --ids --tokens 64 --overflow window --stride 8\n"
      "  longspan tokenize -m bytes -f - < book.txt");
  auto* train = RegisterTokenizeTrain(command, action);
  command->callback([command, c, pair, train, kinds, &action] {
    if (train->parsed()) return;
    c->has_pair = pair->count() > 0;
    constexpr const char* kOfLongRows[] = {"--overflow"};
    if (c->options.max_length == 0) {
      RefuseIdle(*command, kOfLongRows, "with --tokens 0, which takes a row of any length");
    }
    for (const auto& [name, kind] : kinds) {
      if (kind == c->options.overflow) CheckStrideHasWindows(*command, name);
    }
    action = [c] { return RunTokenize(*c); };
  });
}

}  // namespace longspan::cli
