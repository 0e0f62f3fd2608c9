// longspan tokenize: what a model's tokenizer makes of a text, and the reverse.

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/tokenize_train.h"
#include "cli/visual/output.h"
#include "io/escape.h"
#include "io/file.h"
#include "text/open_tokenizer.h"

namespace longspan::cli {
namespace {

using text::Encoding;
using text::Overflow;
using text::Tokenizer;

constexpr std::uint64_t kMostTextBytes = std::uint64_t{128} << 20;

struct TokenizeCommand {
  std::string model, file, pair;
  std::vector<std::string> texts;
  text::EncodeOptions options;
  bool has_pair = false, lines = false, no_special = false;
  bool show = false, ids = false, decode = false, json = false;
};

std::string ReadInput(const std::string& file) {
  if (file != "-") return io::ReadWholeFile(file, kMostTextBytes);
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

// The texts to work on: arguments ("-" is stdin), or a file, whole or line by line.
std::vector<std::string> Texts(const TokenizeCommand& c) {
  std::vector<std::string> whole;
  if (!c.file.empty()) whole.push_back(ReadInput(c.file));
  for (const std::string& text : c.texts) whole.push_back(text == "-" ? ReadInput(text) : text);
  Check(!whole.empty(), ErrorCode::kUsage, "tokenize: give a text, or -f FILE (- for stdin)");
  if (!c.lines) return whole;
  std::vector<std::string> lines;
  for (const std::string& text : whole) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      lines.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  }
  return lines;
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

int Decode(const TokenizeCommand& c, const Tokenizer& tokenizer) {
  auto texts = nlohmann::ordered_json::array();
  for (const std::string& text : Texts(c)) {
    texts.push_back(tokenizer.Decode(ParseIds(text), c.no_special));
    if (!c.json) PrintResult(texts.back().get_ref<const std::string&>() + "\n");
  }
  if (c.json) {
    PrintResult(nlohmann::ordered_json{{"texts", texts}}.dump(
                    2, ' ', false, nlohmann::json::error_handler_t::replace) +
                "\n");
  }
  return 0;
}

// One text's rows.
struct Result {
  std::string text;
  std::vector<Encoding> rows;
};

std::string Of(std::size_t index, std::size_t count) {
  return count == 1 ? "text" : fmt::format("text {}", index + 1);
}

// What the rows do not hold, and what a model would not take, on stderr.
void Tell(const TokenizeCommand& c, const Tokenizer& tokenizer,
          const std::vector<Result>& results) {
  idx_t longest = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    for (const Encoding& row : results[i].rows) {
      longest = std::max(longest, row.size());
      for (int part = 0; part < 2; ++part) {
        if (row.dropped[part] == 0) continue;
        const auto kept = std::count(row.sequence.begin(), row.sequence.end(), part);
        fmt::print(stderr, "longspan: {}: cut {} of the {} tokens{}, max length {}\n",
                   Of(i, results.size()), row.dropped[part], row.dropped[part] + kept,
                   !c.has_pair ? ""
                   : part == 0 ? " of the first text"
                               : " of the second text",
                   c.options.max_length);
      }
    }
  }
  if (const auto most = tokenizer.longest(); most && longest > *most) {
    fmt::print(stderr,
               "longspan: a row of {} tokens, the model takes {} (model_max_length); "
               "--max-length {} with --overflow truncate or window makes it fit\n",
               longest, *most, *most);
  }
}

nlohmann::ordered_json Json(const TokenizeCommand& c, const Tokenizer& tokenizer,
                            const std::vector<Result>& results) {
  const auto spans = [](const std::vector<text::Span>& list) {
    auto j = nlohmann::ordered_json::array();
    for (const text::Span& s : list) j.push_back({s.begin, s.end});
    return j;
  };
  nlohmann::ordered_json j;
  j["tokenizer"] = tokenizer.kind();
  j["vocabulary"] = tokenizer.vocabulary();
  j["model_max_length"] = tokenizer.longest() ? nlohmann::ordered_json(*tokenizer.longest())
                                              : nlohmann::ordered_json(nullptr);
  j["rows"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < results.size(); ++i) {
    for (const Encoding& row : results[i].rows) {
      nlohmann::ordered_json r;
      r["text"] = i;
      r["ids"] = row.ids;
      for (const std::int32_t id : row.ids) r["tokens"].push_back(tokenizer.TokenOf(id));
      if (row.ids.empty()) r["tokens"] = nlohmann::ordered_json::array();
      r["offsets"] = {{"characters", spans(row.chars)}, {"bytes", spans(row.bytes)}};
      r["type_ids"] = row.type_ids;
      r["special"] = row.special;
      r["sequence"] = row.sequence;
      r["first_token"] = row.first_token[c.has_pair ? 1 : 0];
      r["dropped"] = {row.dropped[0], row.dropped[1]};
      j["rows"].push_back(std::move(r));
    }
  }
  return j;
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
  std::string text = fmt::format("{} tokens, {} of them around the text ({}, {} ids)\n", row.size(),
                                 special, tokenizer.kind(), tokenizer.vocabulary());
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
  Check(!c.model.empty(), ErrorCode::kUsage, "tokenize: --model is required (see --help)");
  const auto tokenizer =
      c.model == "bytes" ? text::MakeBytesTokenizer() : text::OpenTokenizer(c.model);
  if (c.decode) return Decode(c, *tokenizer);
  c.options.special_tokens = !c.no_special;
  std::vector<Result> results;
  for (std::string& text : Texts(c)) {
    Result result{std::move(text), {}};
    result.rows = c.has_pair ? tokenizer->EncodePair(result.text, c.pair, c.options)
                             : tokenizer->Encode(result.text, c.options);
    results.push_back(std::move(result));
  }
  Tell(c, *tokenizer, results);
  if (c.json) {
    PrintResult(
        Json(c, *tokenizer, results).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) +
        "\n");
    return 0;
  }
  const bool color = isatty(STDOUT_FILENO) != 0;
  bool first = true;
  for (const Result& result : results) {
    for (const Encoding& row : result.rows) {
      if (!c.ids && !first) PrintResult("\n");
      PrintResult(c.ids ? IdLine(row) : Show(*tokenizer, c, result, row, color));
      first = false;
    }
  }
  return 0;
}

}  // namespace

void RegisterTokenize(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("tokenize", "a text as tokens and ids, and back");
  const auto c = std::make_shared<TokenizeCommand>();
  const std::map<std::string, Overflow> kinds = {{"error", Overflow::kError},
                                                 {"truncate", Overflow::kTruncate},
                                                 {"truncate-first", Overflow::kTruncateFirst},
                                                 {"window", Overflow::kWindow}};
  command->add_option("-m,--model", c->model, "model directory, or bytes: the built-in tokenizer");
  command->add_option("text", c->texts, "texts, or ids with --decode; - for stdin")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("-f,--file", c->file, "file with a text, - for stdin");
  command->add_flag("--lines", c->lines, "every line is a text of its own");
  auto* pair = command->add_option("--pair", c->pair, "second text of each row");
  auto* show = command->add_flag("--show", c->show, "pieces and a table of places (default)");
  auto* ids = command->add_flag("--ids", c->ids, "only ids, a line for each row")->excludes(show);
  auto* decode = command->add_flag("--decode", c->decode, "from ids to text")
                     ->excludes(show)
                     ->excludes(ids)
                     ->excludes(pair);
  command->add_flag("--json", c->json, "one JSON document")->excludes(show)->excludes(ids);
  command->add_flag("--no-special", c->no_special, "without the model's special tokens");
  auto* most = command
                   ->add_option("--max-length", c->options.max_length,
                                "tokens of a row, special ones too; 0: any")
                   ->check(CLI::Range(idx_t{0}, idx_t{1} << 40))
                   ->capture_default_str()
                   ->excludes(decode);
  command
      ->add_option("--overflow", c->options.overflow,
                   "a longer row is an error, truncate, truncate-first (of a pair only the first "
                   "text) or window")
      ->transform(
          CLI::CheckedTransformer(kinds).description("error|truncate|truncate-first|window"))
      ->default_str("error")
      ->needs(most);
  command->add_option("--stride", c->options.stride, "tokens that neighbouring windows share")
      ->capture_default_str()
      ->needs(most);
  command->footer(
      "Reads tokenizer.json, vocab.json with merges.txt, vocab.txt or spiece.model; ids are those\n"
      "of the `tokenizers` and `sentencepiece` packages. What a row loses is told on "
      "stderr.\nExamples:\n"
      "  longspan tokenize -m roberta-base 'She had been forced'\n"
      "  longspan tokenize -m roberta-base --ids 'a text' 'another one'\n"
      "  longspan tokenize -m roberta-base --decode '0 2515 56 57 2'\n"
      "  longspan tokenize -m bert --pair 'the second text' 'the first' --json\n"
      "  longspan tokenize -m long -f book.txt --ids --max-length 4096 --overflow window --stride "
      "64\n"
      "  longspan tokenize -m bytes -f - < book.txt");
  auto* train = RegisterTokenizeTrain(command, action);
  command->callback([c, pair, train, &action] {
    if (train->parsed()) return;
    c->has_pair = pair->count() > 0;
    action = [c] { return RunTokenize(*c); };
  });
}

}  // namespace longspan::cli
