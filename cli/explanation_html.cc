#include "cli/explanation_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/check.h"
#include "cli/visual/clipped.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Which sentences decided</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1f2430; --soft: #5b6270; --line: #d5dae1; --card: #f7f8fa;
  --for: 0 114 178; --against: 213 94 0; --strength: .42;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --ink: #e8eaee; --soft: #a2a9b5; --line: #353b45; --card: #1c2027;
    --for: 86 180 233; --against: 240 140 60; --strength: .5;
  }
}
body {
  margin: 0 auto; max-width: 46rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.65 Georgia, "Times New Roman", serif;
}
h1, h2, h3, header, table, .legend { font-family: system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 3rem 0 .25rem; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: 1.5rem 0 .5rem; font-weight: 600; }
header p, .legend { color: var(--soft); font-size: .9rem; margin: .25rem 0; }
.legend span { padding: .1em .5em; border-radius: .25em; color: var(--ink); }
.text {
  white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card);
  border: 1px solid var(--line);
  border-radius: .5rem; padding: 1rem 1.25rem;
}
.for { background: rgb(var(--for) / calc(var(--s) * var(--strength))); }
.against { background: rgb(var(--against) / calc(var(--s) * var(--strength))); }
.against.strong { text-decoration: underline dotted; text-underline-offset: .2em; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; margin-top: .75rem; }
th { text-align: left; color: var(--soft); font-weight: 600; }
td, th { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; }
td { vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
</style>
</head>
<body>
<header>
<h1>Which sentences decided</h1>
)";

constexpr std::string_view kLegend =
    "<p class=\"legend\">Each sentence was left out in turn. A shade says how much the score "
    "changes "
    "without it: <span class=\"for\" style=\"--s:.8\">speaks for the label</span> "
    "<span class=\"against strong\" style=\"--s:.8\">speaks against it</span>. In each text the "
    "sentence with the largest change has the darkest shade.</p>\n</header>\n";

// Text for a page: line breaks and tabs stay, other control characters do not.
std::string Html(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\r\n\t", i), text.size());
    out += EscapeXml(text.substr(i, end - i));
    if (end == text.size()) break;
    const bool pair = text[end] == '\r' && end + 1 < text.size() && text[end + 1] == '\n';
    if (!pair) out += text[end] == '\t' ? '\t' : '\n';
    i = end + 1;
  }
  return out;
}

std::string_view Words(const TaskText& text, const LeftOut& sentence) {
  const std::string_view whole = sentence.sequence == 0 ? text.text : *text.pair;
  const text::Span bytes = sentence.place.bytes;
  return whole.substr(static_cast<std::size_t>(bytes.begin),
                      static_cast<std::size_t>(bytes.end - bytes.begin));
}

double LargestChange(const ExplainedText& explained, idx_t label) {
  double largest = 0.0;
  for (idx_t i = 0; i < static_cast<idx_t>(explained.sentences.size()); ++i) {
    largest = std::max(largest, std::abs(explained.Influence(i, label)));
  }
  return largest;
}

std::string Shaded(const TaskText& text, const ExplainedText& explained, idx_t label) {
  const double largest = LargestChange(explained, label);
  std::string out = "<div class=\"text\">";
  int sequence = 0;
  for (std::size_t i = 0; i < explained.sentences.size(); ++i) {
    const LeftOut& sentence = explained.sentences[i];
    if (sentence.sequence != sequence) out += "</div>\n<div class=\"text\">";
    sequence = sentence.sequence;
    const double change = explained.Influence(static_cast<idx_t>(i), label);
    const double shade = largest > 0.0 ? std::abs(change) / largest : 0.0;
    const char* const kind = change >= 0.0 ? "for" : shade >= 0.25 ? "against strong" : "against";
    out += fmt::format("<span class=\"{}\" style=\"--s:{:.3f}\" title=\"{}\">{}</span>", kind,
                       shade, SignedChange(change), Html(Words(text, sentence)));
  }
  return out + "</div>\n";
}

std::string Table(const TaskText& text, const ExplainedText& explained, idx_t label, idx_t most) {
  std::string out = "<table>\n<tr><th>change</th><th>characters</th><th>sentence</th></tr>\n";
  for (const idx_t i : explained.MostInfluential(label, most)) {
    const LeftOut& sentence = explained.sentences[static_cast<std::size_t>(i)];
    out += fmt::format(
        "<tr><td class=\"number\">{}</td><td class=\"number\">{}-{}</td><td>{}</td></tr>\n",
        SignedChange(explained.Influence(i, label)), sentence.place.chars.begin,
        sentence.place.chars.end, Html(OneLine(text, sentence, 200)));
  }
  return out + "</table>\n";
}

const std::string& Checked(const std::string& file) {
  const std::string ending = LowerAscii(std::filesystem::path(file).extension().string());
  Check(ending == ".html" || ending == ".htm", ErrorCode::kUsage,
        "html: '{}' does not end in .html; give the page a name that does", Printable(file));
  return file;
}

}  // namespace

std::string NoSentenceDecided(ScoreKind kind) {
  return kind == ScoreKind::kValues
             ? fmt::format("no sentence decided: each changes the number by less than {:.0f} %",
                           100.0 * kDecides)
             : fmt::format("no sentence decided: each changes the score by less than {}", kDecides);
}

std::string SignedChange(double change) { return fmt::format("{:+.4f}", change); }

std::string OneLine(const TaskText& text, const LeftOut& sentence, idx_t columns) {
  std::string line;
  bool space = false;
  for (const char c : Words(text, sentence)) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      space = !line.empty();
    } else {
      if (space) line += ' ';
      line += c;
      space = false;
    }
  }
  return ClipWithDots(Printable(line), columns);
}

ExplanationHtml::ExplanationHtml(const std::string& file, const std::string& model)
    : file_(Checked(file)) {
  file_.Write(std::string(kHead) + "<p>Model: " + Html(model) + "</p>\n" + std::string(kLegend));
}

void ExplanationHtml::Add(const std::string& name, const TaskText& text,
                          const ExplainedText& explained, ScoreKind kind,
                          const std::vector<ExplainedLabel>& labels, idx_t most) {
  std::string part = "<section>\n<h2>" + Html(name) + "</h2>\n";
  for (const ExplainedLabel& label : labels) {
    part += fmt::format("<h3>{}: {:.4f}</h3>\n", Html(label.name),
                        explained.scores[static_cast<std::size_t>(label.label)]);
    if (explained.sentences.empty()) {
      part +=
          "<div class=\"text\">" + Html(text.text) + (text.pair ? "\n" + Html(*text.pair) : "") +
          "</div>\n<p class=\"legend\">The text is one sentence: nothing can be left out.</p>\n";
      continue;
    }
    if (!explained.Decided(label.label, kind)) {
      part += "<p class=\"legend\">Here " + NoSentenceDecided(kind) + ".</p>\n";
    }
    part += Shaded(text, explained, label.label);
    part += Table(text, explained, label.label, most);
  }
  file_.Write(part + "</section>\n");
}

void ExplanationHtml::Finish() {
  file_.Write("</body>\n</html>\n");
  file_.Commit();
}

}  // namespace longspan::cli
